package node

import (
	"context"
	"errors"
	"time"

	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/ws"
)

// countEnd notes an end that the device is to blame for.
func (s *session) countEnd(end ws.End) {
	switch {
	case errors.Is(end.Err, ws.ErrTooBig):
		s.node.countRefused("frame_size")
	case errors.Is(end.Err, ws.ErrProtocol), errors.Is(end.Err, ws.ErrInvalidText), errors.Is(end.Err, ws.ErrFrameTimeout):
		s.node.countRefused("websocket")
	case errors.Is(end.Err, ws.ErrSlow), errors.Is(end.Err, ws.ErrWriteTimeout):
		s.node.core.Metrics.SlowConsumers.Add(context.Background(), 1)
		s.node.core.Log.Warn("slow device disconnected", "connection_id", s.id, "user_id", s.userID, "error", end.Err)
	}
}

// socketEnded decides whether the session waits for recovery or is over. Only
// an end that a device did not ask for, and that this node did not decide, can
// be recovered from.
func (s *session) socketEnded(conn *ws.Conn, end ws.End) {
	s.mu.Lock()
	if s.conn != conn {
		// A newer socket took over; this end means nothing.
		s.mu.Unlock()
		return
	}
	s.conn = nil
	recoverable := s.sub.Reliable() && s.state == sessionLive && recoverableAfter(end)
	if recoverable {
		s.state, s.detachedAt = sessionDetached, time.Now()
	}
	if s.disconnect == "" {
		s.disconnect = end.String()
	}
	s.mu.Unlock()
	if !recoverable {
		s.end("")
	}
}

// recoverableAfter reports whether a device may come back after such an end of
// its socket.
func recoverableAfter(end ws.End) bool {
	// An error with a close code is one that the device made, such as 1009.
	broken := end.Err != nil && end.Code != ws.CloseAbnormal
	return !broken && (!end.ByPeer || end.Code != ws.CloseNormal)
}

// end finishes the session, once. reason, if any, is what OnDisconnected hears.
func (s *session) end(reason string) {
	s.mu.Lock()
	conn, ended := s.retire()
	if reason == "" {
		reason = s.disconnect
	}
	s.mu.Unlock()
	if conn != nil {
		conn.Abort(nil)
	}
	if ended {
		s.finish(reason)
	}
}

// retire makes the session refuse everything, takes its socket away, and
// reports whether it had not ended before; s.mu is held.
func (s *session) retire() (*ws.Conn, bool) {
	if s.state == sessionEnded || s.state == sessionMoved {
		return nil, false
	}
	conn := s.conn
	s.state, s.conn, s.out = sessionEnded, nil, outbox{}
	return conn, true
}

// finish removes a retired session. The application hears of it in a goroutine
// of its own: a slow hook must not hold back who closed many connections.
func (s *session) finish(reason string) {
	n := s.node
	s.dismiss(s.endStates())
	s.streams.cancelAll(s)
	n.core.Log.Debug("device disconnected", "connection_id", s.id, "user_id", s.userID, "reason", reason)
	if n.opts.OnDisconnected == nil {
		return
	}
	tell := func() {
		s.hook("OnDisconnected", func(ctx context.Context) { n.opts.OnDisconnected(ctx, s.public(), reason) })
	}
	if !n.spawn(tell) {
		tell()
	}
}

// hook calls the application. A panic there must not take the other
// connections of the process down.
func (s *session) hook(name string, call func(context.Context)) {
	ctx, cancel := context.WithTimeout(context.Background(), s.node.opts.HandlerTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			s.node.core.Log.Error("hook panicked", "hook", name, "connection_id", s.id, "panic", p)
		}
	}()
	call(ctx)
}

// closeWith ends the session by decision of this node: the device is told why
// in a frame, because the reason of a WebSocket close is too short, and cannot
// recover.
func (s *session) closeWith(code ws.CloseCode, message string) {
	s.mu.Lock()
	if !s.greeted {
		if s.farewell == nil {
			s.farewell = &farewell{code, message}
		}
		s.mu.Unlock()
		return
	}
	conn, ended := s.retire() // the end of its socket means nothing to it any more
	if conn != nil {
		if s.sub != protocol.Simple && message != "" {
			_ = conn.Send(controlFrame(s.sub, protocol.AppendDisconnected(nil, s.sub, message)))
		}
		conn.Close(code, "")
	}
	s.mu.Unlock()
	if ended {
		s.finish(message)
	}
}

const shutdownText = "The node is shutting down."

// goAway tells the device that this node stops. A reliable connection can still
// be recovered, on another node, as long as this one waits for that.
func (s *session) goAway() {
	if !s.sub.Reliable() || !s.node.handsOver() {
		s.closeWith(ws.CloseGoingAway, shutdownText)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Send(controlFrame(s.sub, protocol.AppendDisconnected(nil, s.sub, shutdownText)))
		s.conn.Close(ws.CloseGoingAway, "")
	}
}
