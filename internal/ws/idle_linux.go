package ws

import (
	"errors"
	"os"
	"sync"
	"syscall"
)

// idlers are the connections of the process that nothing comes from. The stack of
// a goroutine for each would be more than all else that they need: here they are
// in an epoll instance of their own, which lies, as one more file to be read, in
// that of the Go runtime, so that one goroutine waits for all without a thread.
//
// The instance and its goroutine exist while a connection does that was idle.
var idlers idle

type idle struct {
	mu   sync.Mutex
	file *os.File // nil while no connection uses it
	fd   int
	// conns are the connections that were idle and have not ended, by the slot
	// that the system knows them by, and free the slots of none. A file
	// descriptor would be another connection's as soon as this one is closed.
	conns []*Conn
	free  []int32
}

// idler is a connection in the eyes of idlers, whose lock guards it.
type idler struct {
	enrolled bool
	parked   bool
	slot     int32
}

// park has c served by another goroutine once something arrives, or it is
// closed, and reports whether it could. If so the caller must leave c alone.
func (p *idle) park(c *Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	op := syscall.EPOLL_CTL_MOD
	if !c.idle.enrolled {
		if p.file == nil && !p.open() {
			return false
		}
		p.enroll(c)
		op = syscall.EPOLL_CTL_ADD
	}
	event := syscall.EpollEvent{
		Events: syscall.EPOLLIN | syscall.EPOLLRDHUP | syscall.EPOLLONESHOT,
		Fd:     c.idle.slot,
	}
	var failed error
	err := c.raw.Control(func(fd uintptr) { failed = syscall.EpollCtl(p.fd, op, int(fd), &event) })
	c.idle.parked = err == nil && failed == nil
	return c.idle.parked
}

// wake has c served if it is parked.
func (p *idle) wake(c *Conn) {
	p.mu.Lock()
	parked := c.idle.parked
	c.idle.parked = false
	p.mu.Unlock()
	if parked {
		go c.serve()
	}
}

// leave forgets c, which has been closed: that alone has taken it out of epoll.
func (p *idle) leave(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.idle.enrolled {
		return
	}
	c.idle.enrolled = false
	p.conns[c.idle.slot] = nil
	p.free = append(p.free, c.idle.slot)
	if len(p.free) == len(p.conns) {
		_ = p.file.Close() // ends run
		p.file, p.conns, p.free = nil, nil, nil
	}
}

// enroll gives c a slot; p.mu is held.
func (p *idle) enroll(c *Conn) {
	if n := len(p.free); n > 0 {
		c.idle.slot = p.free[n-1]
		p.free = p.free[:n-1]
		p.conns[c.idle.slot] = c
	} else {
		c.idle.slot = int32(len(p.conns))
		p.conns = append(p.conns, c)
	}
	c.idle.enrolled = true
}

// open starts to wait; p.mu is held.
func (p *idle) open() bool {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return false // too many files
	}
	err = syscall.SetNonblock(fd, true) // os.NewFile polls only such
	file := os.NewFile(uintptr(fd), "epoll of idle connections")
	raw, rawErr := file.SyscallConn()
	if err != nil || rawErr != nil {
		_ = file.Close()
		return false
	}
	p.file, p.fd = file, fd
	go p.run(file, raw)
	return true
}

// run wakes connections until file is closed.
func (p *idle) run(file *os.File, raw syscall.RawConn) {
	var (
		events [128]syscall.EpollEvent
		n      int
		ready  []*Conn
	)
	take := func(fd uintptr) bool {
		var err error
		n, err = syscall.EpollWait(int(fd), events[:], 0)
		for errors.Is(err, syscall.EINTR) {
			n, err = syscall.EpollWait(int(fd), events[:], 0)
		}
		return n > 0
	}
	for raw.Read(take) == nil {
		ready = p.ready(file, events[:n], ready[:0])
		for _, c := range ready {
			go c.serve()
		}
		clear(ready)
	}
}

// ready are the connections of events, now no longer parked. One may be there for
// nothing, if its slot was another's when the event was taken: it is served, and
// parks again.
func (p *idle) ready(file *os.File, events []syscall.EpollEvent, ready []*Conn) []*Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.file != file {
		return nil // all have left, and perhaps others have come
	}
	for _, event := range events {
		if c := p.conns[event.Fd]; c != nil && c.idle.parked {
			c.idle.parked = false
			ready = append(ready, c)
		}
	}
	return ready
}
