package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
)

// Bounds of streams (specification, section 3.8; the number and the longest
// idle time are ours).
const (
	maxStreams        = 100
	defaultStreamIdle = 5 * time.Minute
	maxStreamIdle     = 24 * time.Hour
)

// Names of errors that end streams.
const (
	streamNotFound  = "StreamNotFound"
	streamIdle      = "IdleTimeout"
	streamCancelled = "Cancelled"
	streamUserError = "UserError"
	streamBadNumber = "InvalidSequenceId"
)

// streams are the streams that a connection publishes to groups.
type streams struct {
	mu sync.Mutex
	m  map[string]*stream
}

// stream is one of them. The lock of its streams guards it; data is published
// by the goroutine that reads the connection, and the end by that or the timer.
type stream struct {
	id, group string
	noEcho    bool
	expected  uint64 // the next number
	idle      time.Duration
	timer     *time.Timer
}

// movedStream is a stream on its way to another node.
type movedStream struct {
	ID       string        `json:"id"`
	Group    string        `json:"group"`
	NoEcho   bool          `json:"noEcho,omitempty"`
	Expected uint64        `json:"next"`
	Idle     time.Duration `json:"idle"`
}

// startStream opens a stream; the device waits for the first streamAck.
func (s *session) startStream(f *protocol.Frame) {
	idle := defaultStreamIdle
	if f.StreamStart.HasIdleTimeout {
		idle = time.Duration(f.StreamStart.IdleTimeoutMillis) * time.Millisecond
	}
	switch {
	case !s.maySend(f.Group):
		s.streamClosed(f.StreamID, ackForbidden, "the connection may not send to the group")
	case f.StreamID == "":
		s.streamClosed(f.StreamID, ackBadRequest, "streamId is missing")
	case idle <= 0 || idle > maxStreamIdle:
		s.streamClosed(f.StreamID, ackBadRequest, "idleTimeoutMs is out of bounds")
	case !s.streams.open(s, &stream{id: f.StreamID, group: f.Group, noEcho: f.NoEcho, expected: 1, idle: idle}):
		s.streamClosed(f.StreamID, ackBadRequest, "the stream is open already, or there are too many")
	default:
		s.reply(protocol.AppendStreamAck(nil, s.sub, f.StreamID, 1))
	}
}

func (t *streams) open(s *session, st *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, exists := t.m[st.id]; exists || len(t.m) >= maxStreams {
		return false
	}
	if t.m == nil {
		t.m = map[string]*stream{}
	}
	t.m[st.id] = st
	st.timer = time.AfterFunc(st.idle, func() { s.streamIdle(st) })
	return true
}

// touch finds a stream and restarts its idle time.
func (t *streams) touch(id string) *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := t.m[id]
	if st != nil {
		st.timer.Reset(st.idle)
	}
	return st
}

// close removes a stream and reports whether it was still there.
func (t *streams) close(st *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m[st.id] != st {
		return false
	}
	st.timer.Stop()
	delete(t.m, st.id)
	return true
}

// streamData publishes a part of a stream. Numbers that were seen are
// acknowledged again, numbers that are too high make the device go back.
func (s *session) streamData(f *protocol.Frame) {
	st := s.streams.touch(f.StreamID)
	switch {
	case st == nil:
		s.streamClosed(f.StreamID, streamNotFound, "the connection has no such stream")
		return
	case f.KeepAlive:
		return
	case f.SequenceID > st.expected:
		s.reply(protocol.AppendStreamNack(nil, s.sub, st.id, st.expected, protocol.ErrorDetail{
			Name: streamBadNumber, Message: "a part is missing",
		}))
		return
	case f.SequenceID == st.expected:
		err := s.publishStream(st, control.Message{
			DataType: f.Data.Type.String(), Data: f.Data.Bytes, Stream: &control.Stream{ID: st.id, SequenceID: st.expected},
		})
		if err != nil {
			s.failStream(st, err)
			return
		}
		st.expected++
	}
	s.reply(protocol.AppendStreamAck(nil, s.sub, st.id, st.expected))
}

// streamEnd ends a stream as the device asked.
func (s *session) streamEnd(f *protocol.Frame) {
	st := s.streams.touch(f.StreamID)
	if st == nil || !s.streams.close(st) {
		s.streamClosed(f.StreamID, streamNotFound, "the connection has no such stream")
		return
	}
	var failure *control.StreamError
	if f.Error != nil {
		failure = &control.StreamError{Name: streamUserError, Message: f.Error.Message, UserCode: f.Error.UserErrorCode}
	}
	if err := s.publishEnd(st, failure); err != nil {
		s.streamClosed(st.id, errorDetail(err).Name, errorDetail(err).Message)
		return
	}
	s.reply(protocol.AppendStreamClosed(nil, s.sub, st.id, nil))
}

// failStream ends a stream that cannot go on.
func (s *session) failStream(st *stream, err error) {
	if !s.streams.close(st) {
		return
	}
	name := ackInternalError
	if refused := (*requestError)(nil); errors.As(err, &refused) {
		name = refused.name
	}
	_ = s.publishEnd(st, &control.StreamError{Name: name}) // the device is told below, whatever happens
	s.streamClosed(st.id, name, errorDetail(err).Message)
}

func (s *session) streamIdle(st *stream) {
	if !s.streams.close(st) {
		return
	}
	if err := s.publishEnd(st, &control.StreamError{Name: streamIdle}); err != nil {
		s.node.core.Log.Warn("end of a stream not published", "connection_id", s.id, "error", err)
	}
	s.streamClosed(st.id, streamIdle, "nothing came for too long")
}

// cancelAll ends the streams of a session that is over.
func (t *streams) cancelAll(s *session) {
	for _, st := range t.takeAll() {
		if err := s.publishEnd(st, &control.StreamError{Name: streamCancelled, Message: "the publisher is gone"}); err != nil {
			s.node.core.Log.Warn("end of a stream not published", "connection_id", s.id, "error", err)
		}
	}
}

func (t *streams) takeAll() []*stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]*stream, 0, len(t.m))
	for _, st := range t.m {
		st.timer.Stop()
		all = append(all, st)
	}
	t.m = nil
	return all
}

// export takes the streams away for another node.
func (t *streams) export() []movedStream {
	var list []movedStream
	for _, st := range t.takeAll() {
		list = append(list, movedStream{ID: st.id, Group: st.group, NoEcho: st.noEcho, Expected: st.expected, Idle: st.idle})
	}
	return list
}

func (t *streams) restore(s *session, list []movedStream) {
	for _, m := range list {
		t.open(s, &stream{id: m.ID, group: m.Group, noEcho: m.NoEcho, expected: m.Expected, idle: m.Idle})
	}
}

// publishEnd sends the terminal message, which needs a payload.
func (s *session) publishEnd(st *stream, failure *control.StreamError) error {
	return s.publishStream(st, control.Message{
		DataType: protocol.Text.String(),
		Stream:   &control.Stream{ID: st.id, SequenceID: st.expected, End: true, Error: failure},
	})
}

func (s *session) publishStream(st *stream, m control.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.node.opts.HandlerTimeout)
	defer cancel()
	if m.Stream.End {
		return s.publishAllowed(ctx, st.group, st.noEcho, m)
	}
	return s.publish(ctx, st.group, st.noEcho, m)
}

func (s *session) streamClosed(id, name, text string) {
	s.reply(protocol.AppendStreamClosed(nil, s.sub, id, &protocol.ErrorDetail{Name: name, Message: text}))
}
