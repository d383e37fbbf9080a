package ws

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	gobwas "github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// testClose keeps tests that end without an answer short.
const testClose = 300 * time.Millisecond

// message is what a recorder got; the payload is a copy.
type message struct {
	op      Opcode
	payload string
}

// recorder is a Handler that passes on what it gets.
type recorder chan message

func (r recorder) HandleMessage(op Opcode, payload []byte) { r <- message{op, string(payload)} }

func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// serve has c served and gives its end.
func serve(c *Conn, h Handler) <-chan End {
	end := make(chan End, 1)
	go c.Serve(h, func(e End) { end <- e })
	return end
}

// pair is a connection over net.Pipe and the raw other side. The pipe has no
// buffer: what the test does not read is not written.
func pair(t *testing.T, opts Options) (*Conn, *peer) {
	t.Helper()
	server, client := net.Pipe()
	return start(t, server, client, opts)
}

// tcpPair is a connection over loopback, where the socket is written without
// waiting.
func tcpPair(t testing.TB, opts Options) (*Conn, *peer) {
	t.Helper()
	ln := listen(t)
	defer func() { _ = ln.Close() }()
	client := dialTCP(t, ln)
	server, err := ln.Accept()
	require.NoError(t, err)
	return start(t, server, client, opts)
}

func listen(t testing.TB) net.Listener {
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

func dialTCP(t testing.TB, ln net.Listener) net.Conn {
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", ln.Addr().String())
	require.NoError(t, err)
	return nc
}

func start(t testing.TB, server, client net.Conn, opts Options) (*Conn, *peer) {
	if opts.CloseTimeout == 0 {
		opts.CloseTimeout = testClose
	}
	c := newConn(server, nil, &opts)
	t.Cleanup(func() {
		c.Abort(nil)
		_ = client.Close()
	})
	_ = client.SetDeadline(time.Now().Add(patience))
	return c, &peer{t: t, Conn: client}
}

// peer writes and reads raw frames as a client.
type peer struct {
	net.Conn
	t testing.TB
}

var testMask = [4]byte{0xa1, 0x02, 0xff, 0x7c}

// frame encodes a masked frame of a client.
func frame(op gobwas.OpCode, fin bool, payload string) []byte {
	f := gobwas.MaskFrameWith(gobwas.NewFrame(op, fin, []byte(payload)), testMask)
	return gobwas.MustCompileFrame(f)
}

func (p *peer) write(bytes ...[]byte) {
	p.t.Helper()
	for _, b := range bytes {
		_, err := p.Write(b)
		require.NoError(p.t, err)
	}
}

// next reads one frame of the server, which is never masked.
func (p *peer) next() gobwas.Frame {
	p.t.Helper()
	f, err := p.tryNext()
	require.NoError(p.t, err)
	return f
}

func (p *peer) tryNext() (gobwas.Frame, error) {
	hdr, err := gobwas.ReadHeader(p)
	if err != nil {
		return gobwas.Frame{}, err
	}
	if err := gobwas.CheckHeader(hdr, gobwas.StateClientSide); err != nil {
		return gobwas.Frame{}, err
	}
	payload := make([]byte, hdr.Length)
	_, err = io.ReadFull(p, payload)
	return gobwas.Frame{Header: hdr, Payload: payload}, err
}

// wantClose reads to the close frame and answers it not.
func (p *peer) wantClose(code CloseCode) string {
	p.t.Helper()
	for {
		f := p.next()
		if f.Header.OpCode != gobwas.OpClose {
			continue
		}
		got := CloseNoStatus
		var reason string
		if len(f.Payload) >= 2 {
			got, reason = CloseCode(binary.BigEndian.Uint16(f.Payload)), string(f.Payload[2:])
		}
		require.Equal(p.t, code, got)
		return reason
	}
}

func (p *peer) wantEOF() {
	p.t.Helper()
	_, err := p.tryNext()
	require.Error(p.t, err)
	var timeout net.Error
	require.False(p.t, errors.As(err, &timeout) && timeout.Timeout(), "the server did not hang up")
}

// pipeListener hands in-memory connections to an http.Server.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	server, client := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// transport is how a test reaches its server.
type transport struct {
	name   string
	listen func(http.Handler) *httptest.Server
}

var transports = []transport{
	{"pipe", func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		_ = s.Listener.Close()
		s.Listener = newPipeListener()
		s.Start()
		return s
	}},
	{"tcp", httptest.NewServer},
	{"tls", func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.TLS = &tls.Config{NextProtos: []string{"http/1.1"}}
		s.StartTLS()
		return s
	}},
}

// dial connects an independent client to s.
func dial(t *testing.T, s *httptest.Server, opts *websocket.DialOptions) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if opts == nil {
		opts = &websocket.DialOptions{}
	}
	opts.HTTPClient = httpClient(t, s)
	conn, _, err := websocket.Dial(ctx, s.URL, opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(64 << 20)
	return conn
}

func httpClient(t *testing.T, s *httptest.Server) *http.Client {
	client := s.Client()
	if l, ok := s.Listener.(*pipeListener); ok {
		tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.dial(ctx) }}
		client = &http.Client{Transport: tr}
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// connPeer opens a raw connection to s.
func connPeer(t *testing.T, s *httptest.Server) (*peer, *bufio.Reader) {
	t.Helper()
	nc := dialTCP(t, s.Listener)
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	return &peer{t: t, Conn: nc}, bufio.NewReader(nc)
}

// readConn is the reading half of a connection over a reader.
type readConn struct {
	net.Conn
	r io.Reader
}

func (c readConn) Read(p []byte) (int, error) { return c.r.Read(p) }
