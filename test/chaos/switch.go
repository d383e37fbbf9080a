package main

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// tcpSwitch is what stands before the nodes: it hands each connection to one of
// those that can be reached, in turn.
type tcpSwitch struct {
	ln net.Listener
	wg sync.WaitGroup

	mu      sync.Mutex
	targets []string
	turn    int
	conns   map[net.Conn]bool
	closed  bool
}

func newSwitch(ctx context.Context) (*tcpSwitch, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &tcpSwitch{ln: ln, conns: map[net.Conn]bool{}}
	s.wg.Go(s.accept)
	return s, nil
}

func (s *tcpSwitch) addr() string { return s.ln.Addr().String() }

// set names the nodes.
func (s *tcpSwitch) set(targets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets = targets
}

func (s *tcpSwitch) close() {
	_ = s.ln.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *tcpSwitch) accept() {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.wg.Go(func() { s.serve(c) })
	}
}

// own notes a connection that close has to end.
func (s *tcpSwitch) own(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.conns[c] = true
	return true
}

func (s *tcpSwitch) end(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	_ = c.Close()
}

func (s *tcpSwitch) serve(c net.Conn) {
	if !s.own(c) {
		return
	}
	defer s.end(c)
	to := s.dial()
	if to == nil || !s.own(to) {
		return
	}
	defer s.end(to)
	var both sync.WaitGroup
	for _, dir := range [][2]net.Conn{{c, to}, {to, c}} {
		both.Go(func() {
			_, _ = io.Copy(dir[0], dir[1]) // the end of either side ends both
			_ = dir[0].Close()
			_ = dir[1].Close()
		})
	}
	both.Wait()
}

func (s *tcpSwitch) dial() net.Conn {
	s.mu.Lock()
	targets := s.targets
	s.turn++
	turn := s.turn
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for i := range targets {
		if c, err := new(net.Dialer).DialContext(ctx, "tcp", targets[(turn+i)%len(targets)]); err == nil {
			return c
		}
	}
	return nil
}
