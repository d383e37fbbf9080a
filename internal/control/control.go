// Package control carries what backends and nodes tell each other about the
// connections of hubs: messages and changes of states, which nobody answers, and
// calls, which every node that is concerned answers. All go over the bus (ours; no other SDK
// knows them). Whoever is subscribed to a channel is concerned, so there is no
// registry that could disagree with the connections.
package control

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway/internal/telemetry"
)

// Message is a message for connections.
type Message struct {
	// ID tells copies of one message apart from others, when a connection
	// moves from one node to another while the message is on its way.
	ID uint64 `json:"i"`
	// Once says that each attempt of a repeated send has the same ID, and that
	// nodes drop all but the first.
	Once bool `json:"1,omitempty"`
	// DataType is text, json, binary or protobuf.
	DataType   string            `json:"dt,omitempty"`
	FromUserID string            `json:"from,omitempty"`
	Excluded   []string          `json:"ex,omitempty"`
	Filter     string            `json:"f,omitempty"`
	TTLSeconds int               `json:"ttl,omitempty"`
	Metadata   map[string]string `json:"md,omitempty"`
	Stream     *Stream           `json:"st,omitempty"`
	// TraceParent and TraceState are the trace that the message belongs to.
	TraceParent string `json:"tp,omitempty"`
	TraceState  string `json:"ts,omitempty"`
	Data        []byte `json:"-"`
}

// SetTrace makes the message carry a trace, if that is sampled.
func (m *Message) SetTrace(sc trace.SpanContext) {
	if sc.IsSampled() {
		m.TraceParent, m.TraceState = telemetry.Format(sc)
	}
}

// Stream says which part of a stream a message is.
type Stream struct {
	ID         string       `json:"id"`
	SequenceID uint64       `json:"n"`
	End        bool         `json:"end,omitempty"`
	Error      *StreamError `json:"err,omitempty"`
}

// StreamError says why a stream ended.
type StreamError struct {
	Name     string `json:"name"`
	Message  string `json:"message,omitempty"`
	UserCode string `json:"code,omitempty"`
}

// StateChange tells everyone who watches the states of a group that one changed.
type StateChange struct {
	// Node holds the connection.
	Node string `json:"n"`
	State
}

// State is the state of one member of a group.
type State struct {
	ConnectionID string `json:"id"`
	UserID       string `json:"u,omitempty"`
	// Entries is the state; nil says that there is none any more.
	Entries map[string]string `json:"s"`
	// UpdatedAt is in milliseconds since 1970 and grows with each change of
	// the connection.
	UpdatedAt int64 `json:"at"`
}

// Pulse is the sign of life of a node, for those that know states of its
// connections.
type Pulse struct {
	Node string `json:"n"`
	// States is how many states the connections of the node have.
	States int64 `json:"s,omitempty"`
	// Lost counts how often others may have missed a change of the node.
	Lost uint64 `json:"l,omitempty"`
}

// Op is what a call asks for.
type Op string

// The operations. A node applies them to the connections of the channel on
// which the call came.
const (
	// OpCount counts the connections.
	OpCount Op = "count"
	// OpClose closes the connections, except Excluded, with a reason.
	OpClose Op = "close"
	// OpJoin and OpLeave change the groups of the connections that Filter
	// chooses; OpLeave without groups leaves all of them.
	OpJoin  Op = "join"
	OpLeave Op = "leave"
	// OpList lists up to Limit connections behind After, by id.
	OpList Op = "list"
	// OpGrant, OpRevoke and OpCheck concern the permission to Permission, for
	// Group, or for any group if that is empty.
	OpGrant  Op = "grant"
	OpRevoke Op = "revoke"
	OpCheck  Op = "check"
	// OpStates lists up to Limit states of the members of Group behind After, by
	// connection id.
	OpStates Op = "states"
	// OpTakeover hands a connection over to the node that asks.
	OpTakeover Op = "takeover"
)

