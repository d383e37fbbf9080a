package gateway

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/uuid"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// MaxBatch is the largest number of messages in one SendReliableBatch.
const MaxBatch = 10_000

// SendReliable stores payload for a user and has it delivered, at least once,
// until a device of the user acknowledges it. It returns the message id.
//
// A nil error means that the message is stored, as durably as the database is
// configured, and that the death of any process or server cannot lose it any
// more. It does not mean that anyone received it: Message tells. An error that
// is the end of ctx or of a connection leaves open whether it was stored, and so
// does one that says that the call gave up: after 30 seconds without an answer of
// MySQL or Redis it does, though ctx goes on;
// sending again with the same WithMessageID settles it. A device may see a
// message more than once and recognises it by its id. An offline user gets it
// on return. Messages are delivered in order of seq when a user returns;
// messages sent at the same time have seqs in any order. Calls that run at the
// same time are committed together.
//
// payload is as in SendRealtime. Options: WithSender, WithMessageID,
// WithRetryInterval, FailIfOffline.
//
// Errors: those that match ErrInvalidArgument, ErrMessageIDConflict,
// ErrUserOffline, ErrNoSchema, ErrOverloaded, ErrClosed, the end of ctx, or
// that of Redis or MySQL, with its address. RabbitMQ being down is no error.
func (c *Client) SendReliable(ctx context.Context, userID string, payload any, opts ...SendOption) (string, error) {
	ctx, s := c.begin(ctx, reliableSend, userID)
	id, err := c.sendReliable(ctx, &s, userID, payload, opts)
	c.end(ctx, s, 1, err)
	if err != nil {
		return "", fmt.Errorf("gateway: send reliable: %w", err)
	}
	return id, nil
}

func (c *Client) sendReliable(ctx context.Context, s *sending, userID string, payload any, opts []SendOption) (string, error) {
	msg, o, err := c.newReliable(ctx, userID, payload, opts, reliableOptions)
	if err != nil {
		return "", err
	}
	s.named(msg)
	if err := c.checkOnline(ctx, userID, o); err != nil {
		return "", err
	}
	duplicate, err := c.commits.Commit(ctx, msg)
	if err == nil && duplicate {
		err = c.sameMessage(ctx, msg)
	}
	if err != nil {
		return "", c.translate(err)
	}
	return msg.ID, nil
}

// SendReliableTx is SendReliable inside the caller's own transaction: the
// message exists if, and only if, tx commits, together with everything else in
// it. It is delivered after the commit, even if this process dies right after
// it: the row is the outbox.
//
// tx must be on the database that holds push_messages; its isolation level
// does not matter. On the embedded backend open the file gateway.db in the
// folder with the driver "sqlite". After the commit this process tells the
// nodes: within milliseconds, or, of a transaction that took long, within that
// time again, two seconds at most. If it died, or was closed before the commit,
// or the transaction took longer than two minutes, or more than 16,384 messages
// wait for the end of theirs, the nodes find the message in
// their slow round (half a minute by default), or when the user connects. A failed
// statement may have ended the transaction: roll back after an error. The
// Commit of database/sql knows no deadline: a database that hangs holds it.
//
// FailIfOffline does not apply; otherwise as SendReliable.
func (c *Client) SendReliableTx(ctx context.Context, tx *sql.Tx, userID string, payload any, opts ...SendOption) (string, error) {
	ctx, s := c.begin(ctx, reliableSend, userID)
	id, err := c.sendReliableTx(ctx, &s, tx, userID, payload, opts)
	c.end(ctx, s, 1, err)
	if err != nil {
		return "", fmt.Errorf("gateway: send reliable in transaction: %w", err)
	}
	return id, nil
}

func (c *Client) sendReliableTx(ctx context.Context, s *sending, tx *sql.Tx, userID string, payload any, opts []SendOption) (string, error) {
	if tx == nil {
		return "", fmt.Errorf("%w: tx is nil", ErrInvalidArgument)
	}
	msg, _, err := c.newReliable(ctx, userID, payload, opts, storedOptions)
	if err != nil {
		return "", err
	}
	s.named(msg)
	if err := c.tx.Commit(ctx, tx, msg); err != nil {
		return "", c.translate(err)
	}
	return msg.ID, nil
}

// Outgoing is one message of SendReliableBatch.
type Outgoing struct {
	// UserID is the user that gets it. Required.
	UserID string
	// Payload is as in SendRealtime.
	Payload any
	// Options are as in SendReliable, except FailIfOffline.
	Options []SendOption
}

