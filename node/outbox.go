package node

import (
	"context"
	"errors"
	"time"

	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/ws"
)

// outbox holds the message frames of a reliable connection until the device's
// sequenceAck, so that they can be sent again after a recovery (specification,
// section 4.1). The session's lock guards it.
type outbox struct {
	next   uint64 // the last sequence number; the first frame has 1
	frames []outFrame
	bytes  int
	// realtime are hashes of the last realtime messages, for a move to another
	// node, and heard is how many there were.
	realtime []uint64
	heard    uint64
}

// rememberRealtime is how many realtime messages a move may have in doubt.
const rememberRealtime = 64

// outFrame is a message on its way to one device.
type outFrame struct {
	seq     uint64
	message *protocol.Shared
	// delivery is the reliable message or command in the frame, or nil.
	delivery *delivery
	// id tells a message of a hub apart from others, realtime is the hash of a
	// realtime message; the other one is 0.
	id, realtime uint64
	// expires is when the frame need not be sent any more; zero: never.
	expires time.Time
}

func (f *outFrame) size(sub protocol.Subprotocol) int { return len(f.message.Tail(sub).Bytes()) }

var errOutboxFull = errors.New("too many frames without sequenceAck")

// push numbers a frame.
func (o *outbox) push(f outFrame, sub protocol.Subprotocol, maxFrames, maxBytes int) (uint64, error) {
	size := f.size(sub)
	if len(o.frames) >= maxFrames || (len(o.frames) > 0 && o.bytes+size > maxBytes) {
		return 0, errOutboxFull
	}
	o.next++
	f.seq = o.next
	o.frames = append(o.frames, f)
	o.bytes += size
	if f.realtime != 0 {
		o.heard++
		if len(o.realtime) == rememberRealtime {
			o.realtime = append(o.realtime[:0], o.realtime[1:]...)
		}
		o.realtime = append(o.realtime, f.realtime)
	}
	return o.next, nil
}

// ack drops every frame up to seq and returns the deliveries among them. A
// number that was acknowledged before, or never sent, drops nothing.
func (o *outbox) ack(seq uint64, sub protocol.Subprotocol) []*delivery {
	if seq > o.next {
		return nil
	}
	n := 0
	var deliveries []*delivery
	for n < len(o.frames) && o.frames[n].seq <= seq {
		if d := o.frames[n].delivery; d != nil {
			deliveries = append(deliveries, d)
		}
		o.bytes -= o.frames[n].size(sub)
		n++
	}
	rest := copy(o.frames, o.frames[n:])
	clear(o.frames[rest:])
	o.frames = o.frames[:rest]
	if rest == 0 && cap(o.frames) > 64 {
		o.frames = nil // an idle connection holds no large buffer
	}
	return deliveries
}

// frame builds the WebSocket frame of a tail; the tail's bytes are shared.
func frame(tail protocol.Tail, seq uint64) ws.Frame {
	var buf [protocol.MaxPrefix]byte
	prefix := tail.AppendPrefix(buf[:0], seq)
	if tail.Binary() {
		return ws.BinaryFrameParts(prefix, tail.Bytes())
	}
	return ws.TextFrameParts(prefix, tail.Bytes())
}

// send queues a message for the device and reports whether it was taken. A
// device that is too slow is disconnected, and cannot recover.
func (s *session) send(f outFrame) bool {
	s.mu.Lock()
	taken := s.sendLocked(f)
	s.mu.Unlock()
	return taken
}

func (s *session) sendLocked(f outFrame) bool {
	if s.heard != nil && f.id != 0 {
		if s.heard[f.id] {
			return true
		}
		if time.Now().After(s.heardUntil) {
			s.heard = nil
		}
	}
	switch {
	case s.state == sessionOpening:
		return s.sendEarly(f)
	case s.state != sessionLive && s.state != sessionDetached:
		return false
	}
	var seq uint64
	if s.sub.Reliable() {
		var err error
		if seq, err = s.out.push(f, s.sub, s.node.opts.MaxQueue, s.node.opts.MaxQueueBytes); err != nil {
			// Not under the caller's locks: ending the session takes them.
			s.node.spawn(s.overflow)
			return false
		}
	}
	s.node.traffic.sent()
	if s.conn == nil {
		return true
	}
	// A socket that is over is noticed at its end; a reliable session keeps
	// the frame for its next socket.
	err := s.conn.Send(frame(f.message.Tail(s.sub), seq))
	return err == nil || s.sub.Reliable()
}

// sendEarly keeps a message for a device that has no socket yet; s.mu is held. One
// for which there are too many is disconnected as soon as it is connected.
func (s *session) sendEarly(f outFrame) bool {
	if s.farewell != nil {
		return false
	}
	size := f.size(s.sub)
	if len(s.early) >= s.node.opts.MaxQueue || len(s.early) > 0 && s.earlyBytes+size > s.node.opts.MaxQueueBytes {
		s.node.core.Metrics.SlowConsumers.Add(context.Background(), 1)
		s.farewell = &farewell{ws.ClosePolicyViolation, slowText}
		return false
	}
	s.early = append(s.early, f)
	s.earlyBytes += size
	return true
}

var slowText = "The device is too slow: " + errOutboxFull.Error() + "."

// overflow disconnects a device that does not keep up.
func (s *session) overflow() {
	s.node.core.Metrics.SlowConsumers.Add(context.Background(), 1)
	s.closeWith(ws.ClosePolicyViolation, slowText)
}
