package ws

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// echoServer accepts with opts and sends every message back.
func echoServer(t *testing.T, tr transport, opts Options, ends chan<- End) *httptest.Server {
	t.Helper()
	if opts.CloseTimeout == 0 {
		opts.CloseTimeout = testClose
	}
	s := tr.listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Accept(w, r, opts)
		if err != nil {
			return
		}
		go c.Serve(HandlerFunc(func(op Opcode, p []byte) {
			f := TextFrame(p)
			if op == OpBinary {
				f = BinaryFrame(p)
			}
			_ = c.Send(f)
		}), func(end End) {
			if ends != nil {
				ends <- end
			}
		})
	}))
	t.Cleanup(s.Close)
	return s
}

func TestEchoWithIndependentClient(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			ends := make(chan End, 1)
			s := echoServer(t, tr, Options{Subprotocol: "json.webpubsub.azure.v1", MaxMessage: 3 << 20}, ends)
			c := dial(t, s, &websocket.DialOptions{
				Subprotocols:    []string{"other", "json.webpubsub.azure.v1"},
				CompressionMode: websocket.CompressionContextTakeover,
			})
			require.Equal(t, "json.webpubsub.azure.v1", c.Subprotocol())
			for _, n := range []int{0, 1, 125, 126, 4096, 4097, 65535, 65536, 1 << 20, 3 << 20} {
				want := strings.Repeat("é", n/2) + strings.Repeat("x", n%2)
				require.NoError(t, c.Write(t.Context(), websocket.MessageText, []byte(want)))
				typ, got, err := c.Read(t.Context())
				require.NoError(t, err)
				require.Equal(t, websocket.MessageText, typ)
				require.Len(t, got, n)
				require.Equal(t, sha256.Sum256([]byte(want)), sha256.Sum256(got))
			}
			require.NoError(t, c.Write(t.Context(), websocket.MessageBinary, []byte{0xff, 0}))
			typ, got, err := c.Read(t.Context())
			require.NoError(t, err)
			require.Equal(t, websocket.MessageBinary, typ)
			require.Equal(t, []byte{0xff, 0}, got)
			pinged := make(chan error, 1)
			go func() { pinged <- c.Ping(t.Context()) }()
			require.NoError(t, c.Write(t.Context(), websocket.MessageText, nil))
			_, _, err = c.Read(t.Context())
			require.NoError(t, err)
			require.NoError(t, c.Close(4321, "bye"))
			require.NoError(t, ignoreClosed(receive(t, pinged)))
			require.Equal(t, End{Code: 4321, Reason: "bye", ByPeer: true}, receive(t, ends))
		})
	}
}

// ignoreClosed: the pong may be read by Close, after which Ping may report the
// end instead.
func ignoreClosed(err error) error {
	if websocket.CloseStatus(err) != -1 || err != nil && strings.Contains(err.Error(), "close") {
		return nil
	}
	return err
}

func TestServerCloseWithIndependentClient(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			end := make(chan End, 1)
			s := tr.listen(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				c, err := Accept(w, r, Options{})
				if err != nil {
					return
				}
				for i := range 100 {
					_ = c.Send(TextFrame(fmt.Appendf(nil, "%d", i)))
				}
				c.Close(ClosePolicyViolation, "no")
				go c.Serve(HandlerFunc(func(Opcode, []byte) {}), func(e End) { end <- e })
			}))
			t.Cleanup(s.Close)
			c := dial(t, s, nil)
			for i := range 100 {
				_, p, err := c.Read(t.Context())
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint(i), string(p))
			}
			_, _, err := c.Read(t.Context())
			require.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err))
			require.Equal(t, End{Code: ClosePolicyViolation, Reason: "no"}, receive(t, end))
		})
	}
}

