package rabbit_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands between a Broker and the server and breaks their connections in
// the ways that networks and servers do. (toxiproxy can neither hold bytes back
// and let them go again, nor speak for the server.)
type proxy struct {
	target string
	ln     net.Listener
	wg     sync.WaitGroup

	mu      sync.Mutex
	links   map[*link]bool
	refuses bool
	total   int
}

// link is one proxied connection.
type link struct {
	client, server net.Conn
	mu             sync.Mutex // held by whoever writes to the client, so between frames
	frozen         chan struct{}
}

// newProxy proxies the server behind url and returns itself with the url to
// use instead. With a certificate, it speaks TLS.
func newProxy(t testing.TB, raw string, cert *tls.Certificate) (p *proxy, proxied string) {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p = &proxy{target: u.Host, ln: ln, links: make(map[*link]bool)}
	u.Host = ln.Addr().String()
	if cert != nil {
		u.Scheme = "amqps"
		p.ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12})
	}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		_ = p.ln.Close()
		p.thaw()
		p.cut()
		p.wg.Wait()
	})
	return p, u.String()
}

func (p *proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		refuses := p.refuses
		p.mu.Unlock()
		server, err := new(net.Dialer).DialContext(context.Background(), "tcp", p.target)
		if err != nil || refuses {
			_ = client.Close()
			if server != nil {
				_ = server.Close()
			}
			continue
		}
		l := &link{client: client, server: server}
		p.mu.Lock()
		p.links[l] = true
		p.total++
		p.mu.Unlock()
		p.wg.Go(func() { l.upstream(); p.drop(l) })
		p.wg.Go(func() { l.downstream(); p.drop(l) })
	}
}

func (p *proxy) drop(l *link) {
	_ = l.client.Close()
	_ = l.server.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// each calls f for the connections there are.
func (p *proxy) each(f func(*link)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		f(l)
	}
}

// count returns how many connections there are, and have ever been.
func (p *proxy) count() (now, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links), p.total
}

// refuse makes new connections fail, or work again.
func (p *proxy) refuse(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = yes
}

// cut ends the connections there are.
func (p *proxy) cut() {
	p.each(func(l *link) { _ = l.client.Close(); _ = l.server.Close() })
}

// freeze leaves the connections open, but nothing passes any more. New
// connections work.
func (p *proxy) freeze() {
	p.each(func(l *link) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.frozen == nil {
			l.frozen = make(chan struct{})
		}
	})
}

// thaw lets everything pass that was held back.
func (p *proxy) thaw() {
	p.each(func(l *link) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.frozen != nil {
			close(l.frozen)
			l.frozen = nil
		}
	})
}

// say sends a method of class connection to the clients, in the server's name.
func (p *proxy) say(t testing.TB, method uint16, args []byte) {
	t.Helper()
	payload := binary.BigEndian.AppendUint16(nil, 10)
	payload = binary.BigEndian.AppendUint16(payload, method)
	payload = append(payload, args...)
	frame := binary.BigEndian.AppendUint32([]byte{1, 0, 0}, uint32(len(payload)))
	frame = append(append(frame, payload...), 0xce)
	p.each(func(l *link) {
		l.mu.Lock()
		defer l.mu.Unlock()
		_, err := l.client.Write(frame)
		require.NoError(t, err)
	})
}

func (l *link) wait() {
	l.mu.Lock()
	frozen := l.frozen
	l.mu.Unlock()
	if frozen != nil {
		<-frozen
	}
}

func (l *link) upstream() {
	buf := make([]byte, 64<<10)
	for {
		n, err := l.client.Read(buf)
		if err != nil {
			return
		}
		l.wait()
		if _, err := l.server.Write(buf[:n]); err != nil {
			return
		}
	}
}

// downstream copies frame by frame.
func (l *link) downstream() {
	var header [7]byte
	for {
		if _, err := io.ReadFull(l.server, header[:]); err != nil {
			return
		}
		frame := make([]byte, 7+int(binary.BigEndian.Uint32(header[3:]))+1)
		copy(frame, header[:])
		if _, err := io.ReadFull(l.server, frame[7:]); err != nil {
			return
		}
		l.wait()
		l.mu.Lock()
		_, err := l.client.Write(frame)
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}
