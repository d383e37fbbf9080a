package outbound

import (
	"context"
	"sync"
	"time"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/lifecycle"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// Bounds of the hints that wait to go out. What does not fit is counted as
// lost: nodes find the message in their slow round.
const (
	maxHints      = 1 << 16
	hintBatch     = 512
	hintTimeout   = 5 * time.Second
	maxNotices    = 1 << 14
	noticeWorkers = 16
	noticeTimeout = 30 * time.Second
)

// Hinter tells nodes about stored messages: over the bus with the whole
// envelope, and where that reached nobody, over the broker, for gateways of
// other makes. It never delays or fails a send. All methods may be called from
// several goroutines.
type Hinter struct {
	core *core.Core
	work *lifecycle.Group

	mu      sync.Mutex
	queue   []*store.Message
	pending int // hints taken from the queue and notices, until they are out
	closed  bool
	wake    chan struct{}
	notices chan broker.Notification
}

// NewHinter starts a Hinter.
func NewHinter(c *core.Core) *Hinter {
	h := &Hinter{
		core: c, work: lifecycle.New(context.Background()),
		wake: make(chan struct{}, 1), notices: make(chan broker.Notification, maxNotices),
	}
	for range noticeWorkers {
		h.work.Go(h.notify)
	}
	h.work.Go(h.run)
	return h
}

// Tell queues the hint of a stored message.
func (h *Hinter) Tell(msg *store.Message) {
	h.mu.Lock()
	full := h.closed || len(h.queue) >= maxHints
	if !full {
		h.queue = append(h.queue, msg)
	}
	h.mu.Unlock()
	if full {
		h.core.Metrics.Overflow(telemetry.QueueHints)
		h.core.Metrics.HintsLost.Add(context.Background(), 1)
		return
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// Close sends what is queued or on its way, for drain at most, and stops.
func (h *Hinter) Close(drain time.Duration) {
	h.mu.Lock()
	h.closed = true
	h.mu.Unlock()
	deadline := time.Now().Add(drain)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !h.idle() && time.Now().Before(deadline) {
		<-tick.C
	}
	h.work.Stop()
}

// Queues are what the Hinter bounds.
func (h *Hinter) Queues() []telemetry.Queue {
	waiting := func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.queue)
	}
	return []telemetry.Queue{
		{Name: telemetry.QueueHints, Length: waiting, Limit: telemetry.Bound(maxHints)},
		{Name: telemetry.QueueNotifications, Length: func() int { return len(h.notices) }, Limit: telemetry.Bound(maxNotices)},
	}
}

func traceOf(msg *store.Message) trace.SpanContext { return msg.Trace }

func (h *Hinter) idle() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.queue) == 0 && h.pending == 0
}

func (h *Hinter) run(ctx context.Context) {
	for {
		select {
		case <-h.wake:
		case <-ctx.Done():
			return
		}
		for {
			msgs := h.take()
			if len(msgs) == 0 || ctx.Err() != nil {
				break
			}
			h.publish(ctx, msgs)
			h.settle(len(msgs))
		}
	}
}

func (h *Hinter) take() []*store.Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(len(h.queue), hintBatch)
	msgs := make([]*store.Message, n)
	copy(msgs, h.queue)
	rest := copy(h.queue, h.queue[n:])
	clear(h.queue[rest:])
	h.queue = h.queue[:rest]
	h.pending += n
	return msgs
}

// settle notes that n hints or notices have gone out, or were given up.
func (h *Hinter) settle(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pending -= n
}

func (h *Hinter) publish(ctx context.Context, msgs []*store.Message) {
	ctx, cancel := context.WithTimeout(ctx, hintTimeout)
	defer cancel()
	ctx, span := telemetry.Batch(ctx, h.core.Tracer, telemetry.Hint, msgs, traceOf)
	defer span.End()
	pubs := make([]bus.Publication, 0, len(msgs))
	sent := make([]*store.Message, 0, len(msgs))
	for _, msg := range msgs {
		pub, err := HintPublication(h.core.Names, msg)
		if err != nil {
			// The row is stored with a payload that was checked to be JSON, so
			// this is a defect; it must not stop the other hints.
			h.core.Log.Error("encode hint", "message_id", msg.ID, "error", err)
			h.core.Metrics.HintsLost.Add(ctx, 1)
			continue
		}
		pubs = append(pubs, pub)
		sent = append(sent, msg)
	}
	receivers, err := h.core.Bus.Publish(ctx, pubs)
	if err != nil {
		h.core.Log.Warn("hints not published, trying the broker", "count", len(pubs), "error", err)
		receivers = make([]int64, len(pubs))
	}
	for i, msg := range sent {
		if receivers[i] > 0 {
			continue
		}
		n := broker.Notification{MessageID: msg.ID, Trace: msg.Trace}
		if msg.ResponseQueue != "" {
			n.ReplyTo, n.CorrelationID = msg.ResponseQueue, msg.RequestID
		}
		h.settle(-1)
		select {
		case h.notices <- n:
		default:
			h.settle(1)
			h.core.Metrics.Overflow(telemetry.QueueNotifications)
			h.core.Metrics.HintsLost.Add(ctx, 1)
		}
	}
}

func (h *Hinter) notify(ctx context.Context) {
	for {
		select {
		case n := <-h.notices:
			attempt, cancel := context.WithTimeout(ctx, noticeTimeout)
			attempt, span := h.core.Tracer.StartRemote(attempt, n.Trace, telemetry.Notify)
			if span.IsRecording() {
				n.Trace = span.SpanContext()
				span.SetAttributes(semconv.MessagingMessageID(n.MessageID))
			}
			err := h.core.Broker.Notify(attempt, n)
			telemetry.End(span, "broker", err)
			if err != nil {
				h.core.Metrics.HintsLost.Add(ctx, 1)
				h.core.Log.Warn("notification not published", "message_id", n.MessageID, "error", err)
			}
			cancel()
			h.settle(1)
		case <-ctx.Done():
			return
		}
	}
}

// HintPublication is the hint of a stored message as it goes over the bus.
func HintPublication(names wire.Names, msg *store.Message) (bus.Publication, error) {
	hint, err := HintOf(msg)
	if err != nil {
		return bus.Publication{}, err
	}
	return bus.Publication{Channel: names.Deliver(msg.UserID), Payload: hint.Encode(), Sharded: true}, nil
}

// HintOf is the hint of a stored message.
func HintOf(msg *store.Message) (*wire.Hint, error) {
	envelope := wire.Envelope{
		Type: msg.PushType, ID: msg.ID, Seq: msg.Seq, Payload: msg.Payload,
		Sender: wire.Sender{Type: msg.SenderType, ID: msg.SenderID},
		SentAt: msg.CreatedAt, RequestID: msg.RequestID, ExpiresAt: msg.ExpiresAt,
	}
	encoded, err := envelope.Encode()
	if err != nil {
		return nil, err
	}
	hint := &wire.Hint{
		ID: msg.ID, Type: msg.PushType, Seq: msg.Seq, RequestID: msg.RequestID,
		ResponseQueue: msg.ResponseQueue, RetryInterval: msg.RetryInterval, Envelope: encoded,
	}
	if msg.Trace.IsSampled() {
		hint.TraceParent, hint.TraceState = telemetry.Format(msg.Trace)
	}
	if !msg.CreatedAt.IsZero() {
		hint.SentAt = msg.CreatedAt.UnixMicro()
	}
	if !msg.ExpiresAt.IsZero() {
		hint.ExpiresAt = msg.ExpiresAt.UnixMicro()
	}
	return hint, nil
}
