package protocol

import (
	"encoding/json"

	"google.golang.org/protobuf/proto"

	pb "github.com/message-gateway/gateway/internal/protocol/webpubsubpb"
)

var unmarshal = proto.UnmarshalOptions{DiscardUnknown: true}

// DecodeProtobuf reads one protobuf frame of a client into f, within limits, replacing what was
// there. Its errors are *[Error]. The same rules hold as for JSON frames, with these
// differences: JSON null is a payload here, since it cannot be mistaken for an absent
// one; of a metadata key that occurs twice the last value counts, as in every protobuf
// map; and nothing of f aliases message.
//
// JSON payloads are checked, because they are copied into the frames of JSON clients
// as they are: unchecked they could add properties to them.
func DecodeProtobuf(message []byte, f *Frame, l *Limits) error {
	*f = Frame{}
	var up pb.UpstreamMessage
	if unmarshal.Unmarshal(message, &up) != nil {
		return invalid("frame is not a protobuf message")
	}
	switch m := up.GetMessage().(type) {
	case *pb.UpstreamMessage_Ping_:
		f.Type = Ping
		return nil
	case *pb.UpstreamMessage_SequenceAck_:
		f.Type = SequenceAck
		f.SequenceID = m.SequenceAck.GetSequenceId()
		return nil
	case *pb.UpstreamMessage_Event_:
		f.Type = Event
		f.ackID(m.Event.AckId)
		return f.eventProtobuf(l, m.Event.GetEvent(), m.Event.GetData(), m.Event.GetMetadata(), m.Event.GetStream(), true)
	case *pb.UpstreamMessage_SendToGroup_:
		return f.sendToGroupProtobuf(l, m.SendToGroup)
	case *pb.UpstreamMessage_JoinGroup_:
		return f.groupProtobuf(l, JoinGroup, m.JoinGroup.GetGroup(), m.JoinGroup.AckId)
	case *pb.UpstreamMessage_LeaveGroup_:
		return f.groupProtobuf(l, LeaveGroup, m.LeaveGroup.GetGroup(), m.LeaveGroup.AckId)
	case *pb.UpstreamMessage_SubscribeGroupState_:
		return f.groupProtobuf(l, SubscribeGroupState, m.SubscribeGroupState.GetGroup(), m.SubscribeGroupState.AckId)
	case *pb.UpstreamMessage_UnsubscribeGroupState_:
		return f.groupProtobuf(l, UnsubscribeGroupState, m.UnsubscribeGroupState.GetGroup(), m.UnsubscribeGroupState.AckId)
	case *pb.UpstreamMessage_SetGroupState_:
		if state := m.SetGroupState.GetState(); state != nil {
			if f.State = state.GetEntries(); f.State == nil {
				f.State = map[string]string{}
			}
		}
		return f.groupProtobuf(l, SetGroupState, m.SetGroupState.GetGroup(), m.SetGroupState.AckId)
	case *pb.UpstreamMessage_InvokeEvent_:
		f.Type = Invoke
		f.InvocationID = m.InvokeEvent.GetInvocationId()
		if err := checkInvocationID(f.InvocationID); err != nil {
			return err
		}
		return f.eventProtobuf(l, m.InvokeEvent.GetEvent(), m.InvokeEvent.GetData(), m.InvokeEvent.GetMetadata(), m.InvokeEvent.GetStream(), false)
	case *pb.UpstreamMessage_CancelInvocation_:
		f.Type = CancelInvocation
		f.InvocationID = m.CancelInvocation.GetInvocationId()
		return checkInvocationID(f.InvocationID)
	case *pb.UpstreamMessage_StreamData_:
		return f.streamDataProtobuf(m.StreamData)
	case *pb.UpstreamMessage_StreamEnd_:
		f.Type = StreamEnd
		f.StreamID = m.StreamEnd.GetStreamId()
		if e := m.StreamEnd.GetError(); e != nil {
			f.Error = &ErrorDetail{Message: e.GetMessage(), UserErrorCode: e.GetUserErrorCode()}
		}
		return checkStreamID(f.StreamID)
	default:
		return invalid("unknown type")
	}
}

