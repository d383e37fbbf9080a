package ws

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	// joinSize is the buffer in which small frames are joined, and also one TLS
	// record. Copying this much costs less than a system call.
	joinSize = 16 << 10
	// maxDirect bounds a write from frame memory, so that Options.WriteTimeout
	// asks for some progress and not for the whole of a large message.
	maxDirect = 64 << 10
	// maxTurn is the number of chunks after which a connection goes to the end
	// of the line.
	maxTurn = 16
)

var joinBuffers pool[[joinSize]byte]

// flushers write for all connections of the process. A goroutine for each
// connection with something to write would be simpler, and a message for
// 100,000 connections would then start 100,000 of them: hundreds of megabytes
// of stacks at once. Here a fixed few take connections from a line and write
// without ever waiting for a socket. A connection whose socket is full leaves
// the line for a goroutine of its own, which may wait.
var flushers = line{max: runtime.GOMAXPROCS(0)}

type line struct {
	mu         sync.Mutex
	head, tail *Conn // linked through Conn.nextInLine
	workers    int
	max        int
}

func (l *line) add(c *Conn) {
	l.mu.Lock()
	if l.tail == nil {
		l.head = c
	} else {
		l.tail.nextInLine = c
	}
	l.tail = c
	start := l.workers < l.max
	if start {
		l.workers++
	}
	l.mu.Unlock()
	if start {
		go l.work()
	}
}

// take returns nil, and counts the caller out, if nobody is in line.
func (l *line) take() *Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.head
	if c == nil {
		l.workers--
		return nil
	}
	l.head, c.nextInLine = c.nextInLine, nil
	if l.head == nil {
		l.tail = nil
	}
	return c
}

func (l *line) work() {
	buf := joinBuffers.get()
	defer joinBuffers.Put(buf)
	w := newRawWriter()
	for c := l.take(); c != nil; c = l.take() {
		if c.flushTurn(w, buf[:]) {
			l.add(c)
		}
	}
}

// startFlush has the queue written. The caller has just set c.flushing, which
// makes the flusher it starts the only one of this connection.
func (c *Conn) startFlush() {
	if c.raw != nil {
		flushers.add(c)
		return
	}
	go c.flushWaiting()
}

// flushTurn writes what the socket takes at once. It reports whether the
// connection wants another turn.
func (c *Conn) flushTurn(w *rawWriter, buf []byte) bool {
	for range maxTurn {
		p := c.nextChunk(buf)
		if p == nil {
			return false
		}
		n, err := w.write(c.raw, p)
		c.wrote(n)
		if err != nil {
			c.terminate(End{Code: CloseAbnormal, Err: err}, true)
		} else if n < len(p) {
			go c.flushWaiting()
			return false
		}
	}
	return true
}

// flushWaiting writes the queue and waits for the socket, up to WriteTimeout
// for each chunk.
func (c *Conn) flushWaiting() {
	buf := joinBuffers.get()
	defer joinBuffers.Put(buf)
	for p := c.nextChunk(buf[:]); p != nil; p = c.nextChunk(buf[:]) {
		if c.lim.write > 0 {
			_ = c.nc.SetWriteDeadline(time.Now().Add(c.lim.write))
		}
		n, err := c.nc.Write(p)
		// Taken away at once: a deadline left behind would fail the writes of
		// the flushers, which set none.
		_ = c.nc.SetWriteDeadline(time.Time{})
		c.wrote(n)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = ErrWriteTimeout
			}
			c.terminate(End{Code: CloseAbnormal, Err: err}, true)
		}
	}
}

// nextChunk returns the next bytes to write, or nil when there are none: then
// the caller is no longer the flusher of this connection.
func (c *Conn) nextChunk(buf []byte) []byte {
	c.mu.Lock()
	if c.state != stateClosed && c.queue != nil && c.queue.len() > 0 {
		p := c.queue.chunk(buf)
		c.mu.Unlock()
		return p
	}
	c.flushing = false
	c.releaseQueue()
	var hangUp, halfClose bool
	if c.state == stateClosing {
		// The queue ended with our close frame.
		c.closeSent = true
		hangUp, halfClose = c.peerClosed, c.failed
	}
	c.mu.Unlock()
	if hangUp {
		c.terminate(End{}, false)
	} else if halfClose {
		c.closeWrite()
	}
	return nil
}

func (c *Conn) wrote(n int) {
	c.mu.Lock()
	if c.queue != nil {
		c.queue.advance(n)
	}
	c.mu.Unlock()
}

// releaseQueue is called with the lock held and no flusher running.
func (c *Conn) releaseQueue() {
	if c.queue != nil {
		c.queue.recycle()
		c.queue = nil
	}
}

// closeWrite ends our half after the close frame that answers a failure, so
// that the peer reads it and hangs up. Closing the whole connection while
// bytes of the peer are still unread would make the kernel send a reset, and
// the peer would lose the close frame.
func (c *Conn) closeWrite() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		c.terminate(End{}, false)
	}
}
