package protocol

import "bytes"

// FrameType says which request of section 3.2 a [Frame] is.
type FrameType uint8

// The requests of a client. No valid frame has type zero.
const (
	JoinGroup FrameType = iota + 1
	LeaveGroup
	SendToGroup
	Event
	Ping
	SequenceAck
	Invoke
	CancelInvocation
	StreamData
	StreamEnd
	SetGroupState
	SubscribeGroupState
	UnsubscribeGroupState
	InvokeResponse
)

var frameTypeNames = [...]string{
	JoinGroup:             "joinGroup",
	LeaveGroup:            "leaveGroup",
	SendToGroup:           "sendToGroup",
	Event:                 "event",
	Ping:                  "ping",
	SequenceAck:           "sequenceAck",
	Invoke:                "invoke",
	CancelInvocation:      "cancelInvocation",
	StreamData:            "streamData",
	StreamEnd:             "streamEnd",
	SetGroupState:         "setGroupState",
	SubscribeGroupState:   "subscribeGroupState",
	UnsubscribeGroupState: "unsubscribeGroupState",
	InvokeResponse:        "invokeResponse",
}

// String is the name of the type in JSON frames.
func (t FrameType) String() string {
	if t == 0 || int(t) >= len(frameTypeNames) {
		return "unknown"
	}
	return frameTypeNames[t]
}

// DataType is the dataType of a payload. Zero means that there is no payload.
type DataType uint8

// The payload types of section 3.4.
const (
	Text DataType = iota + 1
	JSON
	Binary
	Protobuf
)

var dataTypeNames = [...]string{Text: "text", JSON: "json", Binary: "binary", Protobuf: "protobuf"}

// String is the name of the type in JSON frames.
func (t DataType) String() string {
	if t == 0 || int(t) >= len(dataTypeNames) {
		return "none"
	}
	return dataTypeNames[t]
}

// Data is a payload. Its Bytes are
//
//   - Text: UTF-8 text;
//   - JSON: the JSON source text exactly as its sender wrote it, so that numbers keep
//     their digits; whoever builds a Data checks that it is valid JSON;
//   - Binary: the bytes;
//   - Protobuf: the encoded google.protobuf.Any message.
//
// The zero value is an absent payload.
type Data struct {
	Type  DataType
	Bytes []byte
}

// Present reports whether there is a payload, be it an empty one.
func (d Data) Present() bool { return d.Type != 0 }

// Clone returns a copy that shares no memory with d.
func (d Data) Clone() Data { return Data{Type: d.Type, Bytes: bytes.Clone(d.Bytes)} }

// ErrorDetail is the error of an acknowledgement, an invocation or a stream.
// UserErrorCode exists in stream errors only.
type ErrorDetail struct {
	Name          string
	Message       string
	UserErrorCode string
}

// Frame is one decoded request of a client. Which fields count depends on Type; the
// others are zero:
//
//	JoinGroup, LeaveGroup, SubscribeGroupState, UnsubscribeGroupState: Group, AckID
//	SendToGroup: Group, AckID, NoEcho, TTLSeconds, Metadata, and Data or StreamStart
//	Event: Event, AckID, Data, Metadata, and StreamStart in protobuf
//	Invoke: InvocationID, Event, Data, Metadata, and StreamStart in protobuf
//	SequenceAck: SequenceID
//	CancelInvocation: InvocationID
//	StreamData: StreamID, and SequenceID and Data unless KeepAlive
//	StreamEnd: StreamID, Error
//	SetGroupState: Group, AckID, State
//	InvokeResponse: InvocationID, Success, Data, Error
//
// Memory: strings and maps are copies. Data.Bytes may alias the frame that was
// decoded, so it is valid until the caller reuses that buffer; see [Frame.Own].
type Frame struct {
	Type FrameType

	// AckID asks for exactly one acknowledgement when HasAckID. 0 is a valid id.
	AckID    uint64
	HasAckID bool

	Group        string
	Event        string
	InvocationID string
	StreamID     string

	// SequenceID is what a SequenceAck acknowledges, or the number of a StreamData
	// frame (from 1).
	SequenceID uint64

	NoEcho     bool
	KeepAlive  bool
	Success    bool
	TTLSeconds uint32 // 0 means that the message does not expire

	Data     Data
	Metadata map[string]string // nil when absent

	// StreamStart is set when the frame opens a stream instead of carrying data.
	StreamStart *StreamStart

	// Error is what a StreamEnd or an InvokeResponse says went wrong, or nil.
	Error *ErrorDetail

	// State is the new state of SetGroupState; nil clears it.
	State map[string]string
}

// StreamStart opens the stream StreamID of a frame (section 3.8).
type StreamStart struct {
	// IdleTimeoutMillis is as the client sent it, zero and negative values included:
	// refusing them is a streamClosed answer and not a broken frame. It is valid when
	// HasIdleTimeout.
	IdleTimeoutMillis int64
	HasIdleTimeout    bool
}

// Own makes the frame independent of the buffer it was decoded from.
func (f *Frame) Own() {
	if f.Data.Bytes != nil {
		f.Data = f.Data.Clone()
	}
}

// Error says why a frame of a client is invalid. The node answers it by closing the
// connection with 1007. The reason never quotes the frame, so it may be logged and
// sent, and is short enough for a close frame.
type Error struct {
	Reason string
}

// Error implements error.
func (e *Error) Error() string { return "protocol: " + e.Reason }

func invalid(reason string) error { return &Error{Reason: reason} }

// Decode reads one message of a client into f, replacing what was there. What is
// beyond the limits is an error. The only
// errors are *[Error]. The frame's Data.Bytes may alias message; nothing else does.
// The messages of a simple client are payloads and no frames: they are not for
// Decode.
func Decode(sub Subprotocol, message []byte, f *Frame, l *Limits) error {
	switch {
	case sub == Simple:
		*f = Frame{}
		return invalid("a client without a subprotocol sends no frames")
	case sub.Binary():
		return DecodeProtobuf(message, f, l)
	default:
		return DecodeJSON(message, f, l)
	}
}
