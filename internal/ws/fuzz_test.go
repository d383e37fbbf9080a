package ws

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// streamConn gives the server a fixed stream, cut into reads by step, and
// keeps what it writes.
type streamConn struct {
	net.Conn
	in   []byte
	step int
}

func (c *streamConn) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.in[:min(len(c.in), c.step)])
	c.in = c.in[n:]
	return n, nil
}

func (c *streamConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *streamConn) Close() error                     { return nil }
func (c *streamConn) CloseWrite() error                { return nil }
func (c *streamConn) SetReadDeadline(time.Time) error  { return nil }
func (c *streamConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzServe feeds arbitrary bytes to a connection. Whatever they are: no
// panic, no message over the limit, no text that is not UTF-8, the same
// messages and the same end however the bytes are cut into reads, and an end
// that makes sense.
func FuzzServe(f *testing.F) {
	big := strings.Repeat("0123456789", 500)
	for _, seed := range [][]byte{
		nil,
		frame(text, true, "hello"),
		join(frame(text, false, "a\xe2\x82"), frame(ping, true, "p"), frame(cont, true, "\xac")),
		join(frame(bin, true, big), frame(text, true, big[:4096])),
		join(frame(text, true, "x"), frame(clos, true, "\x03\xe8bye"), frame(text, true, "late")),
		frame(clos, true, ""),
		frame(clos, true, "\x03"),
		frame(text, true, "\xff"),
		rawHeader(0x82, 1<<63),
		rawHeader(0x82, 1<<63-1),
		rawHeader(0x80, 1),
		{0x81, 0x05, 'h', 'e', 'l', 'l', 'o'},
		{0xf1, 0x80, 0, 0, 0, 0},
	} {
		f.Add(seed, uint8(3))
	}
	const limit = 6000
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		run := func(step int) ([]message, End) {
			var got []message
			c := newConn(&streamConn{in: bytes.Clone(in), step: step}, nil, &Options{MaxMessage: limit, QueueFrames: -1})
			var end End // a connection that is no socket is served until it ends
			c.Serve(HandlerFunc(func(op Opcode, p []byte) { got = append(got, message{op, string(p)}) }), func(e End) { end = e })
			if c.in.buf != nil || c.nextInLine != nil {
				t.Fatal("a buffer is kept after the end")
			}
			return got, end
		}
		got, end := run(int(step) + 1)
		for _, m := range got {
			if len(m.payload) > limit || m.op != OpText && m.op != OpBinary {
				t.Fatalf("opcode %d with %d bytes", m.op, len(m.payload))
			}
			if m.op == OpText && !utf8.ValidString(m.payload) {
				t.Fatal("text that is not UTF-8")
			}
		}
		code, failed := closeCodeOf(end.Err)
		switch {
		case end.ByPeer && end.Err == nil:
		case failed && code == end.Code:
		case end.Code == CloseAbnormal && end.Err != nil:
		default:
			t.Fatalf("end %+v", end)
		}
		again, endAgain := run(1 << 20)
		if len(again) != len(got) || end.Code != endAgain.Code || end.Reason != endAgain.Reason {
			t.Fatalf("%d messages and %v, then %d and %v", len(got), end, len(again), endAgain)
		}
		for i := range got {
			if got[i] != again[i] {
				t.Fatalf("message %d depends on how it is read", i)
			}
		}
	})
}

// FuzzFrames checks that frames come back from an independent decoder as they
// were put in.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("prefix"), []byte("tail"))
	f.Add(make([]byte, 126), []byte{})
	f.Add([]byte{}, make([]byte, 65536))
	f.Fuzz(func(t *testing.T, prefix, tail []byte) {
		fr := TextFrameParts(prefix, tail)
		wire := append(bytes.Clone(fr.head), fr.tail...)
		n, rest := int(wire[1]), wire[2:]
		switch n {
		case 126:
			n, rest = int(binary.BigEndian.Uint16(rest)), rest[2:]
		case 127:
			n, rest = int(binary.BigEndian.Uint64(rest)), rest[8:]
		}
		if wire[0] != 0x81 || n != len(prefix)+len(tail) || !bytes.Equal(rest, append(bytes.Clone(prefix), tail...)) {
			t.Fatalf("bad frame of %d and %d bytes", len(prefix), len(tail))
		}
	})
}
