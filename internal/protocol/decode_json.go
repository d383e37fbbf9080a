package protocol

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// source holds the source text of each known property of a JSON frame; nil means
// that it is absent.
type source struct {
	limits *Limits

	typ, ackID, group, event, noEcho, ttlSeconds    []byte
	dataType, data, metadata, stream                []byte
	sequenceID, invocationID, target                []byte
	streamID, streamSequenceID, err, success, state []byte
}

// DecodeJSON reads one JSON frame of a client into f, within limits, replacing what was there. Its
// errors are *[Error]. Data.Bytes may alias message.
//
// Property names are case-sensitive and unknown ones are ignored. Of a name that
// occurs twice the last one counts, as in JavaScript's JSON.parse, and the others
// are not looked at; only metadata keys must be unique (section 3.2). A property
// that does not belong to the frame's type is ignored, except that ackId is checked
// everywhere.
//
// The frame must be valid UTF-8 throughout: JSON payloads are passed on byte for
// byte, and a text message with anything else would make a receiver's WebSocket fail.
func DecodeJSON(message []byte, f *Frame, l *Limits) error {
	*f = Frame{}
	if !utf8.Valid(message) {
		return invalid("frame is not UTF-8")
	}
	if !json.Valid(message) {
		return invalid("frame is not JSON")
	}
	object, ok := objectMembers(message)
	if !ok {
		return invalid("frame is not a JSON object")
	}
	src := source{limits: l}
	for {
		name, value, ok := object.next()
		if !ok {
			break
		}
		src.set(unquote(name), value)
	}
	return f.decodeJSON(&src)
}

func (s *source) set(name, value []byte) {
	switch string(name) {
	case "type":
		s.typ = value
	case "ackId":
		s.ackID = value
	case "group":
		s.group = value
	case "event":
		s.event = value
	case "noEcho":
		s.noEcho = value
	case "ttlSeconds":
		s.ttlSeconds = value
	case "dataType":
		s.dataType = value
	case "data":
		s.data = value
	case "metadata":
		s.metadata = value
	case "stream":
		s.stream = value
	case "sequenceId":
		s.sequenceID = value
	case "invocationId":
		s.invocationID = value
	case "target":
		s.target = value
	case "streamId":
		s.streamID = value
	case "streamSequenceId":
		s.streamSequenceID = value
	case "error":
		s.err = value
	case "success":
		s.success = value
	case "state":
		s.state = value
	}
}

func (f *Frame) decodeJSON(src *source) (err error) {
	if !isString(src.typ) {
		return invalid("type is missing or not a string")
	}
	frameType := frameTypeOf(unquote(src.typ))
	if frameType == 0 {
		return invalid("unknown type")
	}
	if f.AckID, f.HasAckID, err = optionalUint64(src.ackID, "ackId"); err != nil {
		return err
	}
	f.Type = frameType
	switch frameType {
	case Ping:
		return nil
	case SequenceAck:
		f.SequenceID, err = requiredUint64(src.sequenceID, "sequenceId")
		return err
	case JoinGroup, LeaveGroup, SubscribeGroupState, UnsubscribeGroupState:
		return f.groupJSON(src)
	case SendToGroup:
		return f.sendToGroupJSON(src)
	case Event:
		return f.eventJSON(src, true)
	case Invoke:
		if !isString(src.target) || string(unquote(src.target)) != "event" {
			return invalid("target is not event")
		}
		if err = f.invocationJSON(src); err != nil {
			return err
		}
		return f.eventJSON(src, false)
	case CancelInvocation:
		return f.invocationJSON(src)
	case StreamData:
		return f.streamDataJSON(src)
	case StreamEnd:
		if err = f.streamIDJSON(src.streamID); err != nil {
			return err
		}
		f.Error, err = errorDetailJSON(src.err)
		return err
	case SetGroupState:
		if err = f.groupJSON(src); err != nil {
			return err
		}
		f.State, err = stringMap(src.state, "state", nil)
		return err
	default:
		return f.invokeResponseJSON(src)
	}
}

func (f *Frame) groupJSON(src *source) (err error) {
	if f.Group, err = requiredString(src.group, "group"); err != nil {
		return err
	}
	return src.limits.checkGroup(f.Group)
}

func (f *Frame) invocationJSON(src *source) (err error) {
	if f.InvocationID, err = requiredString(src.invocationID, "invocationId"); err != nil {
		return err
	}
	return checkInvocationID(f.InvocationID)
}

func (f *Frame) streamIDJSON(value []byte) (err error) {
	if f.StreamID, err = requiredString(value, "streamId"); err != nil {
		return err
	}
	return checkStreamID(f.StreamID)
}

