package ws

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it, as a checksum and not for secrecy
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Accept answers a WebSocket handshake and takes the connection over. If it
// returns an error it has answered the request already, where that was
// possible; an error that is no [*HandshakeError] is one of the network.
//
// It accepts no extension: compression would cost each connection more memory
// than everything else together.
//
// Origin and authorisation are the caller's. The handler should return as soon
// as [Conn.Serve] runs in another goroutine; the context of r ends then.
func Accept(w http.ResponseWriter, r *http.Request, opts Options) (*Conn, error) {
	if bad := checkUpgrade(r); bad != nil {
		return nil, bad.refuse(w)
	}
	if opts.Subprotocol != "" && !isToken(opts.Subprotocol) {
		bad := &HandshakeError{http.StatusInternalServerError, "bad subprotocol chosen"}
		return nil, bad.refuse(w)
	}
	nc, brw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		bad := &HandshakeError{http.StatusInternalServerError, "this HTTP server does not hand over connections"}
		return nil, bad.refuse(w)
	}
	// A client may send frames right behind its request.
	pending, _ := brw.Peek(brw.Reader.Buffered())
	if len(pending) > readBufferSize {
		_ = nc.Close()
		return nil, &HandshakeError{http.StatusBadRequest, "too many bytes before the answer"}
	}
	if timeout := opts.limits().write; timeout > 0 {
		_ = nc.SetWriteDeadline(time.Now().Add(timeout))
	}
	if _, err := nc.Write(answer(r, &opts)); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("ws: answer handshake: %w", err)
	}
	_ = nc.SetWriteDeadline(time.Time{})
	return newConn(nc, pending, &opts), nil
}

// CheckUpgrade reports whether r is a handshake that Accept would accept, nil
// if so and else a [*HandshakeError]. It lets a caller refuse before it does
// anything costly.
func CheckUpgrade(r *http.Request) error {
	if bad := checkUpgrade(r); bad != nil {
		return bad
	}
	return nil
}

func checkUpgrade(r *http.Request) *HandshakeError {
	switch {
	case r.ProtoMajor != 1:
		return &HandshakeError{http.StatusHTTPVersionNotSupported, "WebSocket connections need HTTP/1.1, this is " + r.Proto}
	case r.ProtoMinor < 1:
		return &HandshakeError{http.StatusUpgradeRequired, "WebSocket connections need HTTP/1.1"}
	case r.Method != http.MethodGet:
		return &HandshakeError{http.StatusMethodNotAllowed, "WebSocket handshakes use GET"}
	case !hasToken(r.Header, "Connection", "upgrade"), !hasToken(r.Header, "Upgrade", "websocket"):
		return &HandshakeError{http.StatusUpgradeRequired, "this is a WebSocket endpoint: send Connection: Upgrade and Upgrade: websocket"}
	case r.ContentLength != 0:
		return &HandshakeError{http.StatusBadRequest, "a WebSocket handshake has no body"}
	}
	if v := r.Header.Values("Sec-WebSocket-Version"); len(v) != 1 {
		return &HandshakeError{http.StatusBadRequest, "exactly one Sec-WebSocket-Version is needed"}
	} else if v[0] != "13" {
		return &HandshakeError{http.StatusUpgradeRequired, "only Sec-WebSocket-Version 13 is supported"}
	}
	key := r.Header.Values("Sec-WebSocket-Key")
	if len(key) != 1 {
		return &HandshakeError{http.StatusBadRequest, "exactly one Sec-WebSocket-Key is needed"}
	}
	if raw, err := base64.StdEncoding.DecodeString(key[0]); err != nil || len(raw) != 16 {
		return &HandshakeError{http.StatusBadRequest, "Sec-WebSocket-Key must be 16 bytes in base64"}
	}
	return nil
}

// OfferedSubprotocols lists the subprotocols of a handshake in the order and
// spelling of the client.
func OfferedSubprotocols(r *http.Request) []string {
	var offered []string
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if p = strings.TrimSpace(p); p != "" {
				offered = append(offered, p)
			}
		}
	}
	return offered
}

// refuse answers the request and returns e.
func (e *HandshakeError) refuse(w http.ResponseWriter) error {
	switch e.Status {
	case http.StatusUpgradeRequired:
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Sec-WebSocket-Version", "13")
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodGet)
	}
	http.Error(w, e.Text, e.Status)
	return e
}

// notExtra are headers that only this package writes. A caller that adds one
// would contradict the handshake.
var notExtra = map[string]bool{
	"Connection": true, "Upgrade": true, "Content-Length": true, "Transfer-Encoding": true,
	"Sec-Websocket-Accept": true, "Sec-Websocket-Protocol": true,
	"Sec-Websocket-Extensions": true, "Sec-Websocket-Version": true,
}

func answer(r *http.Request, opts *Options) []byte {
	const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + guid)) //nolint:gosec // see the import
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ")
	b.WriteString(base64.StdEncoding.EncodeToString(sum[:]))
	if opts.Subprotocol != "" {
		b.WriteString("\r\nSec-WebSocket-Protocol: ")
		b.WriteString(opts.Subprotocol)
	}
	b.WriteString("\r\n")
	_ = opts.Header.WriteSubset(&b, notExtra) // writing to memory; it also defuses line breaks
	b.WriteString("\r\n")
	return b.Bytes()
}

func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// isToken reports whether s is a token of RFC 9110, so that it cannot end the
// header it is written into.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
