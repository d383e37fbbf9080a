package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
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
//
// Locks: the turn of a stream may be held when mu or a session's lock is
// taken, never the other way round.
type streams struct {
	mu sync.Mutex
	m  map[string]*stream
	// paused: the connection is about to move, and nothing is published.
	paused bool
	// over: there will be no more streams.
	over bool
}

// stream is one of them.
type stream struct {
	id, group string
	noEcho    bool
	idle      time.Duration
	// timer and touched, which streams.mu guards, are for the idle time.
	timer   *time.Timer
	touched time.Time

	// turn is held while a part or the end is published, and until the device
	// has its answer, so that the end comes last, also if the timer brings it.
	turn     sync.Mutex
	expected uint64 // the next number
	over     bool
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
	idle := s.node.opts.StreamIdle
	if f.StreamStart.HasIdleTimeout {
		idle = time.Duration(f.StreamStart.IdleTimeoutMillis) * time.Millisecond
	}
	switch {
	case !s.maySend(f.Group):
		s.streamClosed(f.StreamID, ackForbidden, "the connection may not send to the group")
	case f.StreamID == "":
		s.streamClosed(f.StreamID, ackBadRequest, "streamId is missing")
	case idle <= 0 || idle > s.node.opts.MaxStreamIdle:
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
	if _, exists := t.m[st.id]; exists || t.over || len(t.m) >= s.node.opts.MaxStreams {
		return false
	}
	if t.m == nil {
		t.m = map[string]*stream{}
	}
	t.m[st.id] = st
	st.touched = time.Now()
	st.timer = time.AfterFunc(st.idle, func() { s.streamIdle(st) })
	return true
}

// touch finds a stream and restarts its idle time.
func (t *streams) touch(id string) *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := t.m[id]
	if st != nil {
		st.restart()
	}
	return st
}

// restart begins the idle time anew; the lock of the streams is held.
func (st *stream) restart() {
	st.touched = time.Now()
	st.timer.Reset(st.idle)
}

// idled reports whether nothing has come for a stream for too long.
func (t *streams) idled(st *stream) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.paused && t.m[st.id] == st && time.Since(st.touched) >= st.idle
}

func (t *streams) isPaused() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.paused
}

func (t *streams) remove(st *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	st.timer.Stop()
	if t.m[st.id] == st {
		delete(t.m, st.id)
	}
}

// streamData publishes a part of a stream. Numbers that were seen are
// acknowledged again, numbers that are too high make the device go back.
func (s *session) streamData(f *protocol.Frame) {
	st := s.streams.touch(f.StreamID)
	if st == nil {
		s.streamNotFound(f.StreamID)
		return
	}
	if f.KeepAlive {
		return
	}
	st.turn.Lock()
	defer st.turn.Unlock()
	switch {
	case s.streams.isPaused():
		return // the device sends it again when it has recovered
	case st.over:
		s.streamNotFound(st.id)
		return
	case f.SequenceID > st.expected:
		s.reply(protocol.AppendStreamNack(nil, s.sub, st.id, st.expected, protocol.ErrorDetail{
			Name: streamBadNumber, Message: "a part is missing",
		}))
		return
	case f.SequenceID == st.expected:
		if err := s.publishPart(st, f.Data); err != nil {
			s.failStream(st, err)
			return
		}
		st.expected++
		s.streams.touch(st.id) // the time that it took is not the device's
	}
	s.reply(protocol.AppendStreamAck(nil, s.sub, st.id, st.expected))
}

// streamEnd ends a stream as the device asked.
func (s *session) streamEnd(f *protocol.Frame) {
	st := s.streams.touch(f.StreamID)
	if st == nil {
		s.streamNotFound(f.StreamID)
		return
	}
	st.turn.Lock()
	defer st.turn.Unlock()
	switch {
	case s.streams.isPaused():
		return
	case st.over:
		s.streamNotFound(st.id)
		return
	}
	var failure *control.StreamError
	if f.Error != nil {
		failure = &control.StreamError{Name: streamUserError, Message: f.Error.Message, UserCode: f.Error.UserErrorCode}
	}
	defer s.streams.remove(st)
	if err := s.finishStream(st, failure); err != nil {
		s.streamClosed(st.id, errorDetail(err).Name, errorDetail(err).Message)
		return
	}
	s.reply(protocol.AppendStreamClosed(nil, s.sub, st.id, nil))
}

