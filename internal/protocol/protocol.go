// Package protocol translates between the frames of the Azure Web PubSub client
// protocol and Go values. It does no I/O and starts no goroutine.
//
// One client speaks JSON text frames, another protobuf binary frames, a third no
// subprotocol at all. The node handles them with the same code:
//
//   - [Decode] reads a client's frame into one [Frame], whatever the encoding;
//   - the Append functions write a gateway frame in the encoding of a [Subprotocol];
//   - [Shared] encodes a message for many receivers once per encoding, so that each
//     receiver costs only the few bytes that carry its sequence number.
//
// Section numbers in comments are those of azure-web-pubsub.md. All functions are
// safe for concurrent use as long as callers do not share a Frame or a buffer.
package protocol

// Subprotocol is what was agreed in the WebSocket handshake (section 3.1). The zero
// value is a simple client: bare payloads without frames.
type Subprotocol uint8

// The subprotocols of section 3.1.
const (
	Simple Subprotocol = iota
	JSONv1
	JSONReliableV1
	ProtobufV1
	ProtobufReliableV1
)

// The names of the subprotocols, as in the Sec-WebSocket-Protocol header.
const (
	NameJSONv1             = "json.webpubsub.azure.v1"
	NameJSONReliableV1     = "json.reliable.webpubsub.azure.v1"
	NameProtobufV1         = "protobuf.webpubsub.azure.v1"
	NameProtobufReliableV1 = "protobuf.reliable.webpubsub.azure.v1"
)

// String is the name in the Sec-WebSocket-Protocol header, empty for Simple.
func (s Subprotocol) String() string {
	switch s {
	case JSONv1:
		return NameJSONv1
	case JSONReliableV1:
		return NameJSONReliableV1
	case ProtobufV1:
		return NameProtobufV1
	case ProtobufReliableV1:
		return NameProtobufReliableV1
	default:
		return ""
	}
}

// Reliable reports whether messages carry sequence numbers and sessions can be
// recovered.
func (s Subprotocol) Reliable() bool {
	return s == JSONReliableV1 || s == ProtobufReliableV1
}

// Binary reports whether frames travel as binary WebSocket messages. The frames of
// the other subprotocols are text; a simple client has both, see [Tail.Binary].
func (s Subprotocol) Binary() bool {
	return s == ProtobufV1 || s == ProtobufReliableV1
}

// ParseSubprotocol finds a subprotocol by its name, in any case.
func ParseSubprotocol(name string) (Subprotocol, bool) {
	for s := JSONv1; s <= ProtobufReliableV1; s++ {
		if equalFoldASCII(name, s.String()) {
			return s, true
		}
	}
	return Simple, false
}

// Negotiate picks the first supported name in the client's order. The returned name
// has the client's spelling, since the handshake must echo it. Without a supported
// name ok is false and the connection is a simple one (section 3.1).
func Negotiate(offered []string) (name string, sub Subprotocol, ok bool) {
	for _, name := range offered {
		if sub, ok := ParseSubprotocol(name); ok {
			return name, sub, true
		}
	}
	return "", Simple, false
}

// equalFoldASCII compares in any case. strings.EqualFold would also take the Kelvin
// sign for a k, and names here are ASCII.
func equalFoldASCII(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lowerASCII(a[i]) != lowerASCII(b[i]) {
			return false
		}
	}
	return true
}

func lowerASCII(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + ('a' - 'A')
	}
	return c
}
