package node

import (
	"context"
	"errors"
	"time"
)

var errSilent = errors.New("the device answers no pings")

// runKeepAlive pings silent devices, closes those that stay silent, and ends
// the sessions that nobody recovered. One goroutine does it for all.
func (n *Node) runKeepAlive(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(n.opts.PingInterval, n.opts.RecoveryWindow) / 4):
		}
		now := time.Now()
		n.sessions.each(func(s *session) { s.keepAlive(now) })
	}
}

func (s *session) keepAlive(now time.Time) {
	interval := s.node.opts.PingInterval
	s.mu.Lock()
	conn := s.conn
	lost := s.state == sessionDetached && now.Sub(s.detachedAt) >= s.node.opts.RecoveryWindow
	s.mu.Unlock()
	switch {
	case lost:
		s.node.spawn(func() { s.end("") })
	case conn == nil:
	case now.Sub(conn.LastRead()) >= 3*interval:
		conn.Abort(errSilent)
	case now.Sub(conn.LastRead()) >= interval:
		_ = conn.Ping() // fails only if the socket is over already
	}
}
