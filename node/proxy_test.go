package node_test

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands before a server and can cut the way to it.
type proxy struct {
	target string
	addr   string

	mu    sync.Mutex
	down  bool
	conns map[net.Conn]bool
	// frozen is held while nothing passes, though every connection stands.
	frozen sync.RWMutex
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{target: target, addr: listener.Addr().String(), conns: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.cut()
		wg.Wait()
	})
	return p
}

func (p *proxy) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	if !p.add(conn) {
		return
	}
	defer p.forget(conn)
	server, err := net.Dial("tcp", p.target) //nolint:noctx // ends with the proxy
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	if !p.add(server) {
		return
	}
	defer p.forget(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.copy(server, conn)
		_ = server.Close()
	}()
	p.copy(conn, server)
	_ = conn.Close()
	<-done
}

func (p *proxy) copy(dst io.Writer, src io.Reader) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		p.frozen.RLock()
		p.frozen.RUnlock() //nolint:staticcheck // it waits for the thaw
		if n > 0 {
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) add(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
	return !p.down
}

func (p *proxy) forget(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

// cut breaks every connection and takes no more.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	p.closeAll()
}

// reset breaks every connection; new ones are taken.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeAll()
}

func (p *proxy) closeAll() {
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// heal lets connections through again.
func (p *proxy) heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}