// Call is a request to the nodes that are subscribed to a channel.
type Call struct {
	ID         uint64   `json:"i"`
	ReplyTo    string   `json:"re"`
	Op         Op       `json:"op"`
	Reason     string   `json:"reason,omitempty"`
	Excluded   []string `json:"ex,omitempty"`
	Filter     string   `json:"f,omitempty"`
	Groups     []string `json:"g,omitempty"`
	After      string   `json:"after,omitempty"`
	Limit      int      `json:"limit,omitempty"`
	Permission string   `json:"p,omitempty"`
	Group      string   `json:"group,omitempty"`
	// Until, for OpJoin, is when the membership ends, in milliseconds since
	// 1970 by the database's clock; 0 means with the connection.
	Until int64 `json:"until,omitempty"`
	// From is the node that asks, for OpTakeover.
	From string `json:"from,omitempty"`
	// Heard is set by the node that received the call: how many realtime
	// messages the connection had heard before it.
	Heard uint64 `json:"-"`
}

// Reply is a node's answer to a Call.
type Reply struct {
	ID uint64 `json:"i"`
	// Count is how many connections the operation applied to.
	Count       int          `json:"n"`
	Connections []Connection `json:"c,omitempty"`
	// Node answers, and its States are the answer to OpStates.
	Node   string  `json:"node,omitempty"`
	States []State `json:"st,omitempty"`
	// Moved says, beside Error, that a connection just moves to another node: the
	// call can be repeated there.
	Moved bool `json:"moved,omitempty"`
	// Allowed answers OpCheck.
	Allowed bool `json:"ok,omitempty"`
	// Full: a grant failed because the connection has too many.
	Full bool `json:"full,omitempty"`
	// Error says that the node could not do it.
	Error string `json:"err,omitempty"`
	// Session is the handed-over connection, for OpTakeover.
	Session json.RawMessage `json:"-"`
}

// Connection is one connection in a list.
type Connection struct {
	ID     string `json:"id"`
	UserID string `json:"u,omitempty"`
}

// The first byte of what travels says what it is.
const (
	kindMessage = 'm'
	kindCall    = 'c'
	kindReply   = 'r'
	kindState   = 's'
	kindPulse   = 'p'
)

// ErrFormat is returned for bytes that are none of these.
var ErrFormat = errors.New("control: not understood")

// Encode returns the bytes of a Message: payloads are not encoded again.
func (m *Message) Encode() []byte { return encode(kindMessage, m, m.Data) }

// Identify gives a message that is sent to a channel the ID that it has in each
// attempt with the same key. Another message, or another target, has another
// one.
func (m *Message) Identify(channel, key string) {
	m.ID, m.Once = 0, true
	hash := sha256.New()
	_, _ = fmt.Fprintf(hash, "%d %s %d %s ", len(channel), channel, len(key), key) // a hash takes everything
	_, _ = hash.Write(m.Encode())
	m.ID = binary.BigEndian.Uint64(hash.Sum(nil)) | 1
}

// Encode returns the bytes of a Call.
func (c *Call) Encode() []byte { return encode(kindCall, c, nil) }

// Encode returns the bytes of a Reply.
func (r *Reply) Encode() []byte { return encode(kindReply, r, r.Session) }

// Encode returns the bytes of a StateChange.
func (c *StateChange) Encode() []byte { return encode(kindState, c, nil) }

// Encode returns the bytes of a Pulse.
func (p *Pulse) Encode() []byte { return encode(kindPulse, p, nil) }

func encode(kind byte, head any, body []byte) []byte {
	raw, _ := json.Marshal(head) // strings, numbers and lists of them always encode
	buf := make([]byte, 0, 2+len(raw)+len(body))
	buf = append(append(buf, kind), raw...)
	return append(append(buf, '\n'), body...)
}

// Decode reads what Encode wrote: a *Message, *Call, *Reply, *StateChange or
// *Pulse. Nothing of it aliases b.
func Decode(b []byte) (any, error) {
	head, body, ok := bytes.Cut(b, []byte{'\n'})
	if !ok || len(head) == 0 {
		return nil, ErrFormat
	}
	var v any
	switch head[0] {
	case kindMessage:
		v = &Message{Data: bytes.Clone(body)}
	case kindCall:
		v = &Call{}
	case kindReply:
		v = &Reply{Session: bytes.Clone(body)}
	case kindState:
		v = &StateChange{}
	case kindPulse:
		v = &Pulse{}
	default:
		return nil, ErrFormat
	}
	if err := json.Unmarshal(head[1:], v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return v, nil
}
