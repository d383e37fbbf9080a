package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/message-gateway/gateway/internal/replies"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// CommandResult is what became of a command.
type CommandResult struct {
	// MessageID identifies the command; AwaitCommand takes it.
	MessageID string
	// Response is the device's answer, any JSON value; nil if there is none yet.
	Response json.RawMessage
	// Late says that the answer came after the command had timed out. A late
	// answer without data, or null, leaves ErrCommandTimeout.
	Late bool
}

// maxCommandType is the longest type of a command, in bytes.
const maxCommandType = 1024

// lastLook bounds how long a command that timed out may take to find out
// whether an answer came at the last moment.
const lastLook = 500 * time.Millisecond

// endMargin is how much before a deadline a backend may report that it passed.
const endMargin = 10 * time.Millisecond

// SendCommand stores a command for a user, has it delivered at least once, and
// waits for the first answer of any of the user's devices.
//
// It returns when a device has answered; when the device answered with an
// error (*CommandError); when the timeout has passed (ErrCommandTimeout: 30
// minutes, or WithTimeout); when ctx ends, which does not end the command; or
// when the client closes (ErrClosed, likewise). A command that could not be stored
// within 30 seconds fails as in SendReliable. Once the command is, or may be,
// stored the result is not nil, whatever the error, and its MessageID can be
// given to AwaitCommand, in any process. With NoWait it returns as soon as the command
// is stored, with a nil Response.
//
// The command waits for an offline user until its timeout. A device may see it
// more than once and recognises it by its id; the first answer wins, later
// ones are dropped. An answer is not lost when RabbitMQ or a connection to it
// breaks: the database holds it too. An answer that comes after the timeout is
// kept for AwaitCommand. Concurrency and the outcome of a send that ended
// early are as in SendReliable.
//
// data is as the payload of SendRealtime. Options: WithSender, WithTimeout,
// WithRetryInterval, WithMessageID, NoWait, FailIfOffline. With a WithMessageID
// that is stored already the call waits for the answer of that command.
//
// Errors: the above, and those of SendReliable.
func (c *Client) SendCommand(ctx context.Context, userID, commandType string, data any, opts ...SendOption) (*CommandResult, error) {
	res, err := c.sendCommand(ctx, userID, commandType, data, opts)
	if err != nil {
		return res, fmt.Errorf("gateway: send command: %w", err)
	}
	return res, nil
}

func (c *Client) sendCommand(ctx context.Context, userID, commandType string, data any, opts []SendOption) (*CommandResult, error) {
	msg, o, err := c.newCommand(ctx, userID, commandType, data, opts)
	if err != nil {
		_, s := c.begin(ctx, commandSend, userID)
		c.end(ctx, s, 1, err)
		return nil, err
	}
	if o.noWait {
		res, _, err := c.storeCommand(ctx, msg, o)
		return res, err
	}
	ctx, w := c.beginWait(ctx, telemetry.RequestCommand, msg.ID)
	res, err := c.requestCommand(ctx, w, msg, o)
	c.endWait(ctx, w, err)
	return res, err
}

// requestCommand sends a command and waits for its answer.
func (c *Client) requestCommand(ctx context.Context, w waiting, msg *store.Message, o *sendOptions) (*CommandResult, error) {
	// Registered before anything is written: the fastest answer finds it.
	msg.ResponseQueue = c.replies.Queue()
	waiter, err := c.replies.Add(msg.RequestID, msg.ID)
	if err != nil {
		return nil, c.translate(err)
	}
	defer c.replies.Remove(waiter)
	res, duplicate, err := c.storeCommand(ctx, msg, o)
	switch {
	case err != nil:
		return res, err
	case duplicate:
		return c.await(ctx, w, msg.ID, o.end)
	}
	timer := time.NewTimer(time.Until(o.end))
	defer timer.Stop()
	select {
	case outcome := <-waiter.C:
		c.received(ctx, w, outcome)
		return c.commandOutcome(res, outcome)
	case <-timer.C:
		return c.timedOut(ctx, res)
	case <-ctx.Done():
		return res, endOfWait(ctx)
	case <-c.closed:
		return res, ErrClosed
	}
}