// failStream ends a stream that cannot go on; its turn is held.
func (s *session) failStream(st *stream, err error) {
	name := ackInternalError
	if refused := (*requestError)(nil); errors.As(err, &refused) {
		name = refused.name
	}
	_ = s.finishStream(st, &control.StreamError{Name: name}) // the device is told below, whatever happens
	s.streamClosed(st.id, name, errorDetail(err).Message)
	s.streams.remove(st)
}

func (s *session) streamIdle(st *stream) {
	st.turn.Lock()
	defer st.turn.Unlock()
	if st.over || !s.streams.idled(st) {
		return
	}
	if err := s.finishStream(st, &control.StreamError{Name: streamIdle}); err != nil {
		s.node.core.Log.Warn("end of a stream not published", "connection_id", s.id, "error", err)
	}
	s.streamClosed(st.id, streamIdle, "nothing came for too long")
	s.streams.remove(st)
}

// cancelAll ends the streams of a session that is over.
func (t *streams) cancelAll(s *session) {
	ctx, cancel := context.WithTimeout(context.Background(), s.node.opts.HandlerTimeout)
	defer cancel()
	for _, st := range t.takeAll() {
		st.turn.Lock()
		if !st.over {
			st.over = true
			err := s.publishEnd(ctx, st, &control.StreamError{Name: streamCancelled, Message: "the publisher is gone"})
			if err != nil {
				s.node.core.Log.Warn("end of a stream not published", "connection_id", s.id, "error", err)
			}
		}
		st.turn.Unlock()
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
	t.m, t.over = nil, true
	return all
}

// pause makes sure that nothing is published any more, so that export tells
// the next node all that was. It must not be called with the lock of the
// session held.
func (t *streams) pause() {
	t.mu.Lock()
	t.paused = true
	all := make([]*stream, 0, len(t.m))
	for _, st := range t.m {
		all = append(all, st)
	}
	t.mu.Unlock()
	for _, st := range all {
		st.turn.Lock()   // what is being published is counted
		st.turn.Unlock() //nolint:staticcheck // nothing is to be done but to wait
	}
}

// resume goes on after a pause.
func (t *streams) resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paused = false
	for _, st := range t.m {
		st.restart()
	}
}

// export takes the streams away for another node, after a pause.
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

func (s *session) publishPart(st *stream, data protocol.Data) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.node.opts.HandlerTimeout)
	defer cancel()
	return s.publish(ctx, st.group, st.noEcho, control.Message{
		DataType: data.Type.String(), Data: data.Bytes, Stream: &control.Stream{ID: st.id, SequenceID: st.expected},
	})
}

// finishStream ends a stream; its turn is held. The caller tells the device,
// and removes the stream after that: a part that comes in between must not be
// told that there is no such stream before the device has heard why.
func (s *session) finishStream(st *stream, failure *control.StreamError) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.node.opts.HandlerTimeout)
	defer cancel()
	st.over = true
	return s.publishEnd(ctx, st, failure)
}

// publishEnd sends the terminal message, which needs a payload. Whether the
// device may still send does not matter for it.
func (s *session) publishEnd(ctx context.Context, st *stream, failure *control.StreamError) error {
	return s.publishAllowed(ctx, st.group, st.noEcho, control.Message{
		DataType: protocol.Text.String(),
		Stream:   &control.Stream{ID: st.id, SequenceID: st.expected, End: true, Error: failure},
	})
}

func (s *session) streamNotFound(id string) {
	s.streamClosed(id, streamNotFound, "the connection has no such stream")
}

func (s *session) streamClosed(id, name, text string) {
	s.reply(protocol.AppendStreamClosed(nil, s.sub, id, &protocol.ErrorDetail{Name: name, Message: text}))
}
