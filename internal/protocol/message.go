package protocol

import (
	"strconv"
	"sync"
)

// Message is a message for clients (section 3.3): from a group if Group is set, else
// from the server.
type Message struct {
	Group      string
	FromUserID string // the publishing user; empty when anonymous or sent by a backend
	Data       Data
	Metadata   map[string]string
	Stream     *StreamInfo // set when the message is a part of a stream
}

// StreamInfo says which part of which stream a message is (section 3.8).
type StreamInfo struct {
	StreamID    string
	SequenceID  uint64
	EndOfStream bool
	Error       *ErrorDetail // why the stream ended, if not as planned
}

// GroupState tells a subscriber about the states of a group's members (section 3.9).
// It is sequenced like a message.
type GroupState struct {
	Group    string
	Snapshot bool // all members, instead of the changed ones
	Items    []GroupStateItem
}

// GroupStateItem is the state of one member. A nil State says that it was cleared.
type GroupStateItem struct {
	ConnectionID string
	UserID       string
	State        map[string]string
	UpdatedAt    int64 // milliseconds since 1970
}

// SimplePayload is what a simple client receives of a message: the bare payload, as
// a binary or a text WebSocket message (section 3.4). The result aliases d.
func SimplePayload(d Data) (payload []byte, binary bool) {
	return d.Bytes, d.Type == Binary || d.Type == Protobuf
}

// tailKind says which frame a tail belongs to, for the tag in a protobuf prefix.
type tailKind uint8

const (
	tailMessage tailKind = iota
	tailGroupStateUpdate
	tailGroupStateSnapshot
)

// Tail is the part of a sequenced frame that is the same for all its receivers of one
// encoding. A receiver's frame is the prefix with its sequence number and then the
// tail. A Tail is read-only and may be kept, for example to replay it, and used from
// any goroutine.
type Tail struct {
	bytes  []byte
	sub    Subprotocol
	kind   tailKind
	binary bool
}

// Bytes is what follows the prefix. It must not be changed.
func (t Tail) Bytes() []byte { return t.bytes }

// Binary reports whether the frame is to be sent as a binary WebSocket message. It
// differs from [Subprotocol.Binary] for simple clients, where the payload decides.
func (t Tail) Binary() bool { return t.binary }

// MaxPrefix bounds the length of a prefix, for sizing buffers.
const MaxPrefix = 40

// AppendPrefix appends what goes before the tail. A sequence number of 0 means none,
// as in the subprotocols that are not reliable; sequences start at 1. For a simple
// client there is no prefix.
func (t Tail) AppendPrefix(dst []byte, seq uint64) []byte {
	switch {
	case t.sub == Simple:
		return dst
	case t.sub.Binary():
		return appendProtobufPrefix(dst, t.kind, seq, len(t.bytes))
	case seq == 0:
		return append(dst, '{')
	default:
		dst = append(dst, `{"sequenceId":`...)
		dst = strconv.AppendUint(dst, seq, 10)
		return append(dst, ',')
	}
}

// AppendFrame appends the whole frame, prefix and tail.
func (t Tail) AppendFrame(dst []byte, seq uint64) []byte {
	return append(t.AppendPrefix(dst, seq), t.bytes...)
}

// MessageTail encodes a message for the clients of a subprotocol. A simple client's
// tail is the payload and aliases m.Data.
func MessageTail(sub Subprotocol, m *Message) Tail {
	switch {
	case sub == Simple:
		payload, binary := SimplePayload(m.Data)
		return Tail{bytes: payload, binary: binary}
	case sub.Binary():
		return Tail{bytes: marshalMessage(m), sub: sub, binary: true}
	default:
		dst := make([]byte, 0, 128+len(m.Group)+len(m.FromUserID)+len(m.Data.Bytes)*3/2)
		return Tail{bytes: appendJSONMessage(dst, m), sub: sub}
	}
}

// GroupStateTail encodes a group state frame for the clients of a subprotocol. Simple
// clients have no such frame: their tail is empty and is not to be sent.
func GroupStateTail(sub Subprotocol, g *GroupState) Tail {
	kind := tailGroupStateUpdate
	if g.Snapshot {
		kind = tailGroupStateSnapshot
	}
	switch {
	case sub == Simple:
		return Tail{}
	case sub.Binary():
		return Tail{bytes: marshalGroupState(g), sub: sub, kind: kind, binary: true}
	default:
		return Tail{bytes: appendJSONGroupState(nil, g), sub: sub, kind: kind}
	}
}

// Shared is a message, or a group state frame, on its way to many connections. It
// is encoded at most once for each encoding, when the first connection that needs it
// asks. It is safe for concurrent use.
type Shared struct {
	message  Message
	state    *GroupState // instead of message, if not nil
	json     sync.Once
	protobuf sync.Once
	tails    [2]Tail
}

// NewShared takes over m with its payload, which must not change afterwards; a
// payload that aliases a read buffer has to be cloned before.
func NewShared(m Message) *Shared { return &Shared{message: m} }

// NewSharedState is NewShared for a group state frame; its items must not change
// afterwards.
func NewSharedState(g *GroupState) *Shared { return &Shared{state: g} }

// Message returns what is being sent. It must not be changed.
func (s *Shared) Message() *Message { return &s.message }

// State returns the group state frame that is being sent, or nil if it is a message.
// It must not be changed.
func (s *Shared) State() *GroupState { return s.state }

// Tail returns the shared part of the message's frame for a subprotocol.
func (s *Shared) Tail(sub Subprotocol) Tail {
	switch {
	case sub == Simple:
		return s.encode(Simple)
	case sub.Binary():
		s.protobuf.Do(func() { s.tails[1] = s.encode(ProtobufV1) })
		return s.tails[1]
	default:
		s.json.Do(func() { s.tails[0] = s.encode(JSONv1) })
		return s.tails[0]
	}
}

func (s *Shared) encode(sub Subprotocol) Tail {
	if s.state != nil {
		return GroupStateTail(sub, s.state)
	}
	return MessageTail(sub, &s.message)
}