// storeCommand is the send of a command. The result is nil if nothing can have
// been stored.
func (c *Client) storeCommand(ctx context.Context, msg *store.Message, o *sendOptions) (res *CommandResult, duplicate bool, err error) {
	ctx, s := c.begin(ctx, commandSend, msg.UserID)
	s.named(msg)
	msg.Trace = c.core.Tracer.Of(ctx)
	if o.failIfOffline { // otherwise there is nothing to bound
		err = untilEnd(ctx, o.end, func(ctx context.Context) error { return c.checkOnline(ctx, msg.UserID, o) })
	}
	if err == nil {
		res = &CommandResult{MessageID: msg.ID}
		err = c.translate(untilEnd(ctx, o.end, func(ctx context.Context) (err error) {
			if duplicate, err = c.commits.Commit(ctx, msg); err == nil && duplicate {
				err = c.sameMessage(ctx, msg)
			}
			return err
		}))
	}
	c.end(ctx, s, 1, err)
	return res, duplicate, err
}

// untilEnd calls a backend until the end of a command's timeout, or that of ctx.
// The zero time stands for no timeout.
func untilEnd(ctx context.Context, end time.Time, call func(ctx context.Context) error) error {
	if end.IsZero() {
		return call(ctx)
	}
	bounded, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	err := call(bounded)
	// A backend may notice the end of bounded a moment before bounded does.
	ended := bounded.Err() != nil || errors.Is(err, context.DeadlineExceeded) && time.Until(end) < endMargin
	if err != nil && ended && ctx.Err() == nil {
		// The text keeps what it was waiting for, but not DeadlineExceeded:
		// that would say that the caller's ctx ended.
		return fmt.Errorf("%w: %s", ErrCommandTimeout, err.Error())
	}
	return err
}

