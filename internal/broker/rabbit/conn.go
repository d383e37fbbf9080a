package rabbit

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// closeBound is how long the orderly end of a connection may take before the
// socket is closed without the server's agreement.
const closeBound = time.Second

// ErrBlocked is wrapped by the error of a publish whose ctx ended while the
// server held publishers up, for want of memory or disk space.
var ErrBlocked = errors.New("the broker blocks publishers")

// errOver says that a session ended, to those who wait for something in it.
var errOver = errors.New("the connection is lost")

// conn is one connection to the server. Its methods may be called at the same
// time from several goroutines.
type conn struct {
	*amqp.Connection
	sock    *socket
	addr    string
	gate    atomic.Pointer[gate] // nil while the server lets publishers pass
	watched chan struct{}        // closed when the driver has shut down
}

type gate struct {
	reason string
	open   chan struct{}
}

func newConn(c *amqp.Connection, sock *socket, addr string) *conn {
	out := &conn{Connection: c, sock: sock, addr: addr, watched: make(chan struct{})}
	blocked := c.NotifyBlocked(make(chan amqp.Blocking, 1))
	go out.watch(blocked)
	return out
}

// watch follows connection.blocked and connection.unblocked.
func (c *conn) watch(blocked <-chan amqp.Blocking) {
	defer close(c.watched)
	for b := range blocked {
		old := c.gate.Load()
		switch {
		case b.Active && old == nil:
			c.gate.Store(&gate{reason: b.Reason, open: make(chan struct{})})
		case !b.Active && old != nil:
			c.gate.Store(nil)
			close(old.open)
		}
	}
}

// reserve waits until the server lets publishers pass and the socket has room
// for n bytes, to be given back to it. What waits here was not sent, so that a
// caller who gives up meanwhile has sent nothing.
func (c *conn) reserve(ctx context.Context, n int, over <-chan struct{}) error {
	for {
		var wait <-chan struct{}
		if g := c.gate.Load(); g != nil {
			wait = g.open
		} else if wait = c.sock.reserve(n); wait == nil {
			return nil
		}
		select {
		case <-wait:
		case <-over:
			return errOver
		case <-ctx.Done():
			return c.explain(ctx)
		}
	}
}

// explain says why a publish on this connection did not end before its ctx.
func (c *conn) explain(ctx context.Context) error {
	if g := c.gate.Load(); g != nil {
		return fmt.Errorf("%w: %w: %s", ctx.Err(), ErrBlocked, g.reason)
	}
	return fmt.Errorf("%w: no confirmation from %s", ctx.Err(), c.addr)
}

// abort ends the connection without a word to the server.
func (c *conn) abort() { c.sock.abort() }

// close ends the connection, in an orderly way if the server takes part, and
// returns when the driver has released everything.
func (c *conn) close() {
	// The driver's own deadline does not hold if the server keeps sending.
	kill := time.AfterFunc(closeBound, c.abort)
	defer kill.Stop()
	_ = c.CloseDeadline(time.Now().Add(closeBound))
	<-c.watched
}
