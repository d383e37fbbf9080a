package ws

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	gobwas "github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

const (
	cont = gobwas.OpContinuation
	text = gobwas.OpText
	bin  = gobwas.OpBinary
	clos = gobwas.OpClose
	ping = gobwas.OpPing
	pong = gobwas.OpPong
)

// join is the frames in one piece.
func join(frames ...[]byte) []byte {
	var all []byte
	for _, f := range frames {
		all = append(all, f...)
	}
	return all
}

// rawHeader is a frame header with the mask bit and a mask, and any length.
func rawHeader(first byte, length uint64) []byte {
	b := []byte{first, 0x80 | 127}
	b = binary.BigEndian.AppendUint64(b, length)
	return append(b, testMask[:]...)
}

func TestHostileFrames(t *testing.T) {
	t.Parallel()
	unmasked := gobwas.MustCompileFrame(gobwas.NewTextFrame([]byte("x")))
	reserved := func(bit byte) []byte {
		f := frame(text, true, "x")
		f[0] |= bit
		return f
	}
	longControl := append([]byte{0x89, 0x80 | 126, 0, 126}, append(testMask[:], make([]byte, 126)...)...)
	cases := []struct {
		name string
		in   []byte
		code CloseCode
		err  error
	}{
		{"unmasked", unmasked, CloseProtocolError, ErrProtocol},
		{"rsv1", reserved(0x40), CloseProtocolError, ErrProtocol},
		{"rsv2", reserved(0x20), CloseProtocolError, ErrProtocol},
		{"rsv3", reserved(0x10), CloseProtocolError, ErrProtocol},
		{"data opcode 3", frame(3, true, ""), CloseProtocolError, ErrProtocol},
		{"control opcode 11", frame(11, true, ""), CloseProtocolError, ErrProtocol},
		{"fragmented ping", frame(ping, false, ""), CloseProtocolError, ErrProtocol},
		{"fragmented close", frame(clos, false, ""), CloseProtocolError, ErrProtocol},
		{"ping of 126 bytes", longControl, CloseProtocolError, ErrProtocol},
		{"continuation without start", frame(cont, true, "x"), CloseProtocolError, ErrProtocol},
		{"continuation after the end", join(frame(text, false, "a"), frame(cont, true, "b"), frame(cont, true, "c")), CloseProtocolError, ErrProtocol},
		{"start inside a message", join(frame(text, false, "a"), frame(text, true, "b")), CloseProtocolError, ErrProtocol},
		{"length with top bit", rawHeader(0x82, 1<<63), CloseProtocolError, ErrProtocol},
		{"length 2^63-1", rawHeader(0x82, 1<<63-1), CloseTooBig, ErrTooBig},
		{"length 2^32", rawHeader(0x82, 1<<32), CloseTooBig, ErrTooBig},
		{"a byte too many", frame(bin, true, strings.Repeat("x", 8193)), CloseTooBig, ErrTooBig},
		{"a byte too many in fragments", join(frame(bin, false, strings.Repeat("x", 8192)), frame(cont, true, "x")), CloseTooBig, ErrTooBig},
		{"huge continuation", join(frame(bin, false, "x"), rawHeader(0x80, 1<<63-1)), CloseTooBig, ErrTooBig},
		{"huge ping", rawHeader(0x89, 1<<62), CloseProtocolError, ErrProtocol},
		{"bad UTF-8", frame(text, true, "a\xffb"), CloseInvalidData, ErrInvalidText},
		{"surrogate in UTF-8", frame(text, true, "\xed\xa0\x80"), CloseInvalidData, ErrInvalidText},
		{"bad UTF-8 across fragments", join(frame(text, false, "a\xe2\x82"), frame(ping, true, ""), frame(cont, true, "x")), CloseInvalidData, ErrInvalidText},
		{"bad UTF-8 in a large message", frame(text, true, strings.Repeat("x", 5000)+"\xc0\x80"), CloseInvalidData, ErrInvalidText},
		{"character cut at the end", join(frame(text, false, "a"), frame(cont, true, "\xe2\x82")), CloseInvalidData, ErrInvalidText},
		{"close with one byte", frame(clos, true, "\x03"), CloseProtocolError, ErrProtocol},
		{"close with 1005", frame(clos, true, "\x03\xed"), CloseProtocolError, ErrProtocol},
		{"close with 999", frame(clos, true, "\x03\xe7"), CloseProtocolError, ErrProtocol},
		{"close with 2000", frame(clos, true, "\x07\xd0"), CloseProtocolError, ErrProtocol},
		{"close with 5000", frame(clos, true, "\x13\x88"), CloseProtocolError, ErrProtocol},
		{"close with a bad reason", frame(clos, true, "\x03\xe8\xff"), CloseInvalidData, ErrInvalidText},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, p := tcpPair(t, Options{MaxMessage: 8192})
			got := make(recorder, 4)
			end := serve(c, got)
			p.write(tc.in, []byte("and more that nobody reads"))
			reason := p.wantClose(tc.code)
			require.NotEmpty(t, reason)
			p.wantEOF()
			_ = p.Close()
			e := receive(t, end)
			require.Equal(t, tc.code, e.Code)
			require.ErrorIs(t, e.Err, tc.err)
			require.False(t, e.ByPeer)
			require.ErrorIs(t, c.Send(TextFrame(nil)), ErrClosed)
		})
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("0123456789", 30_000)
	cases := []struct {
		name string
		in   []byte
		want []message
	}{
		{"empty", frame(text, true, ""), []message{{OpText, ""}}},
		{"euro across fragments", join(frame(text, false, "a\xe2\x82"), frame(cont, false, ""), frame(cont, true, "\xacb")), []message{{OpText, "a€b"}}},
		{"ping inside a message", join(frame(bin, false, "a"), frame(ping, true, "p"), frame(pong, true, ""), frame(cont, true, "b")), []message{{OpBinary, "ab"}}},
		{"several in one packet", join(frame(text, true, "1"), frame(bin, true, "2"), frame(text, true, "3")), []message{{OpText, "1"}, {OpBinary, "2"}, {OpText, "3"}}},
		{"exactly the buffer", frame(text, true, large[:readBufferSize]), []message{{OpText, large[:readBufferSize]}}},
		{"large", join(frame(text, true, large), frame(text, true, "next")), []message{{OpText, large}, {OpText, "next"}}},
		{"large in fragments", join(frame(bin, false, large[:100_000]), frame(cont, true, large[100_000:])), []message{{OpBinary, large}}},
		{"long form of a short length", append(append([]byte{0x81, 0x80 | 126, 0, 1}, testMask[:]...), 'x'^testMask[0]), []message{{OpText, "x"}}},
	}
	for _, tc := range cases {
		for _, by := range []struct {
			name string
			pair func(*testing.T, Options) (*Conn, *peer)
			step int
		}{
			{"pipe", pair, 1 << 20},
			{"tcp", func(t *testing.T, o Options) (*Conn, *peer) { return tcpPair(t, o) }, 1 << 20},
			{"tcp bytewise", func(t *testing.T, o Options) (*Conn, *peer) { return tcpPair(t, o) }, 1},
		} {
			if by.step == 1 && len(tc.in) > 1000 {
				continue
			}
			t.Run(tc.name+"/"+by.name, func(t *testing.T) {
				t.Parallel()
				c, p := by.pair(t, Options{})
				got := make(recorder, len(tc.want)+1)
				end := serve(c, got)
				go func() { _, _ = io.Copy(io.Discard, p) }()
				for in := tc.in; len(in) > 0; {
					n := min(by.step, len(in))
					p.write(in[:n])
					in = in[n:]
				}
				for _, want := range tc.want {
					require.Equal(t, want, receive(t, got))
				}
				p.write(frame(clos, true, ""))
				require.Equal(t, End{Code: CloseNoStatus, ByPeer: true}, receive(t, end))
				require.Empty(t, got)
			})
		}
	}
}

