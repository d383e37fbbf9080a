package rabbit

import (
	"net"
	"sync"
	"time"
)

const (
	// maxPending is how many bytes wait for the network before publishers have
	// to wait as well.
	maxPending = 4 << 20
	// keepBuffer is the largest buffer that is kept for reuse.
	keepBuffer = 256 << 10
	// closeFlush is how long Close tries to get rid of the last bytes, among
	// them the driver's connection.close-ok.
	closeFlush = 200 * time.Millisecond
)

// socket is a connection whose Write never waits for the network: a goroutine
// of its own writes whatever has come together since its last write.
//
// The driver writes while it holds the channel's lock, and its shutdown needs
// that lock before it closes the connection. With a plain socket, a peer that
// stops reading would therefore hang every publisher, past its ctx, and the
// shutdown that should end it. It also is the faster way: concurrent publishers
// and acks share system calls.
type socket struct {
	net.Conn
	done chan struct{} // the writing goroutine has ended
	wake chan struct{} // there is something to do; holds one

	mu       sync.Mutex
	pending  []byte
	spare    []byte
	writing  int // bytes on their way to the network
	reserved int // bytes of messages about to be written
	closed   bool
	err      error
	room     chan struct{} // closed once there is room; nil while nobody waits
}

func newSocket(c net.Conn) *socket {
	s := &socket{Conn: c, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	go s.run()
	return s
}

// Write takes p over into the buffer.
func (s *socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	switch {
	case s.err != nil:
		s.mu.Unlock()
		return 0, s.err
	case s.closed:
		s.mu.Unlock()
		return 0, net.ErrClosed
	}
	s.pending = append(s.pending, p...)
	s.mu.Unlock()
	s.signal()
	return len(p), nil
}

// reserve reserves room for a message of n bytes, to be given back with release
// once it was written. It returns nil, or what is closed when there may be room.
// The buffer exceeds its limit by one message at most.
func (s *socket) reserve(n int) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hasRoom() {
		s.reserved += n
		return nil
	}
	if s.room == nil {
		s.room = make(chan struct{})
	}
	return s.room
}

func (s *socket) release(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= n
	s.makeRoom()
}

// Close writes what is pending, for a moment at most, and closes the connection.
func (s *socket) Close() error {
	s.mu.Lock()
	s.closed = true
	s.makeRoom()
	s.mu.Unlock()
	_ = s.SetWriteDeadline(time.Now().Add(closeFlush))
	s.signal()
	<-s.done
	return s.Conn.Close()
}

// abort closes the connection at once. The driver's reader notices and calls
// Close.
func (s *socket) abort() { _ = s.Conn.Close() }

func (s *socket) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *socket) run() {
	defer close(s.done)
	for {
		out, ok := s.next()
		if !ok {
			return
		}
		if len(out) == 0 {
			<-s.wake
			continue
		}
		_, err := s.Conn.Write(out)
		s.wrote(out, err)
		if err != nil {
			// The reader then fails too, and the driver shuts down.
			_ = s.Conn.Close()
			return
		}
	}
}

// next takes what is pending. It reports false when nothing will come any more.
func (s *socket) next() ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.pending
	if len(out) == 0 {
		return nil, !s.closed
	}
	s.pending, s.spare = s.spare, nil
	s.writing = len(out)
	return out, true
}

func (s *socket) wrote(out []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = 0
	if cap(out) <= keepBuffer {
		s.spare = out[:0]
	}
	if err != nil {
		s.err, s.pending = err, nil
	}
	s.makeRoom()
}

// hasRoom is always true at the end, where writing fails at once.
func (s *socket) hasRoom() bool {
	return s.closed || s.err != nil || len(s.pending)+s.writing+s.reserved < maxPending
}

// waiting is how many bytes the network has not taken.
func (s *socket) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending) + s.writing + s.reserved
}

func (s *socket) makeRoom() {
	if s.room != nil && s.hasRoom() {
		close(s.room)
		s.room = nil
	}
}
