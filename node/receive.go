package node

import (
	"bytes"
	"context"
	"encoding/json"
	"hash/fnv"
	"strings"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/outbound"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// notificationPrefetch is how many RabbitMQ notifications this node handles at
// the same time.
const notificationPrefetch = 64

// receive takes what comes over the bus. It must not block.
func (n *Node) receive(channel string, payload []byte) {
	if id, ok := strings.CutPrefix(channel, n.core.Names.RealtimePrefix()); ok {
		if u := n.users.get(id); u != nil {
			n.receiveRealtime(u, payload)
		}
		return
	}
	switch channel {
	case n.caller.Channel():
		n.caller.Receive(payload)
		return
	case n.core.Names.Nodes():
		n.peers.heard(payload)
		return
	}
	if target, ok := n.core.Names.ParseHubChannel(channel); ok {
		n.receiveHub(target, payload)
		return
	}
	if id, ok := strings.CutPrefix(channel, n.core.Names.DeliverPrefix()); ok {
		if u := n.users.get(id); u != nil {
			h, err := wire.DecodeHint(payload)
			if err != nil {
				// Another version's: the slow round finds the message.
				n.core.Log.Warn("hint not understood", "user_id", id, "error", err)
				return
			}
			u.deliver(h)
		}
	}
}

// receiveRealtime unwraps text and bytes; anything else is JSON as it came.
func (n *Node) receiveRealtime(u *user, payload []byte) {
	if !json.Valid(payload) {
		n.core.Log.Warn("realtime message is not JSON, dropped", "user_id", u.id)
		return
	}
	inner, kind := wire.Unwrap(payload)
	data := protocol.Data{Type: protocol.JSON}
	switch kind {
	case wire.Text:
		var text string
		_ = json.Unmarshal(inner, &text) // Unwrap has checked it
		data = protocol.Data{Type: protocol.Text, Bytes: []byte(text)}
	case wire.Binary:
		data.Type = protocol.Binary
		_ = json.Unmarshal(inner, &data.Bytes) // Unwrap has checked it
	case wire.JSON:
		data.Bytes = bytes.Clone(payload)
	}
	u.realtime(protocol.NewShared(protocol.Message{Data: data}), realtimeHash(payload))
}

// realtimeHash recognises a realtime message that two nodes heard; it is not 0.
func realtimeHash(payload []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(payload) // never fails
	return h.Sum64() | 1
}

// missed is called when messages on the bus may have been lost: the round over
// the connected users finds those that are stored, and group states are asked
// for again.
func (n *Node) missed() {
	n.peers.missed()
	n.core.Metrics.Gaps.Add(context.Background(), 1)
	n.core.Log.Warn("messages on the bus may have been missed, looking in the database")
	select {
	case n.gap <- struct{}{}:
	default:
	}
}

// consumeNotifications takes the notifications of the wire contract, so that
// SDKs that know nothing of the bus reach this node's users.
func (n *Node) consumeNotifications(ctx context.Context) error {
	stop, err := n.core.Broker.ConsumeNotifications(ctx, notificationPrefetch, n.notified)
	if err != nil {
		return err
	}
	n.work.Go(func(ctx context.Context) {
		<-ctx.Done()
		stop()
	})
	return nil
}

// notified hands a stored message to whatever node holds its user. Without a
// node it stays unfinished until the user comes.
func (n *Node) notified(ctx context.Context, note broker.Notification) error {
	ctx, cancel := context.WithTimeout(ctx, n.opts.HandlerTimeout)
	defer cancel()
	ctx, span := n.core.Tracer.StartRemote(ctx, note.Trace, telemetry.Notified)
	if span.IsRecording() {
		span.SetAttributes(semconv.MessagingMessageID(note.MessageID))
	}
	err := n.handleNotification(ctx, note)
	telemetry.End(span, "backend", err)
	return err
}

func (n *Node) handleNotification(ctx context.Context, note broker.Notification) error {
	rows, err := n.core.Store.GetMany(ctx, []string{note.MessageID})
	if err != nil {
		return err
	}
	if len(rows) > 0 && rows[0].PushType == wire.Command && rows[0].ResponseQueue == "" && note.ReplyTo != "" {
		if rows, err = n.noteQueue(ctx, rows[0].ID, note.ReplyTo); err != nil {
			return err
		}
	}
	if len(rows) == 0 || !rows[0].Status.Unfinished() {
		n.core.Log.Debug("notification of a message that is not there or over", "message_id", note.MessageID)
		return nil
	}
	row := rows[0]
	if row.Trace = n.core.Tracer.Of(ctx); n.core.Tracer == nil {
		row.Trace = note.Trace // the next node may be traced
	}
	hint, err := outbound.HintOf(row)
	if err != nil {
		n.core.Log.Error("row cannot be delivered", "message_id", row.ID, "error", err)
		return nil
	}
	hint.Origin = wire.FromNotification
	// Its own users first: they need no bus.
	if u := n.users.get(row.UserID); u != nil {
		u.deliver(hint)
	}
	_, err = n.core.Bus.Publish(ctx, []bus.Publication{{
		Channel: n.core.Names.Deliver(row.UserID), Payload: hint.Encode(), Sharded: true,
	}})
	return err
}

// noteQueue writes down where the answer to a command goes, which the original
// SDK leaves to the gateway: without it a later node could not answer. A device
// that found the row before its notification came may have answered already.
// Whoever looks second, this node here or the one of that device after the
// answer is stored, sends it; a caller ignores the second of two.
func (n *Node) noteQueue(ctx context.Context, id, queue string) ([]*store.Message, error) {
	if err := n.core.Store.SetResponseQueue(ctx, id, queue); err != nil {
		return nil, err
	}
	rows, err := n.core.Store.GetMany(ctx, []string{id})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	if row := rows[0]; row.Status == wire.Finished && row.ResponseQueue == queue {
		n.answers.reply(row.ID, row.ResponseQueue, broker.Answer{CorrelationID: row.RequestID, Body: row.Response, Trace: n.core.Tracer.Of(ctx)})
	}
	return rows, nil
}