const goodHandshake = "GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func TestHandshakeAnswer(t *testing.T) {
	t.Parallel()
	header := http.Header{"X-One": {"1\r\nX-Evil: 2"}, "Sec-Websocket-Extensions": {"permessage-deflate"}}
	s := echoServer(t, transports[1], Options{Subprotocol: "My.Proto", Header: header}, nil)
	p, br := connPeer(t, s)
	// A frame in the same packet as the request must not be lost.
	p.write(append([]byte(goodHandshake+"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"), frame(1, true, "early")...))
	resp, err := http.ReadResponse(br, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", resp.Header.Get("Sec-WebSocket-Accept"))
	require.Equal(t, []string{"My.Proto"}, resp.Header.Values("Sec-WebSocket-Protocol"))
	require.Empty(t, resp.Header.Values("Sec-WebSocket-Extensions"))
	require.Empty(t, resp.Header.Values("X-Evil"))
	require.NotEmpty(t, resp.Header.Get("X-One"))
	echo := make([]byte, 7)
	_, err = io.ReadFull(br, echo)
	require.NoError(t, err)
	require.Equal(t, "\x81\x05early", string(echo))
}

func TestHandshakeRefusals(t *testing.T) {
	t.Parallel()
	s := echoServer(t, transports[1], Options{}, nil)
	cases := []struct {
		name, old, new string
		status         int
		header         string
	}{
		{"post", "GET", "POST", 405, "Allow"},
		{"http 1.0", "HTTP/1.1", "HTTP/1.0", 426, ""},
		{"no upgrade", "Upgrade: WebSocket\r\n", "", 426, "Upgrade"},
		{"other upgrade", "Upgrade: WebSocket", "Upgrade: h2c", 426, "Upgrade"},
		{"no connection", "Connection: keep-alive, Upgrade\r\n", "", 426, "Upgrade"},
		{"old version", "Version: 13", "Version: 8", 426, "Sec-WebSocket-Version"},
		{"no version", "Sec-WebSocket-Version: 13\r\n", "", 400, ""},
		{"no key", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400, ""},
		{"short key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 400, ""},
		{"bad key", "dGhlIHNhbXBsZSBub25jZQ==", "!!!!IHNhbXBsZSBub25jZQ==", 400, ""},
		{"two keys", "Host: x", "Host: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", 400, ""},
		{"body", "Host: x", "Host: x\r\nContent-Length: 5", 400, ""},
		{"chunked body", "Host: x", "Host: x\r\nTransfer-Encoding: chunked", 400, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, goodHandshake, tc.old)
			p, br := connPeer(t, s)
			p.write([]byte(strings.Replace(goodHandshake, tc.old, tc.new, 1) + "\r\n0\r\n\r\n")) // the end is a body where one is announced
			resp, err := http.ReadResponse(br, nil)
			require.NoError(t, err)
			require.Equal(t, tc.status, resp.StatusCode)
			if tc.header != "" {
				require.NotEmpty(t, resp.Header.Get(tc.header))
			}
			text, _ := bufio.NewReader(resp.Body).ReadString('\n')
			require.NotEmpty(t, strings.TrimSpace(text))
			_ = resp.Body.Close()
		})
	}
}

func TestHTTP2IsRefused(t *testing.T) {
	t.Parallel()
	var accepted error
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, accepted = Accept(w, r, Options{})
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	require.NoError(t, err)
	resp, err := s.Client().Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, 2, resp.ProtoMajor)
	require.Equal(t, http.StatusHTTPVersionNotSupported, resp.StatusCode)
	text, _ := io.ReadAll(resp.Body)
	require.Contains(t, string(text), "HTTP/1.1")
	var he *HandshakeError
	require.ErrorAs(t, accepted, &he)
}

func TestAcceptRefusesWhatItCannotAnswer(t *testing.T) {
	t.Parallel()
	req := func() *http.Request {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(goodHandshake + "\r\n")))
		require.NoError(t, err)
		return r
	}
	rec := httptest.NewRecorder() // cannot be hijacked
	_, err := Accept(rec, req(), Options{})
	require.Error(t, err)
	require.Equal(t, http.StatusInternalServerError, rec.Code)
	rec = httptest.NewRecorder()
	_, err = Accept(rec, req(), Options{Subprotocol: "a\r\nX-Evil: 1"})
	require.Error(t, err)
	require.Equal(t, http.StatusInternalServerError, rec.Code)
}

func TestOfferedSubprotocols(t *testing.T) {
	t.Parallel()
	r := &http.Request{Header: http.Header{"Sec-Websocket-Protocol": {"a, B.c ,,", "d"}}}
	require.Equal(t, []string{"a", "B.c", "d"}, OfferedSubprotocols(r))
	require.Empty(t, OfferedSubprotocols(&http.Request{}))
}
