package ws

import (
	"encoding/binary"
	"unicode/utf8"

	gobwas "github.com/gobwas/ws"
)

// Opcode is the kind of a message.
type Opcode byte

// The two kinds of message.
const (
	OpText   = Opcode(gobwas.OpText)
	OpBinary = Opcode(gobwas.OpBinary)
)

// Frame is one message or control frame, encoded for the wire. It is
// immutable: the same Frame may be queued on many connections at once, and the
// connections share its memory.
//
// It has two parts so that connections can share a large payload and still
// begin it differently, for instance with a sequence number of their own.
type Frame struct {
	head []byte // frame header, and a payload or the beginning of it
	tail []byte // rest of the payload, shared with the caller
}

// TextFrame encodes a text message. It copies the payload, once for all the
// connections the frame is sent to.
func TextFrame(payload []byte) Frame { return newFrame(gobwas.OpText, payload, nil) }

// BinaryFrame is TextFrame for a binary message.
func BinaryFrame(payload []byte) Frame { return newFrame(gobwas.OpBinary, payload, nil) }

// TextFrameParts encodes a text message of prefix and tail together. The prefix
// is copied. The tail is not: the frame refers to it, and it must never change
// again.
func TextFrameParts(prefix, tail []byte) Frame { return newFrame(gobwas.OpText, prefix, tail) }

// BinaryFrameParts is TextFrameParts for a binary message.
func BinaryFrameParts(prefix, tail []byte) Frame { return newFrame(gobwas.OpBinary, prefix, tail) }

// Len is the number of bytes the frame takes on the wire and in a queue.
func (f Frame) Len() int { return len(f.head) + len(f.tail) }

// from returns what is left of the part that holds offset off.
func (f Frame) from(off int) []byte {
	if off < len(f.head) {
		return f.head[off:]
	}
	return f.tail[off-len(f.head):]
}

func (f Frame) isPing() bool { return f.head[0] == pingFrame.head[0] }

var pingFrame = newFrame(gobwas.OpPing, nil, nil)

func newFrame(op gobwas.OpCode, prefix, tail []byte) Frame {
	n := len(prefix) + len(tail)
	size := gobwas.HeaderSize(gobwas.Header{Length: int64(n)})
	head := make([]byte, size, size+len(prefix))
	head[0] = 0x80 | byte(op) // final, no extension
	switch size {
	case 2:
		head[1] = byte(n)
	case 4:
		head[1] = 126
		binary.BigEndian.PutUint16(head[2:], uint16(n))
	default:
		head[1] = 127
		binary.BigEndian.PutUint64(head[2:], uint64(n))
	}
	return Frame{head: append(head, prefix...), tail: tail}
}

// closeFrame encodes a close frame. Codes that must not travel give a frame
// without a body; a reason that is too long is cut between two characters.
func closeFrame(code CloseCode, reason string) Frame {
	if !code.receivable() {
		return newFrame(gobwas.OpClose, nil, nil)
	}
	const room = gobwas.MaxControlFramePayloadSize - 2
	if len(reason) > room {
		cut := room
		for cut > 0 && !utf8.RuneStart(reason[cut]) {
			cut--
		}
		reason = reason[:cut]
	}
	return newFrame(gobwas.OpClose, gobwas.NewCloseFrameBody(gobwas.StatusCode(code), reason), nil)
}
