package node

import (
	"context"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// deliveryTrace is the trace that a message belongs to, while it is on its way
// to a user. The user's lock guards it.
type deliveryTrace struct {
	// parent is the span of the send, or not valid: the trace is not stored, so
	// a message that a node read in the database begins one with its delivery.
	parent trace.SpanContext
	// last is the last delivery: what follows is its consequence.
	last trace.SpanContext
	// heard is when the node heard of the message; zero once it was handed on.
	heard time.Time
}

// newTrace returns nil for a message that is not traced.
func (n *Node) newTrace(h *wire.Hint) *deliveryTrace {
	if n.core.Tracer == nil {
		return nil
	}
	parent := telemetry.Parse(h.TraceParent, h.TraceState)
	if !parent.IsSampled() && h.Origin != wire.FromCatchUp && h.Origin != wire.FromRound {
		return nil // its sender has decided
	}
	return &deliveryTrace{parent: parent, last: parent, heard: time.Now()}
}

// traceDelivery notes that a connection was handed the message; the user's lock
// is held.
func (n *Node) traceDelivery(d *delivery, s *session, again bool) {
	if d.trace == nil {
		return
	}
	op := telemetry.DeliverReliable
	if d.hint.Type == wire.Command {
		op = telemetry.DeliverCommand
	}
	var begin []trace.SpanStartOption
	if !d.trace.heard.IsZero() {
		begin = []trace.SpanStartOption{trace.WithTimestamp(d.trace.heard)}
		d.trace.heard = time.Time{}
	}
	_, span := n.core.Tracer.StartRemote(context.Background(), d.trace.parent, op, begin...)
	if span.IsRecording() {
		origin := d.hint.Origin
		if origin == "" {
			origin = wire.FromHint
		}
		span.SetAttributes(
			semconv.MessagingMessageID(d.hint.ID), semconv.UserID(d.user.id), telemetry.KeyConnection.String(s.id),
			telemetry.KeyOrigin.String(string(origin)), telemetry.KeyRedelivery.Bool(again),
		)
	}
	span.End()
	d.trace.last = span.SpanContext()
}

// traceAcknowledgement begins the span of an acknowledgement, which ends when
// it is written; the user's lock is held.
func (n *Node) traceAcknowledgement(d *delivery, s *session) trace.Span {
	if d.trace == nil {
		return telemetry.None
	}
	op := telemetry.AcknowledgeReliable
	if d.hint.Type == wire.Command {
		op = telemetry.AcknowledgeCommand
	}
	_, span := n.core.Tracer.StartRemote(context.Background(), d.trace.last, op)
	if span.IsRecording() {
		span.SetAttributes(semconv.MessagingMessageID(d.hint.ID), telemetry.KeyConnection.String(s.id))
	}
	return span
}

// traceAnswer begins the span of a device's answer. A delivery that this node
// does not know, because another one made it, has no trace here.
func (s *session) traceAnswer(ctx context.Context, d *delivery, id string) (context.Context, trace.Span) {
	var parent trace.SpanContext
	if d != nil {
		if parent = d.user.traceOf(d); !parent.IsValid() {
			return ctx, telemetry.None
		}
	}
	ctx, span := s.node.core.Tracer.StartRemote(ctx, parent, telemetry.Answer)
	if span.IsRecording() {
		span.SetAttributes(semconv.MessagingMessageID(id), telemetry.KeyConnection.String(s.id))
	}
	return ctx, span
}

func (u *user) traceOf(d *delivery) trace.SpanContext {
	u.mu.Lock()
	defer u.mu.Unlock()
	if d.trace == nil {
		return trace.SpanContext{}
	}
	return d.trace.last
}

// traceHub begins the span of a hub's message on this node, if its send has one.
func (n *Node) traceHub(target wire.HubChannel, m *control.Message) trace.Span {
	if m.TraceParent == "" || n.core.Tracer == nil {
		return telemetry.None
	}
	_, span := n.core.Tracer.StartRemote(context.Background(), telemetry.Parse(m.TraceParent, m.TraceState), telemetry.DeliverHub)
	if span.IsRecording() {
		span.SetAttributes(telemetry.KeyHub.String(target.Hub))
	}
	return span
}
