package protocol

import (
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/message-gateway/gateway/internal/protocol/webpubsubpb"
)

// Numbers of the fields that make up a prefix. A test compares them with the schema.
const (
	fieldData               protowire.Number = 2  // DownstreamMessage.data
	fieldGroupStateUpdate   protowire.Number = 9  // DownstreamMessage.group_state_update
	fieldGroupStateSnapshot protowire.Number = 10 // DownstreamMessage.group_state_snapshot
	fieldDataSequence       protowire.Number = 4  // Data.sequence_id
	fieldGroupStateSequence protowire.Number = 3  // GroupStateUpdate/Snapshot.sequence_id
)

// marshal has a stable order of map entries, so that equal frames have equal bytes.
var marshal = proto.MarshalOptions{Deterministic: true}

// appendProtobuf appends a message that this package built. Encoding fails only for
// strings that are not UTF-8, and every string passes through text first.
func appendProtobuf(dst []byte, m proto.Message) []byte {
	out, err := marshal.MarshalAppend(dst, m)
	if err != nil {
		panic("protocol: " + err.Error())
	}
	return out
}

// text repairs what is not UTF-8, as JSON frames do.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func optionalText(s string) *string {
	if s == "" {
		return nil
	}
	return proto.String(text(s))
}

func textMap(entries map[string]string) map[string]string {
	if len(entries) == 0 {
		return nil
	}
	valid := make(map[string]string, len(entries))
	for key, value := range entries {
		valid[text(key)] = text(value)
	}
	return valid
}

func protobufError(e *ErrorDetail) *pb.DownstreamMessage_Error {
	if e == nil {
		return nil
	}
	return &pb.DownstreamMessage_Error{Name: text(e.Name), Message: text(e.Message)}
}

// protobufData follows the table of section 3.4. Bytes that claim to be an Any
// message but are not would be an unreadable frame for the receiver; they go out as
// binary data.
func protobufData(d Data) *pb.MessageData {
	switch d.Type {
	case JSON:
		return &pb.MessageData{Data: &pb.MessageData_JsonData{JsonData: text(string(d.Bytes))}}
	case Protobuf:
		var message anypb.Any
		if proto.Unmarshal(d.Bytes, &message) == nil {
			return &pb.MessageData{Data: &pb.MessageData_ProtobufData{ProtobufData: &message}}
		}
		return &pb.MessageData{Data: &pb.MessageData_BinaryData{BinaryData: d.Bytes}}
	case Binary:
		return &pb.MessageData{Data: &pb.MessageData_BinaryData{BinaryData: d.Bytes}}
	default:
		return &pb.MessageData{Data: &pb.MessageData_TextData{TextData: text(string(d.Bytes))}}
	}
}

func appendProtobufConnected(dst []byte, c Connected) []byte {
	return appendProtobuf(dst, &pb.DownstreamMessage{Message: &pb.DownstreamMessage_System_{
		System: &pb.DownstreamMessage_System{Message: &pb.DownstreamMessage_System_Connected_{
			Connected: &pb.DownstreamMessage_System_Connected{
				ConnectionId:      text(c.ConnectionID),
				UserId:            text(c.UserID),
				ReconnectionToken: optionalText(c.ReconnectionToken),
			},
		}},
	}})
}

func appendProtobufDisconnected(dst []byte, message string) []byte {
	return appendProtobuf(dst, &pb.DownstreamMessage{Message: &pb.DownstreamMessage_System_{
		System: &pb.DownstreamMessage_System{Message: &pb.DownstreamMessage_System_Disconnected_{
			Disconnected: &pb.DownstreamMessage_System_Disconnected{Reason: text(message)},
		}},
	}})
}

func appendProtobufAck(dst []byte, ackID uint64, failure *ErrorDetail) []byte {
	return appendProtobuf(dst, &pb.DownstreamMessage{Message: &pb.DownstreamMessage_Ack_{
		Ack: &pb.DownstreamMessage_Ack{AckId: ackID, Success: failure == nil, Error: protobufError(failure)},
	}})
}

func appendProtobufPong(dst []byte) []byte {
	return appendProtobuf(dst, &pb.DownstreamMessage{Message: &pb.DownstreamMessage_Pong_{
		Pong: &pb.DownstreamMessage_Pong{},
	}})
}