// SendReliableBatch stores up to MaxBatch messages, for any users, all or
// none, and returns their ids in the same order. An error about one message
// names its index. A message whose WithMessageID is stored already is not stored
// again and is no error. Otherwise as SendReliable.
func (c *Client) SendReliableBatch(ctx context.Context, batch []Outgoing) ([]string, error) {
	ctx, s := c.begin(ctx, reliableSend, "")
	if s.span.IsRecording() {
		s.span.SetAttributes(semconv.MessagingBatchMessageCount(len(batch)))
	}
	ids, err := c.sendReliableBatch(ctx, batch)
	c.end(ctx, s, len(batch), err)
	if err != nil {
		return nil, fmt.Errorf("gateway: send reliable batch: %w", err)
	}
	return ids, nil
}

func (c *Client) sendReliableBatch(ctx context.Context, batch []Outgoing) ([]string, error) {
	if err := c.usable(ctx); err != nil {
		return nil, err
	}
	if len(batch) == 0 {
		return nil, nil
	}
	if len(batch) > MaxBatch {
		return nil, fmt.Errorf("%w: %d messages, the limit is %d", ErrInvalidArgument, len(batch), MaxBatch)
	}
	msgs := make([]*store.Message, len(batch))
	ids := make([]string, len(batch))
	seen := make(map[string]int, len(batch))
	for i, out := range batch {
		msg, _, err := c.newReliable(ctx, out.UserID, out.Payload, out.Options, storedOptions)
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", i, err)
		}
		if first, ok := seen[msg.ID]; ok {
			return nil, fmt.Errorf("message %d: %w: the same as message %d", i, ErrInvalidMessageID, first)
		}
		seen[msg.ID] = i
		msgs[i], ids[i] = msg, msg.ID
	}
	err := c.commits.CommitAll(ctx, msgs)
	if taken := (*store.TakenError)(nil); errors.As(err, &taken) {
		return nil, fmt.Errorf("message %d: %w", taken.Index, c.translate(err))
	}
	if err != nil {
		return nil, c.translate(err)
	}
	return ids, nil
}

// storedOptions are those of every send that stores a message.
var (
	storedOptions   = []string{"WithSender", "WithMessageID", "WithRetryInterval"}
	reliableOptions = append([]string{"FailIfOffline"}, storedOptions...)
	commandOptions  = append([]string{"WithTimeout", "NoWait"}, reliableOptions...)
)

// newReliable checks everything that can be checked before writing.
func (c *Client) newReliable(ctx context.Context, userID string, payload any, opts []SendOption, allowed []string) (*store.Message, *sendOptions, error) {
	if err := c.usable(ctx); err != nil {
		return nil, nil, err
	}
	o, err := parseOptions(opts, allowed)
	if err != nil {
		return nil, nil, err
	}
	raw, err := c.encodePayload(payload)
	if err != nil {
		return nil, nil, err
	}
	if _, callers := payload.(json.RawMessage); callers {
		raw = bytes.Clone(raw) // the hint goes out after the call has returned
	}
	msg, err := c.newMessage(ctx, userID, wire.Reliable, raw, o)
	return msg, o, err
}

func (c *Client) newMessage(ctx context.Context, userID string, kind wire.PushType, payload json.RawMessage, o *sendOptions) (*store.Message, error) {
	limits, err := c.limits(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w; nothing was stored", err)
	}
	if err := checkUserID(userID, limits); err != nil {
		return nil, err
	}
	if err := checkStored(limits, o); err != nil {
		return nil, err
	}
	id := o.messageID
	if id == "" {
		fresh, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("message id: %w", err)
		}
		id = fresh.String()
	}
	now := c.core.Store.Now()
	return &store.Message{
		ID: id, SenderType: o.senderType, SenderID: o.senderID, UserID: userID, PushType: kind,
		Payload: payload, Status: wire.Pending, Nonce: uuid.NewString(), RetryInterval: o.retryInterval,
		CreatedAt: now, UpdatedAt: now, Trace: c.core.Tracer.Of(ctx),
	}, nil
}

// sameMessage checks that the row that has the id of msg is the same message. One
// that cannot be read is not: it equals another id in the table's collation, or
// its row is deleted.
func (c *Client) sameMessage(ctx context.Context, msg *store.Message) error {
	row, err := c.core.Store.Get(ctx, msg.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && (row.UserID != msg.UserID || row.PushType != msg.PushType) {
		return fmt.Errorf("%w: %q", ErrMessageIDConflict, msg.ID)
	}
	return err
}
