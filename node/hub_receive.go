package node

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// Bounds of the calls that this node works on. One beyond it is answered with
// an error, so that its caller need not wait.
const (
	maxCalls    = 1024
	callWorkers = 16
)

// hubCall is a call on its way to a worker.
type hubCall struct {
	target wire.HubChannel
	call   *control.Call
	choose *chooser
	err    error // of the filter
	// found and arriving are whom a call concerned that changes something, when it
	// was heard.
	found    []*session
	arriving []*arrival
}

// receiveHub takes what comes for the connections of a hub. It must not block:
// messages are handed to the queues of the connections, calls to workers.
func (n *Node) receiveHub(target wire.HubChannel, raw []byte) {
	decoded, err := control.Decode(raw)
	if err != nil {
		n.core.Log.Warn("hub message not understood", "hub", target.Hub, "error", err)
		return
	}
	switch v := decoded.(type) {
	case *control.Message:
		n.fanOut(target, v)
	case *control.StateChange:
		n.views.receive(target, v)
	case *control.Call:
		if v.Op == control.OpTakeover {
			n.noteTakeover(target, v)
		}
		c := n.prepare(target, v)
		if len(c.arriving) > 0 && n.answerLater(c) {
			return
		}
		select {
		case n.calls <- c:
		default:
			n.core.Metrics.Overflow(telemetry.QueueCalls)
			n.spawn(func() { n.answer(v, &control.Reply{Error: "node is overloaded"}) })
		}
	}
}

// fanOut hands a message to every connection that it is for. It is encoded
// once for each subprotocol.
func (n *Node) fanOut(target wire.HubChannel, m *control.Message) {
	h := n.hubs.get(target.Hub)
	if h == nil {
		return
	}
	choose, err := newChooser(m.Excluded, m.Filter)
	if err != nil {
		n.core.Log.Warn("filter of a hub message not understood", "hub", target.Hub, "error", err)
		return
	}
	if m.Once && n.repeats.seen(m.ID, time.Now()) {
		n.countRefused("repeated")
		return
	}
	out := outFrame{message: protocol.NewShared(message(target, m)), id: m.ID}
	if m.TTLSeconds > 0 {
		out.expires = time.Now().Add(time.Duration(m.TTLSeconds) * time.Second)
	}
	span := n.traceHub(target, m)
	receivers := 0
	h.each(target, choose, func(s *session) {
		if s.send(out) {
			receivers++
		}
	})
	if span.IsRecording() {
		span.SetAttributes(telemetry.KeyReceivers.Int(receivers))
	}
	span.End()
}

// message is the frame that devices get.
func message(target wire.HubChannel, m *control.Message) protocol.Message {
	out := protocol.Message{
		FromUserID: m.FromUserID, Metadata: m.Metadata,
		Data: protocol.Data{Type: dataTypeOf(m.DataType), Bytes: m.Data},
	}
	if target.Kind == wire.TargetGroup {
		out.Group = target.ID
	}
	if st := m.Stream; st != nil {
		out.Stream = &protocol.StreamInfo{StreamID: st.ID, SequenceID: st.SequenceID, EndOfStream: st.End}
		if st.Error != nil {
			out.Stream.Error = &protocol.ErrorDetail{Name: st.Error.Name, Message: st.Error.Message, UserErrorCode: st.Error.UserCode}
		}
	}
	return out
}

func dataTypeOf(name string) protocol.DataType {
	for t := range dataTypes {
		if t.String() == name {
			return t
		}
	}
	return protocol.Binary
}

// newMessageID tells a message apart from others; 0 means none.
func newMessageID() uint64 { return rand.Uint64() | 1 }

// runCalls is one worker.
func (n *Node) runCalls(ctx context.Context) {
	for {
		select {
		case c := <-n.calls:
			n.answer(c.call, n.do(ctx, c))
		case <-ctx.Done():
			return
		}
	}
}

// answerLater works on a call that has to wait for connections without one of the
// workers, which are what the connections may wait for. It reports whether it does:
// it has bounds.
func (n *Node) answerLater(c hubCall) bool {
	if n.later.Add(1) > maxCalls {
		n.later.Add(-1)
		return false
	}
	done := func() {
		defer n.later.Add(-1)
		n.answer(c.call, n.do(context.Background(), c))
	}
	if !n.spawn(done) {
		n.later.Add(-1)
		return false
	}
	return true
}

// answer sends a reply; one that is lost lets the caller wait until it gives up.
func (n *Node) answer(call *control.Call, r *control.Reply) {
	ctx, cancel := context.WithTimeout(context.Background(), subscribeTimeout)
	defer cancel()
	r.ID = call.ID
	_, err := n.core.Bus.Publish(ctx, []bus.Publication{{Channel: call.ReplyTo, Payload: r.Encode(), Sharded: true}})
	if err != nil {
		n.core.Log.Warn("call not answered", "op", call.Op, "error", err)
	}
}