func appendProtobufInvokeResponse(dst []byte, r *Response) []byte {
	response := &pb.DownstreamMessage_InvokeResponse{
		InvocationId: text(r.InvocationID),
		Success:      r.Error == nil,
		Error:        protobufError(r.Error),
		Metadata:     textMap(r.Metadata),
	}
	if r.Error == nil {
		response.Data = protobufData(r.Data)
	}
	return appendProtobuf(dst, &pb.DownstreamMessage{Message: &pb.DownstreamMessage_InvokeResponse_{
		InvokeResponse: response,
	}})
}

func appendProtobufStreamAck(dst []byte, streamID string, expected uint64) []byte {
	return appendProtobuf(dst, &pb.DownstreamMessage{Message: &pb.DownstreamMessage_StreamAck_{
		StreamAck: &pb.DownstreamMessage_StreamAck{StreamId: text(streamID), ExpectedSequenceId: expected},
	}})
}

func appendProtobufStreamNack(dst []byte, streamID string, expected uint64, reason ErrorDetail) []byte {
	return appendProtobuf(dst, &pb.DownstreamMessage{Message: &pb.DownstreamMessage_StreamNack_{
		StreamNack: &pb.DownstreamMessage_StreamNack{
			StreamId:           text(streamID),
			Name:               text(reason.Name),
			Message:            text(reason.Message),
			ExpectedSequenceId: expected,
		},
	}})
}

func appendProtobufStreamClosed(dst []byte, streamID string, failure *ErrorDetail) []byte {
	return appendProtobuf(dst, &pb.DownstreamMessage{Message: &pb.DownstreamMessage_StreamClosed_{
		StreamClosed: &pb.DownstreamMessage_StreamClosed{StreamId: text(streamID), Error: protobufError(failure)},
	}})
}

// marshalMessage encodes the Data message without its sequence_id. The sender's user
// id has no field in protobuf (section 3.10).
func marshalMessage(m *Message) []byte {
	data := &pb.DownstreamMessage_Data{From: "server", Data: protobufData(m.Data), Metadata: textMap(m.Metadata)}
	if m.Group != "" {
		data.From, data.Group = "group", optionalText(m.Group)
	}
	if s := m.Stream; s != nil {
		data.Stream = &pb.DownstreamMessage_StreamInfo{StreamId: text(s.StreamID), StreamSequenceId: s.SequenceID}
		if s.EndOfStream {
			data.Stream.EndOfStream = proto.Bool(true)
		}
		if s.Error != nil {
			data.Stream.Error = &pb.DownstreamMessage_StreamInfo_Error{
				Name:          text(s.Error.Name),
				Message:       text(s.Error.Message),
				UserErrorCode: text(s.Error.UserErrorCode),
			}
		}
	}
	return appendProtobuf(nil, data)
}

// marshalGroupState encodes the inner message without its sequence_id. Updates and
// snapshots have the same fields.
func marshalGroupState(g *GroupState) []byte {
	inner := &pb.DownstreamMessage_GroupStateUpdate{Group: text(g.Group)}
	for _, item := range g.Items {
		out := &pb.DownstreamMessage_GroupStateItem{
			ConnectionId: text(item.ConnectionID),
			UserId:       optionalText(item.UserID),
			UpdatedAt:    item.UpdatedAt,
		}
		if item.State != nil {
			out.State = &pb.GroupState{Entries: textMap(item.State)}
		}
		inner.Items = append(inner.Items, out)
	}
	return appendProtobuf(nil, inner)
}

// appendProtobufPrefix appends the tag and length of the inner message and its
// sequence_id. Fields may come in any order, so the sequence_id goes first and the
// shared tail follows unchanged.
func appendProtobufPrefix(dst []byte, kind tailKind, seq uint64, tailLength int) []byte {
	outer, sequence := fieldData, fieldDataSequence
	switch kind {
	case tailGroupStateUpdate:
		outer, sequence = fieldGroupStateUpdate, fieldGroupStateSequence
	case tailGroupStateSnapshot:
		outer, sequence = fieldGroupStateSnapshot, fieldGroupStateSequence
	}
	length := tailLength
	if seq != 0 {
		length += protowire.SizeTag(sequence) + protowire.SizeVarint(seq)
	}
	dst = protowire.AppendTag(dst, outer, protowire.BytesType)
	dst = protowire.AppendVarint(dst, uint64(length))
	if seq != 0 {
		dst = protowire.AppendTag(dst, sequence, protowire.VarintType)
		dst = protowire.AppendVarint(dst, seq)
	}
	return dst
}