func TestPongCarriesThePayload(t *testing.T) {
	t.Parallel()
	c, p := pair(t, Options{})
	serve(c, make(recorder))
	p.write(frame(ping, true, "hello"))
	f := p.next()
	require.Equal(t, pong, f.Header.OpCode)
	require.Equal(t, "hello", string(f.Payload))
}

func TestPeerClose(t *testing.T) {
	t.Parallel()
	for _, code := range []CloseCode{1000, 1001, 1011, 1012, 1013, 1014, 3000, 4999} {
		c, p := pair(t, Options{})
		end := serve(c, make(recorder))
		p.write(frame(clos, true, string(binary.BigEndian.AppendUint16(nil, uint16(code)))+"why"))
		p.wantClose(code)
		p.wantEOF()
		require.Equal(t, End{Code: code, Reason: "why", ByPeer: true}, receive(t, end))
	}
}

func TestPeerVanishes(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		in   []byte
		err  error
	}{
		{"between messages", frame(text, true, "x"), io.EOF},
		{"in a header", []byte{0x81}, io.ErrUnexpectedEOF},
		{"in a payload", frame(text, true, "xyz")[:7], io.ErrUnexpectedEOF},
		{"in a large payload", frame(text, true, strings.Repeat("x", 10_000))[:9000], io.ErrUnexpectedEOF},
		{"between fragments", frame(text, false, "x"), io.ErrUnexpectedEOF},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, p := tcpPair(t, Options{})
			end := serve(c, make(recorder, 1))
			p.write(tc.in)
			_ = p.Close()
			e := receive(t, end)
			require.Equal(t, CloseAbnormal, e.Code)
			require.ErrorIs(t, e.Err, tc.err)
		})
	}
}

