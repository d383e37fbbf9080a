package node_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// tap stands on the connections of one process to Redis. It can hold back what
// arrives on one of them, which is what a slow server of a cluster does.
type tap struct {
	mu    sync.Mutex
	conns []*tapConn
	// stop holds a connection as soon as this arrives on it, and stopped tells.
	stop    []byte
	stopped chan struct{}
}

type tapConn struct {
	net.Conn
	tap *tap
	// Guarded by tap.mu:
	subscribed []byte        // what was written, if this is a listener's
	held       chan struct{} // not nil: what arrives waits until it is closed
}

func (t *tap) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &tapConn{Conn: conn, tap: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.conns = append(t.conns, c)
	return c, nil
}

func (c *tapConn) Write(b []byte) (int, error) {
	c.tap.mu.Lock()
	if c.subscribed != nil || bytes.Contains(b, []byte("subscribe\r\n")) {
		c.subscribed = append(c.subscribed, b...)
	}
	c.tap.mu.Unlock()
	return c.Conn.Write(b)
}

func (c *tapConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.tap.mu.Lock()
	if c.tap.stop != nil && c.subscribed != nil && bytes.Contains(b[:n], c.tap.stop) {
		c.tap.stop, c.held = nil, make(chan struct{})
		close(c.tap.stopped)
	}
	held := c.held
	c.tap.mu.Unlock()
	if held != nil {
		<-held
	}
	return n, err
}

// carrier is the connection on which a channel was subscribed.
func (t *tap) carrier(tt *testing.T, channel string) *tapConn {
	tt.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.conns {
		if bytes.Contains(c.subscribed, []byte(channel)) {
			return c
		}
	}
	require.Fail(tt, "nobody is subscribed", channel)
	return nil
}

// hold keeps back what arrives on the connection of a channel from now on.
func (t *tap) hold(tt *testing.T, channel string) {
	tt.Helper()
	c := t.carrier(tt, channel)
	t.mu.Lock()
	defer t.mu.Unlock()
	c.held = make(chan struct{})
}

// holdAt keeps back what arrives on a listener's connection from this on. The
// channel that it returns is closed then.
func (t *tap) holdAt(text string) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop, t.stopped = []byte(text), make(chan struct{})
	return t.stopped
}

// thaw lets everything arrive.
func (t *tap) thaw() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop = nil
	for _, c := range t.conns {
		if c.held != nil {
			close(c.held)
			c.held = nil
		}
	}
}