func (f *Frame) ackID(id *uint64) {
	if id != nil {
		f.AckID, f.HasAckID = *id, true
	}
}

func (f *Frame) groupProtobuf(l *Limits, t FrameType, group string, ackID *uint64) error {
	f.Type, f.Group = t, group
	f.ackID(ackID)
	return l.checkGroup(group)
}

func (f *Frame) sendToGroupProtobuf(l *Limits, m *pb.UpstreamMessage_SendToGroup) error {
	if err := f.groupProtobuf(l, SendToGroup, m.GetGroup(), m.AckId); err != nil {
		return err
	}
	if uint64(m.GetTtlSeconds()) > uint64(l.TTLSeconds) {
		return l.invalidTTL("ttl_seconds")
	}
	f.NoEcho = m.GetNoEcho()
	f.TTLSeconds = m.GetTtlSeconds()
	if err := f.metadataProtobuf(l, m.GetMetadata()); err != nil {
		return err
	}
	return f.dataOrStream(m.GetData(), m.GetStream(), true)
}

func (f *Frame) eventProtobuf(l *Limits, event string, data *pb.MessageData, metadata map[string]string, stream *pb.UpstreamMessage_StreamStart, dataRequired bool) error {
	f.Event = event
	if err := l.checkEvent(event); err != nil {
		return err
	}
	if err := f.metadataProtobuf(l, metadata); err != nil {
		return err
	}
	return f.dataOrStream(data, stream, dataRequired)
}

func (f *Frame) metadataProtobuf(l *Limits, metadata map[string]string) error {
	if len(metadata) == 0 {
		return nil
	}
	f.Metadata = metadata
	return l.ValidateMetadata(metadata)
}

func (f *Frame) dataOrStream(data *pb.MessageData, stream *pb.UpstreamMessage_StreamStart, required bool) error {
	if stream == nil {
		return f.dataProtobuf(data, required)
	}
	if data != nil {
		return invalid("stream and data exclude each other")
	}
	f.StreamID = stream.GetStreamId()
	f.StreamStart = &StreamStart{
		IdleTimeoutMillis: int64(stream.GetIdleTimeoutMs()),
		HasIdleTimeout:    stream.IdleTimeoutMs != nil,
	}
	return checkStreamID(f.StreamID)
}

func (f *Frame) streamDataProtobuf(m *pb.UpstreamMessage_StreamData) error {
	f.Type = StreamData
	f.StreamID = m.GetStreamId()
	if err := checkStreamID(f.StreamID); err != nil {
		return err
	}
	if m.StreamSequenceId == nil && m.GetData() == nil {
		f.KeepAlive = true
		return nil
	}
	if m.GetStreamSequenceId() == 0 || m.GetData() == nil {
		return invalid("stream_data needs both stream_sequence_id and data, or none")
	}
	f.SequenceID = m.GetStreamSequenceId()
	return f.dataProtobuf(m.GetData(), true)
}

func (f *Frame) dataProtobuf(data *pb.MessageData, required bool) error {
	switch d := data.GetData().(type) {
	case *pb.MessageData_TextData:
		f.Data = Data{Type: Text, Bytes: []byte(d.TextData)}
	case *pb.MessageData_BinaryData:
		f.Data = Data{Type: Binary, Bytes: d.BinaryData}
	case *pb.MessageData_JsonData:
		f.Data = Data{Type: JSON, Bytes: []byte(d.JsonData)}
		if !json.Valid(f.Data.Bytes) {
			return invalid("json_data is not JSON")
		}
	case *pb.MessageData_ProtobufData:
		encoded, err := proto.Marshal(d.ProtobufData)
		if err != nil {
			return invalid("protobuf_data is not valid")
		}
		f.Data = Data{Type: Protobuf, Bytes: encoded}
	default:
		switch {
		case f.Metadata != nil:
			f.Data = Data{Type: Text, Bytes: []byte{}}
		case required:
			return invalid("data is missing")
		}
	}
	return nil
}
