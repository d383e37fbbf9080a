package gateway

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway/internal/batch"
	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/replies"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
)

// Kinds of sends, as metrics name them.
const (
	kindRealtime = "realtime"
	kindReliable = "reliable"
	kindCommand  = "command"
	kindHub      = "hub"
)

// sendKind is what telemetry says of one kind of send, made once.
type sendKind struct {
	operation *telemetry.Operation
	ok        telemetry.Attributes // of outcomes, the usual one
	outcomes  map[string]telemetry.Attributes
}

var (
	realtimeSend = newKind(kindRealtime, telemetry.SendRealtime)
	reliableSend = newKind(kindReliable, telemetry.SendReliable)
	commandSend  = newKind(kindCommand, telemetry.SendCommand)
	hubSend      = newKind(kindHub, telemetry.SendHub)
)

func newKind(name string, op *telemetry.Operation) *sendKind {
	k := &sendKind{operation: op, outcomes: map[string]telemetry.Attributes{}}
	for _, outcome := range sendOutcomes {
		k.outcomes[outcome] = telemetry.With(attribute.String("kind", name), attribute.String("outcome", outcome))
	}
	k.ok = k.outcomes[outcomeOK]
	return k
}

// Outcomes of sends. What is the caller's own is told apart from what an
// operator must look at.
const (
	outcomeOK         = "ok"
	outcomeInvalid    = "invalid"    // the arguments, or a message id that is taken
	outcomeOffline    = "offline"    // FailIfOffline
	outcomeOverloaded = "overloaded" // too many calls wait
	outcomeDeadline   = "deadline"   // the ctx or the timeout of the call ended
	outcomeCanceled   = "canceled"   // by the caller
	outcomeClosed     = "closed"     // the client was closed
	outcomeError      = "error"      // a backend
)

var sendOutcomes = []string{
	outcomeOK, outcomeInvalid, outcomeOffline, outcomeOverloaded, outcomeDeadline, outcomeCanceled, outcomeClosed, outcomeError,
}

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return outcomeOK
	case errors.Is(err, ErrInvalidArgument), errors.Is(err, ErrMessageIDConflict):
		return outcomeInvalid
	case errors.Is(err, ErrUserOffline):
		return outcomeOffline
	case errors.Is(err, ErrOverloaded):
		return outcomeOverloaded
	case errors.Is(err, ErrClosed):
		return outcomeClosed
	case errors.Is(err, context.Canceled):
		return outcomeCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrCommandTimeout), errors.Is(err, batch.ErrTimeout):
		return outcomeDeadline
	default:
		return outcomeError
	}
}

// sending is one send under way, as an operator sees it.
type sending struct {
	kind  *sendKind
	begun time.Time // zero where nobody asks how long it took
	span  trace.Span
}

// begin starts the span of a send. The ctx that it returns carries it.
func (c *Client) begin(ctx context.Context, kind *sendKind, userID string) (context.Context, sending) {
	s := sending{kind: kind, span: telemetry.None}
	if ctx == nil {
		return nil, s
	}
	if c.core.Metrics.SendDuration.Enabled(ctx) {
		s.begun = time.Now()
	}
	ctx, s.span = c.core.Tracer.Start(ctx, s.kind.operation)
	if userID != "" && s.span.IsRecording() {
		s.span.SetAttributes(semconv.UserID(userID))
	}
	return ctx, s
}

// named says on the span which message it is.
func (s *sending) named(msg *store.Message) {
	if s.span.IsRecording() {
		s.span.SetAttributes(semconv.MessagingMessageID(msg.ID), semconv.MessagingMessageBodySize(len(msg.Payload)))
	}
}

// end counts a send of n messages, and ends its span.
func (c *Client) end(ctx context.Context, s sending, n int, err error) {
	if ctx == nil {
		ctx = context.Background()
	}
	outcome, attrs := outcomeOK, s.kind.ok
	if err != nil {
		outcome = outcomeOf(err)
		attrs = s.kind.outcomes[outcome]
	}
	c.core.Metrics.Sends.Add(ctx, int64(n), attrs.Add...)
	if !s.begun.IsZero() {
		c.core.Metrics.SendDuration.Record(ctx, time.Since(s.begun).Seconds(), attrs.Record...)
	}
	telemetry.End(s.span, outcome, err)
}

// Outcomes of the wait for an answer, beside those of sends.
const (
	outcomeAnswered    = "answered"
	outcomeDeviceError = "device_error"
)

var waitOutcomes = func() map[string]telemetry.Attributes {
	all := map[string]telemetry.Attributes{}
	for _, outcome := range append([]string{outcomeAnswered, outcomeDeviceError}, sendOutcomes[1:]...) {
		all[outcome] = telemetry.With(attribute.String("outcome", outcome))
	}
	return all
}()

// waiting is one wait for the answer to a command.
type waiting struct {
	begun time.Time
	span  trace.Span
}

// beginWait starts the span around a send and the wait for the answer, or
// around the wait alone.
func (c *Client) beginWait(ctx context.Context, op *telemetry.Operation, messageID string) (context.Context, waiting) {
	ctx, span := c.core.Tracer.Start(ctx, op)
	if span.IsRecording() {
		span.SetAttributes(semconv.MessagingMessageID(messageID))
	}
	return ctx, waiting{begun: time.Now(), span: span}
}

func (c *Client) endWait(ctx context.Context, w waiting, err error) {
	outcome := outcomeAnswered
	if failed := (*CommandError)(nil); errors.As(err, &failed) {
		outcome = outcomeDeviceError
	} else if err != nil {
		outcome = outcomeOf(err)
	}
	c.core.Metrics.CommandDuration.Record(ctx, time.Since(w.begun).Seconds(), waitOutcomes[outcome].Record...)
	telemetry.End(w.span, outcome, err)
}

// received notes on the span where the answer was found. One that came through
// the queue has a span of its own, below the one of the node that sent it.
func (c *Client) received(ctx context.Context, w waiting, outcome replies.Outcome) {
	if !w.span.IsRecording() || outcome.Err != nil {
		return
	}
	if outcome.Row != nil {
		w.span.SetAttributes(telemetry.KeyAnswer.String("database"))
		return
	}
	w.span.SetAttributes(telemetry.KeyAnswer.String("queue"))
	if outcome.Trace.IsValid() {
		_, span := c.core.Tracer.StartRemote(ctx, outcome.Trace, telemetry.Receive)
		span.End()
	}
}

func isClosed(err error) bool {
	return errors.Is(err, batch.ErrClosed) || errors.Is(err, replies.ErrClosed) || errors.Is(err, broker.ErrClosed) ||
		errors.Is(err, bus.ErrClosed) || errors.Is(err, store.ErrClosed)
}

func isFull(err error) bool {
	return errors.Is(err, batch.ErrFull) || errors.Is(err, replies.ErrFull)
}
