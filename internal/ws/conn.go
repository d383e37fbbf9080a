package ws

import (
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Options are the answer to a handshake and the limits of the connection.
type Options struct {
	// Subprotocol is written into the answer as it stands, so it must be one
	// that the client offered, in the client's spelling. Empty: none.
	Subprotocol string
	// Header is added to the answer. Names beginning with Sec-WebSocket-, and
	// the headers of the upgrade itself, are left out.
	Header http.Header

	// MaxMessage bounds a message, all its fragments together; a larger one
	// closes the connection with 1009. −1: no bound. Default 1 MiB.
	MaxMessage int
	// QueueBytes and QueueFrames bound what waits to be written. A Send beyond
	// either drops the connection as slow; a frame for an empty queue is
	// always taken. −1: no bound. Default 16 MiB and 1024.
	QueueBytes  int
	QueueFrames int
	// WriteTimeout drops a connection whose peer has taken none, or too little
	// to finish 64 KiB, in this time. It also bounds the answer to the
	// handshake. −1: none. Default 10 s.
	WriteTimeout time.Duration
	// FrameTimeout is the time from the first byte of a message to its last,
	// through all fragments. Between messages there is no limit. −1: none.
	// Default 30 s.
	FrameTimeout time.Duration
	// CloseTimeout bounds a close from beginning to end: what is queued, the
	// close frame, and the peer's. Default 5 s.
	CloseTimeout time.Duration
}

// limits are the Options in force.
type limits struct {
	message, queueBytes, queueFrames int
	write, frame, closing            time.Duration
}

func (o *Options) limits() limits {
	return limits{
		message:     orDefault(o.MaxMessage, 1<<20),
		queueBytes:  orDefault(o.QueueBytes, 16<<20),
		queueFrames: orDefault(o.QueueFrames, 1024),
		write:       orDefault(o.WriteTimeout, 10*time.Second),
		frame:       orDefault(o.FrameTimeout, 30*time.Second),
		closing:     max(orDefault(o.CloseTimeout, 5*time.Second), time.Millisecond),
	}
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

type connState uint8

const (
	stateOpen    connState = iota
	stateClosing           // a close frame is queued or sent; nothing may follow it
	stateClosed            // the network connection is closed
)

// Conn is the server's end of a WebSocket connection.
//
// All methods may be called at any time and by any goroutine, the handler
// included, except Serve, which is called once. None of them waits for the
// network except Serve.
type Conn struct {
	nc  net.Conn
	raw syscall.RawConn // nil where only nc itself may do the I/O
	lim limits
	in  reader // belongs to Serve

	// Set by Serve.
	handler Handler
	ended   func(End)
	idle    idler

	lastRead atomic.Int64 // since epoch
	closing  atomic.Bool  // state != stateOpen, for readers without the lock

	nextInLine *Conn // guarded by line.mu

	mu         sync.Mutex
	queue      *queue // nil while there is nothing to write
	state      connState
	flushing   bool // a flusher has, or is about to get, the queue
	closeSent  bool // our close frame is written
	peerClosed bool // the peer's close frame has come
	failed     bool // we close because of a failure: no answer is expected
	end        *End // why it ends; the first cause stays
	timer      *time.Timer
}

// epoch makes times small and monotonic.
var epoch = time.Now()

// newConn takes nc over. pending are bytes already read from it.
func newConn(nc net.Conn, pending []byte, opts *Options) *Conn {
	c := &Conn{nc: nc, raw: rawConn(nc), lim: opts.limits()}
	c.in.init(c, pending)
	c.touch()
	return c
}

// touch notes that the peer was heard, and returns when, since epoch.
func (c *Conn) touch() int64 {
	now := int64(time.Since(epoch))
	c.lastRead.Store(now)
	return now
}

// LastRead is when the peer was last heard: any byte counts.
func (c *Conn) LastRead() time.Time { return epoch.Add(time.Duration(c.lastRead.Load())) }

// RemoteAddr is the address of the peer, or of the proxy before it.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Backlog is what waits to be written.
func (c *Conn) Backlog() (frames, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.queue == nil {
		return 0, 0
	}
	return c.queue.len(), c.queue.bytes
}

// Send queues a frame and returns. Frames leave in the order of the calls.
//
// nil means queued, not received. ErrClosed: the connection is closing or
// closed. ErrSlow: the queue was full, and the connection has been dropped.
func (c *Conn) Send(f Frame) error {
	c.mu.Lock()
	return c.enqueueAndUnlock(f)
}

// Ping queues a ping, unless one is waiting already. Any answer shows in
// LastRead. Errors are those of Send.
func (c *Conn) Ping() error {
	c.mu.Lock()
	if c.queue != nil && c.queue.ping && c.state == stateOpen {
		c.mu.Unlock()
		return nil
	}
	return c.enqueueAndUnlock(pingFrame)
}

func (c *Conn) enqueueAndUnlock(f Frame) error {
	if c.state != stateOpen {
		c.mu.Unlock()
		return ErrClosed
	}
	if q := c.queue; q != nil && q.len() > 0 &&
		(over(q.len()+1, c.lim.queueFrames) || over(q.bytes+f.Len(), c.lim.queueBytes)) {
		c.mu.Unlock()
		c.terminate(End{Code: CloseAbnormal, Err: ErrSlow}, true)
		return ErrSlow
	}
	start := c.push(f)
	c.mu.Unlock()
	if start {
		c.startFlush()
	}
	return nil
}

// over reports whether n breaks the limit; negative limits are none.
func over(n, limit int) bool { return limit >= 0 && n > limit }

// push is called with the lock held. If it reports true the caller must call
// startFlush after releasing the lock.
func (c *Conn) push(f Frame) (start bool) {
	if c.queue == nil {
		c.queue = queues.get()
	}
	c.queue.push(f)
	start = !c.flushing
	c.flushing = true
	return start
}