func TestFrameTimeout(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		in   []byte
	}{
		{"header", []byte{0x81}},
		{"length", []byte{0x82, 0xff, 0, 0}},
		{"payload", frame(text, true, "xyz")[:7]},
		{"large payload", frame(text, true, strings.Repeat("x", 10_000))[:5000]},
		{"fragments", frame(text, false, "x")},
		{"pings do not extend it", join(frame(text, false, "x"), frame(pong, true, ""))},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, p := tcpPair(t, Options{FrameTimeout: 30 * time.Millisecond})
			end := serve(c, make(recorder, 1))
			p.write(tc.in)
			e := receive(t, end)
			require.ErrorIs(t, e.Err, ErrFrameTimeout)
			require.Equal(t, CloseAbnormal, e.Code)
		})
	}
}

// A message that took two reads sets a deadline; it must not outlive the
// message.
func TestFrameTimeoutEndsWithTheMessage(t *testing.T) {
	t.Parallel()
	c, p := tcpPair(t, Options{FrameTimeout: 50 * time.Millisecond})
	got := make(recorder, 2)
	end := serve(c, got)
	f := frame(text, true, "xyz")
	p.write(f[:3])
	p.write(f[3:])
	receive(t, got)
	select {
	case e := <-end:
		require.Fail(t, "ended", e.String())
	case <-time.After(150 * time.Millisecond):
	}
	p.write(f)
	receive(t, got)
}

// A header that announces a megabyte must not cost one.
func TestMemoryFollowsWhatArrives(t *testing.T) {
	t.Parallel()
	var a assembly
	server, client := net.Pipe()
	c := newConn(server, nil, &Options{})
	go func() {
		_, _ = client.Write(make([]byte, 5000))
		_ = client.Close()
	}()
	_, err := a.readFrom(&c.in, 1<<20)
	require.Error(t, err)
	require.Equal(t, 16<<10, cap(a.data))
	a.release()
	c.Abort(nil)
}

func TestHandlerPanic(t *testing.T) {
	t.Parallel()
	c, p := tcpPair(t, Options{})
	end := serve(c, HandlerFunc(func(Opcode, []byte) { panic("secret") }))
	p.write(frame(text, true, "x"))
	require.Equal(t, "internal error", p.wantClose(CloseInternalError))
	_ = p.Close()
	e := receive(t, end)
	var pe *PanicError
	require.ErrorAs(t, e.Err, &pe)
	require.Equal(t, "secret", pe.Value)
	require.Contains(t, string(pe.Stack), "TestHandlerPanic")
}