func (c *Client) newCommand(ctx context.Context, userID, commandType string, data any, opts []SendOption) (*store.Message, *sendOptions, error) {
	if err := c.usable(ctx); err != nil {
		return nil, nil, err
	}
	o, err := parseOptions(opts, commandOptions)
	if err != nil {
		return nil, nil, err
	}
	if commandType == "" || len(commandType) > maxCommandType || !utf8.ValidString(commandType) {
		return nil, nil, fmt.Errorf("%w: it has %d bytes", ErrInvalidCommandType, len(commandType))
	}
	raw, err := c.encodePayload(data)
	if err != nil {
		return nil, nil, err
	}
	payload := wire.CommandPayload{Type: commandType, Data: raw}.Encode()
	if o.retryInterval == 0 {
		o.retryInterval = wire.DefaultRetryInterval
	}
	o.end = time.Now().Add(o.timeout)
	var msg *store.Message
	err = untilEnd(ctx, o.end, func(ctx context.Context) (err error) {
		msg, err = c.newMessage(ctx, userID, wire.Command, payload, o)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	msg.RequestID = uuid.NewString()
	msg.ExpiresAt = msg.CreatedAt.Add(o.timeout)
	return msg, o, nil
}

// AwaitCommand waits for the answer to a command that was sent before, by this
// process or another, and returns it; at once if it is there already. It also
// returns the answer to a command that timed out, if one came late. Errors:
// *CommandError; ErrCommandTimeout, when the command timed out without an
// answer, or, together with context.DeadlineExceeded, when ctx ended first;
// ErrMessageNotFound, also after the row was purged; ErrNotCommand; ErrClosed.
// The answer is looked for in the database, every second at the slowest; a
// database that does not answer is asked again after five seconds.
func (c *Client) AwaitCommand(ctx context.Context, messageID string) (*CommandResult, error) {
	err := c.usable(ctx)
	var res *CommandResult
	if err == nil {
		var w waiting
		ctx, w = c.beginWait(ctx, telemetry.AwaitCommand, messageID)
		res, err = c.await(ctx, w, messageID, time.Time{})
		c.endWait(ctx, w, err)
	}
	if err != nil {
		return res, fmt.Errorf("gateway: await command: %w", err)
	}
	return res, nil
}

// await waits for the answer to a stored command, until end if that is not zero.
func (c *Client) await(ctx context.Context, w waiting, messageID string, end time.Time) (*CommandResult, error) {
	res := &CommandResult{MessageID: messageID}
	var row *store.Message
	err := untilEnd(ctx, end, func(ctx context.Context) (err error) {
		row, err = c.core.Store.Get(ctx, messageID)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, ErrMessageNotFound
	case err != nil:
		return res, c.translate(err)
	case row.PushType != wire.Command || !row.Status.Unfinished():
		outcome := replies.Outcome{Row: row}
		c.received(ctx, w, outcome)
		return c.commandOutcome(res, outcome)
	}
	waiter, err := c.replies.Add("", messageID)
	if err != nil {
		return res, c.translate(err)
	}
	defer c.replies.Remove(waiter)
	// Nobody but a node turns an expired row into TIMED_OUT; do not wait for one.
	expiry := time.NewTimer(row.ExpiresAt.Sub(c.core.Store.Now()))
	defer expiry.Stop()
	expired := expiry.C
	if row.ExpiresAt.IsZero() {
		expired = nil
	}
	var timeout <-chan time.Time
	if !end.IsZero() {
		timer := time.NewTimer(time.Until(end))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case outcome := <-waiter.C:
		c.received(ctx, w, outcome)
		return c.commandOutcome(res, outcome)
	case <-expired:
		return c.timedOut(ctx, res)
	case <-timeout:
		return res, ErrCommandTimeout
	case <-ctx.Done():
		return res, endOfWait(ctx)
	case <-c.closed:
		return res, ErrClosed
	}
}

// commandOutcome turns the end of a wait into a result.
func (c *Client) commandOutcome(res *CommandResult, outcome replies.Outcome) (*CommandResult, error) {
	response := outcome.Body
	switch row := outcome.Row; {
	case outcome.Err != nil:
		return res, c.translate(outcome.Err)
	case row == nil:
	case row.PushType != wire.Command:
		return nil, ErrNotCommand
	case row.Status == wire.TimedOut && row.Response == nil:
		return res, ErrCommandTimeout
	default:
		response, res.Late = row.Response, row.Status == wire.TimedOut
		if response == nil {
			// A gateway may finish a command without storing an answer.
			response = json.RawMessage("null")
		}
	}
	if failure, ok := wire.ParseDeviceError(response); ok {
		return res, &CommandError{Code: failure.Code, Message: failure.Message}
	}
	res.Response = response
	return res, nil
}

// timedOut lets the database decide between the deadline and an answer that
// came at the same moment, so that the row and the caller agree. With the
// database out of reach, or ctx over, the caller is told that it timed out, and
// a node writes that later.
func (c *Client) timedOut(ctx context.Context, res *CommandResult) (*CommandResult, error) {
	ctx, cancel := context.WithTimeout(ctx, lastLook)
	defer cancel()
	if err := c.core.Store.TimeOut(ctx, []string{res.MessageID}); err != nil {
		c.core.Log.Warn("command timed out, state not written", "message_id", res.MessageID, "error", err)
		return res, ErrCommandTimeout
	}
	row, err := c.core.Store.Get(ctx, res.MessageID)
	if err != nil {
		c.core.Log.Warn("command timed out, row not read", "message_id", res.MessageID, "error", err)
		return res, ErrCommandTimeout
	}
	return c.commandOutcome(res, replies.Outcome{Row: row})
}

// Call is SendCommand with a typed answer: it decodes the device's response
// into T. An answer that does not fit T is an error that is neither a
// *CommandError nor ErrCommandTimeout. NoWait does not apply.
func Call[T any](ctx context.Context, c *Client, userID, commandType string, data any, opts ...SendOption) (T, error) {
	var answer T
	res, err := c.SendCommand(ctx, userID, commandType, data, slices.Concat(opts, []SendOption{refuseNoWait})...)
	if err != nil {
		return answer, err
	}
	if err := json.Unmarshal(res.Response, &answer); err != nil {
		return answer, fmt.Errorf("gateway: call %s: answer of message %s: %w", commandType, res.MessageID, err)
	}
	return answer, nil
}

func refuseNoWait(o *sendOptions) error {
	if o.noWait {
		return fmt.Errorf("%w: NoWait", ErrInvalidOption)
	}
	return nil
}