func (f *Frame) sendToGroupJSON(src *source) (err error) {
	if err = f.groupJSON(src); err != nil {
		return err
	}
	if f.NoEcho, err = optionalBool(src.noEcho, "noEcho"); err != nil {
		return err
	}
	ttl, _, err := optionalUint64(src.ttlSeconds, "ttlSeconds")
	if err != nil || ttl > uint64(src.limits.TTLSeconds) {
		return src.limits.invalidTTL("ttlSeconds")
	}
	f.TTLSeconds = uint32(ttl)
	if f.Metadata, err = src.limits.metadataJSON(src.metadata); err != nil {
		return err
	}
	if src.stream == nil || isNull(src.stream) {
		return f.dataJSON(src, true)
	}
	if src.data != nil {
		return invalid("stream and data exclude each other")
	}
	return f.streamStartJSON(src.stream)
}

func (f *Frame) streamStartJSON(value []byte) error {
	object, ok := objectMembers(value)
	if !ok {
		return invalid("stream is not an object")
	}
	var id, idle []byte
	for {
		name, value, ok := object.next()
		if !ok {
			break
		}
		switch string(unquote(name)) {
		case "streamId":
			id = value
		case "idleTimeoutMs":
			idle = value
		}
	}
	start := &StreamStart{}
	if idle != nil && !isNull(idle) {
		n, err := strconv.ParseInt(string(idle), 10, 64)
		if err != nil {
			return invalid("idleTimeoutMs is not an integer")
		}
		start.IdleTimeoutMillis, start.HasIdleTimeout = n, true
	}
	f.StreamStart = start
	return f.streamIDJSON(id)
}

func (f *Frame) eventJSON(src *source, dataRequired bool) (err error) {
	if f.Event, err = requiredString(src.event, "event"); err != nil {
		return err
	}
	if err = src.limits.checkEvent(f.Event); err != nil {
		return err
	}
	if f.Metadata, err = src.limits.metadataJSON(src.metadata); err != nil {
		return err
	}
	return f.dataJSON(src, dataRequired)
}

func (f *Frame) streamDataJSON(src *source) (err error) {
	if err = f.streamIDJSON(src.streamID); err != nil {
		return err
	}
	seq, hasSeq, err := optionalUint64(src.streamSequenceID, "streamSequenceId")
	if err != nil {
		return err
	}
	if !hasSeq && src.dataType == nil && src.data == nil {
		f.KeepAlive = true
		return nil
	}
	if !hasSeq || seq == 0 || src.dataType == nil || src.data == nil {
		return invalid("streamData needs all of streamSequenceId, dataType and data, or none")
	}
	f.SequenceID = seq
	return f.dataJSON(src, true)
}

func (f *Frame) invokeResponseJSON(src *source) (err error) {
	if err = f.invocationJSON(src); err != nil {
		return err
	}
	if src.success == nil {
		return invalid("success is missing")
	}
	if f.Success, err = optionalBool(src.success, "success"); err != nil {
		return err
	}
	if f.Error, err = errorDetailJSON(src.err); err != nil {
		return err
	}
	return f.dataJSON(src, false)
}

// dataJSON reads data. Absent data is empty text if there is metadata, and otherwise
// an error where it is required.
func (f *Frame) dataJSON(src *source, required bool) error {
	if src.data == nil {
		switch {
		case f.Metadata != nil:
			f.Data = Data{Type: Text, Bytes: []byte{}}
		case required:
			return invalid("data is missing")
		}
		return nil
	}
	dataType := JSON
	if src.dataType != nil {
		if !isString(src.dataType) {
			return invalid("dataType is not a string")
		}
		if dataType = dataTypeOf(unquote(src.dataType)); dataType == 0 {
			return invalid("unknown dataType")
		}
	}
	if dataType == JSON {
		// null cannot be told from absent data by the official clients.
		if isNull(src.data) {
			return invalid("data is null")
		}
		f.Data = Data{Type: JSON, Bytes: src.data}
		return nil
	}
	if !isString(src.data) {
		return invalid("data is not a string")
	}
	text := unquote(src.data)
	if dataType == Text {
		f.Data = Data{Type: Text, Bytes: text}
		return nil
	}
	decoded, err := base64.StdEncoding.AppendDecode(make([]byte, 0, base64.StdEncoding.DecodedLen(len(text))), text)
	if err != nil {
		return invalid("data is not base64")
	}
	f.Data = Data{Type: dataType, Bytes: decoded}
	return nil
}
