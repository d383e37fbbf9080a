package protocol

// The Append functions write one frame from the gateway to a client (section 3.3)
// behind dst, in the encoding of sub, and return the longer buffer. A simple client
// gets no frames: for [Simple] they return dst as it is, and the caller sends
// nothing. Strings that are not UTF-8 are repaired with U+FFFD.

// Connected is the first frame of a connection.
type Connected struct {
	ConnectionID      string
	UserID            string // empty for an anonymous connection
	ReconnectionToken string // reliable subprotocols only, else empty
}

// AppendConnected appends the system frame that must be the first one.
func AppendConnected(dst []byte, sub Subprotocol, c Connected) []byte {
	switch {
	case sub == Simple:
		return dst
	case sub.Binary():
		return appendProtobufConnected(dst, c)
	default:
		return appendJSONConnected(dst, c)
	}
}

// AppendDisconnected appends the system frame that goes before a close by the
// gateway. It carries the text, because a WebSocket close reason is too short.
func AppendDisconnected(dst []byte, sub Subprotocol, message string) []byte {
	switch {
	case sub == Simple:
		return dst
	case sub.Binary():
		return appendProtobufDisconnected(dst, message)
	default:
		return appendJSONDisconnected(dst, message)
	}
}

// AppendAck appends the answer to a frame with an ackId. A nil failure is success.
func AppendAck(dst []byte, sub Subprotocol, ackID uint64, failure *ErrorDetail) []byte {
	switch {
	case sub == Simple:
		return dst
	case sub.Binary():
		return appendProtobufAck(dst, ackID, failure)
	default:
		return appendJSONAck(dst, ackID, failure)
	}
}

// AppendPong appends the answer to a ping.
func AppendPong(dst []byte, sub Subprotocol) []byte {
	switch {
	case sub == Simple:
		return dst
	case sub.Binary():
		return appendProtobufPong(dst)
	default:
		return append(dst, `{"type":"pong"}`...)
	}
}

// Response answers an invoke frame. It succeeds if Error is nil; absent Data is then
// sent as empty text, since clients insist on a payload.
type Response struct {
	InvocationID string
	Data         Data
	Metadata     map[string]string
	Error        *ErrorDetail
}

// AppendInvokeResponse appends the answer to an invoke frame.
func AppendInvokeResponse(dst []byte, sub Subprotocol, r *Response) []byte {
	switch {
	case sub == Simple:
		return dst
	case sub.Binary():
		return appendProtobufInvokeResponse(dst, r)
	default:
		return appendJSONInvokeResponse(dst, r)
	}
}

// AppendStreamAck tells the publisher of a stream that everything before expected
// has arrived.
func AppendStreamAck(dst []byte, sub Subprotocol, streamID string, expected uint64) []byte {
	switch {
	case sub == Simple:
		return dst
	case sub.Binary():
		return appendProtobufStreamAck(dst, streamID, expected)
	default:
		return appendJSONStreamAck(dst, streamID, expected)
	}
}

// AppendStreamNack tells the publisher of a stream to send again from expected.
func AppendStreamNack(dst []byte, sub Subprotocol, streamID string, expected uint64, reason ErrorDetail) []byte {
	switch {
	case sub == Simple:
		return dst
	case sub.Binary():
		return appendProtobufStreamNack(dst, streamID, expected, reason)
	default:
		return appendJSONStreamNack(dst, streamID, expected, reason)
	}
}

// AppendStreamClosed tells the publisher that its stream is over; a nil failure
// means that it ended as the publisher asked.
func AppendStreamClosed(dst []byte, sub Subprotocol, streamID string, failure *ErrorDetail) []byte {
	switch {
	case sub == Simple:
		return dst
	case sub.Binary():
		return appendProtobufStreamClosed(dst, streamID, failure)
	default:
		return appendJSONStreamClosed(dst, streamID, failure)
	}
}
