package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/message-gateway/gateway/internal/devicetest"
)

// talk reads what the node sends until the connection is over, or until this
// device has had enough of it.
func (d *device) talk(ctx context.Context, conn *devicetest.Device) {
	calm := d.fleet.isCalm()
	switch {
	case calm:
	case d.kind == kindFlapping:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.between(100*time.Millisecond, 3*time.Second))
		defer cancel()
	case d.kind == kindAway || d.kind == kindStuck:
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.between(time.Second, 4*time.Second))
		defer cancel()
	}
	link := &link{device: d, conn: conn}
	for {
		frame, err := conn.TryNext(ctx)
		if err != nil {
			return
		}
		if frame.Type == devicetest.TypeMessage {
			link.message(frame)
		}
	}
}

// link is one connection of a device; late answers share it with prompt ones.
type link struct {
	device *device
	conn   *devicetest.Device
	mu     sync.Mutex
}

func (l *link) message(frame devicetest.Frame) {
	d := l.device
	envelope, stored := frame.Envelope()
	if !stored {
		d.fleet.ledger.received(d.user, frame.Data, "", false)
		if frame.SequenceID > 0 {
			l.acknowledge(frame, "")
		}
		return
	}
	body := envelope.Payload
	if envelope.Kind == "command" {
		body = envelope.Data
	}
	d.fleet.ledger.received(d.user, body, envelope.ID, true)
	switch d.kind {
	case kindNever:
		// A node sends no more than 512 messages that nobody acknowledges.
		if d.seen[envelope.ID] = true; d.fleet.isCalm() && len(d.seen) > 200 {
			l.settle(frame, envelope)
		}
	case kindLate:
		if d.fleet.isCalm() {
			l.settle(frame, envelope)
			return
		}
		// A command is acknowledged at last, and answered when it is too late.
		time.AfterFunc(d.between(time.Second, 7*time.Second), func() { l.settle(frame, envelope) })
	case kindTwice:
		l.settle(frame, envelope)
		l.settle(frame, envelope)
		l.event("ack", map[string]any{"ids": []string{envelope.ID}})
	default:
		l.settle(frame, envelope)
	}
}

// settle acknowledges a message and answers a command.
func (l *link) settle(frame devicetest.Frame, envelope devicetest.Envelope) {
	l.acknowledge(frame, envelope.ID)
	if envelope.Kind != "command" {
		return
	}
	l.mu.Lock()
	l.device.answers++
	answer := fmt.Sprintf(`{"by":%q,"id":%q,"k":%d}`, l.device.name, envelope.ID, l.device.answers)
	l.mu.Unlock()
	l.device.fleet.ledger.answered(envelope.ID, answer)
	l.event("response", map[string]any{"requestId": envelope.RequestID, "data": json.RawMessage(answer)})
}

// acknowledge says that a frame has arrived. That the connection is over by
// then is what this suite is about.
func (l *link) acknowledge(frame devicetest.Frame, id string) {
	if frame.SequenceID > 0 {
		_ = l.conn.TrySequenceAck(frame.SequenceID)
		return
	}
	if id != "" {
		l.event("ack", map[string]any{"ids": []string{id}})
	}
}

func (l *link) event(name string, data any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.conn.TrySendEvent(name, data) // as above
}
