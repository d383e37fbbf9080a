package ws

import (
	"net"
	"time"
)

// Close begins an orderly close and returns: what is queued is written, then
// the close frame, then the peer's is awaited, and the network connection is
// closed. All of that takes Options.CloseTimeout at most; Serve returns when it
// is done. Messages that still arrive are discarded.
//
// The reason is cut to 123 bytes. A code that must not travel (0, 1005, 1006)
// sends a close frame without one. Only the first Close counts, and none after
// the peer's.
func (c *Conn) Close(code CloseCode, reason string) {
	if !code.receivable() {
		code, reason = CloseNoStatus, ""
	}
	c.beginClose(End{Code: code, Reason: reason}, false)
}

// Abort drops the connection at once, without a close frame and with what is
// queued. The cause becomes [End.Err]; nil stands for ErrAborted.
func (c *Conn) Abort(cause error) {
	if cause == nil {
		cause = ErrAborted
	}
	c.terminate(End{Code: CloseAbnormal, Err: cause}, true)
}

// beginClose queues our close frame, as the last frame there is.
func (c *Conn) beginClose(end End, failed bool) {
	c.mu.Lock()
	if c.state != stateOpen {
		c.mu.Unlock()
		return
	}
	c.failed = failed
	start := c.pushClose(end, end.Reason)
	c.mu.Unlock()
	if start {
		c.startFlush()
	}
}

// closedByPeer takes the peer's close frame: it answers ours, or we answer it.
func (c *Conn) closedByPeer(code CloseCode, reason string) {
	c.mu.Lock()
	c.peerClosed = true
	switch c.state {
	case stateOpen:
		// The peer wants nothing more; a frame that is begun must be finished.
		if c.queue != nil {
			c.queue.dropUnsent()
		}
		start := c.pushClose(End{Code: code, Reason: reason, ByPeer: true}, "")
		c.mu.Unlock()
		if start {
			c.startFlush()
		}
	case stateClosing:
		done := c.closeSent
		c.mu.Unlock()
		if done {
			c.terminate(End{}, false)
		}
	default:
		c.mu.Unlock()
	}
}

// pushClose is called with the lock held; see push.
func (c *Conn) pushClose(end End, reason string) (start bool) {
	c.setState(stateClosing)
	c.end = &end
	c.timer = time.AfterFunc(c.lim.closing, func() { c.terminate(End{}, true) })
	return c.push(closeFrame(end.Code, reason))
}

// Ending says why the connection ends, once that is decided: before the peer can
// know it, and before Serve returns.
func (c *Conn) Ending() (end End, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.end == nil {
		return End{}, false
	}
	return *c.end, true
}

func (c *Conn) setState(s connState) {
	c.state = s
	c.closing.Store(s != stateOpen)
}

// terminate closes the network connection, once. end counts if nothing else
// ended the connection before. With reset the kernel forgets what it has not
// sent: a peer that does not read would make it keep that for minutes.
func (c *Conn) terminate(end End, reset bool) {
	c.mu.Lock()
	if c.state == stateClosed {
		c.mu.Unlock()
		return
	}
	c.setState(stateClosed)
	if c.end == nil {
		c.end = &end
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	if !c.flushing {
		c.releaseQueue()
	}
	c.mu.Unlock()

	defer idlers.wake(c) // to see that it is over
	if !reset {
		_ = c.nc.Close()
		return
	}
	nc := c.nc
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		nc = t.NetConn() // closing TLS in order would wait for the peer
	}
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = nc.Close()
}
