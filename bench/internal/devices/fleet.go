// Package devices is many WebSocket clients in one process, for both sides of a
// comparison. One thread reads all sockets with epoll, so that the clients
// take as little as possible of the machine that they share with the server.
//
// A message is whatever holds `"t":` followed by the time when it was sent, in
// nanoseconds: the fleet counts those and notes how long they took.
package devices

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Options say what the devices do with what they receive.
type Options struct {
	// Ack confirms reliable messages: one sequenceAck for all that came with
	// one read of the socket.
	Ack bool `json:"ack"`
	// Answer answers commands.
	Answer bool `json:"answer"`
}

// Connect is how one device connects.
type Connect struct {
	Path        string `json:"path"`
	Subprotocol string `json:"subprotocol"`
	// Hello is sent first, if it is not empty.
	Hello string `json:"hello"`
}

// Fleet is all devices. Its methods may be called from several goroutines.
type Fleet struct {
	opts Options
	addr string
	poll int

	mu    sync.Mutex
	conns map[int]*conn
	// counts since the last Reset.
	received int
	last     time.Time
	took     []time.Duration
	lost     int
	changed  *sync.Cond
}

// maxTook bounds the latencies that are kept.
const maxTook = 4 << 20

// New returns a fleet that connects to one server.
func New(addr string, opts Options) (*Fleet, error) {
	poll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := &Fleet{opts: opts, addr: addr, poll: poll, conns: map[int]*conn{}}
	f.changed = sync.NewCond(&f.mu)
	go f.run()
	return f, nil
}

// Open connects devices, several at a time, and waits until the server has
// greeted all of them.
func (f *Fleet) Open(list []Connect) error {
	const parallel = 32
	work := make(chan Connect)
	errs := make(chan error, parallel)
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for c := range work {
				if err := f.open(c); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	for _, c := range list {
		select {
		case work <- c:
			continue
		case err := <-errs:
			close(work)
			wg.Wait()
			return err
		}
	}
	close(work)
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func (f *Fleet) open(how Connect) error {
	c, err := dial(f.addr, how)
	if err != nil {
		return err
	}
	f.mu.Lock()
	f.conns[c.fd] = c
	f.take(c, c.rest) // came with the greeting
	f.mu.Unlock()
	return syscall.EpollCtl(f.poll, syscall.EPOLL_CTL_ADD, c.fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(c.fd)})
}

// CloseAll ends every connection.
func (f *Fleet) CloseAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for fd := range f.conns {
		_ = syscall.Close(fd)
	}
	clear(f.conns)
}

// Reset begins to count anew.
func (f *Fleet) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.received, f.took = 0, f.took[:0]
}

// Result is what was received since Reset, latencies in microseconds.
type Result struct {
	Received int       `json:"received"`
	Last     time.Time `json:"last"`
	P50      float64   `json:"p50"`
	P99      float64   `json:"p99"`
}

// Wait waits until n messages have come since Reset.
func (f *Fleet) Wait(n int) (Result, error) {
	timer := time.AfterFunc(time.Minute, f.changed.Broadcast)
	defer timer.Stop()
	end := time.Now().Add(time.Minute)
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.received < n {
		if time.Now().After(end) {
			return Result{}, fmt.Errorf("%d of %d messages came within a minute, %d connections broke", f.received, n, f.lost)
		}
		f.changed.Wait()
	}
	took := slices.Clone(f.took)
	slices.Sort(took)
	r := Result{Received: f.received, Last: f.last}
	if len(took) > 0 {
		r.P50 = float64(took[len(took)/2].Nanoseconds()) / 1e3
		r.P99 = float64(took[len(took)*99/100].Nanoseconds()) / 1e3
	}
	return r, nil
}

func (f *Fleet) run() {
	runtime.LockOSThread()
	events := make([]syscall.EpollEvent, 512)
	buf := make([]byte, 256<<10)
	for {
		n, err := syscall.EpollWait(f.poll, events, -1)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		f.mu.Lock()
		before := f.received
		for _, e := range events[:n] {
			if c := f.conns[int(e.Fd)]; c != nil && !f.read(c, buf) {
				f.lost++
				delete(f.conns, c.fd)
				_ = syscall.Close(c.fd)
			}
		}
		if f.received != before {
			f.last = time.Now()
			f.changed.Broadcast()
		}
		f.mu.Unlock()
	}
}
