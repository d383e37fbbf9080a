package protocol

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/message-gateway/gateway/internal/protocol/webpubsubpb"
)

func textData(s string) *pb.MessageData {
	return &pb.MessageData{Data: &pb.MessageData_TextData{TextData: s}}
}

func jsonData(s string) *pb.MessageData {
	return &pb.MessageData{Data: &pb.MessageData_JsonData{JsonData: s}}
}

func sendToGroup(m *pb.UpstreamMessage_SendToGroup) *pb.UpstreamMessage {
	return &pb.UpstreamMessage{Message: &pb.UpstreamMessage_SendToGroup_{SendToGroup: m}}
}

func event(m *pb.UpstreamMessage_Event) *pb.UpstreamMessage {
	return &pb.UpstreamMessage{Message: &pb.UpstreamMessage_Event_{Event: m}}
}

func invoke(m *pb.UpstreamMessage_InvokeEvent) *pb.UpstreamMessage {
	return &pb.UpstreamMessage{Message: &pb.UpstreamMessage_InvokeEvent_{InvokeEvent: m}}
}

func streamData(m *pb.UpstreamMessage_StreamData) *pb.UpstreamMessage {
	return &pb.UpstreamMessage{Message: &pb.UpstreamMessage_StreamData_{StreamData: m}}
}

func setGroupState(m *pb.UpstreamMessage_SetGroupState) *pb.UpstreamMessage {
	return &pb.UpstreamMessage{Message: &pb.UpstreamMessage_SetGroupState_{SetGroupState: m}}
}

// The vectors of section 3.10.
func TestDecodeProtobufVectors(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Frame{
		"32 07 0A 05 67 72 6F 75 70":    {Type: JoinGroup, Group: "group"},
		"32 08 0A 04 72 6F 6F 6D 10 00": {Type: JoinGroup, Group: "room", HasAckID: true},
		"42 04 08 C0 C4 07":             {Type: SequenceAck, SequenceID: 123456},
		"4A 00":                         {Type: Ping},
		// unknown fields are ignored
		"4A 03 98 06 01 98 06 01": {Type: Ping},
	} {
		got := Frame{Group: "stale"}
		require.NoError(t, Decode(ProtobufReliableV1, unhex(t, in), &got, limits), in)
		require.Equal(t, want, got, in)
	}
}

func TestDecodeProtobuf(t *testing.T) {
	t.Parallel()
	anyMessage := &anypb.Any{TypeUrl: "type.example/x", Value: []byte{1}}
	anyBytes, err := proto.Marshal(anyMessage)
	require.NoError(t, err)
	metadata := map[string]string{"k": "v"}
	for _, tc := range []struct {
		in   *pb.UpstreamMessage
		want Frame
	}{
		{
			sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g", AckId: proto.Uint64(1<<64 - 1), NoEcho: proto.Bool(true), TtlSeconds: proto.Uint32(300), Data: textData("hi"), Metadata: metadata}),
			Frame{Type: SendToGroup, Group: "g", AckID: 1<<64 - 1, HasAckID: true, NoEcho: true, TTLSeconds: 300, Data: Data{Text, []byte("hi")}, Metadata: metadata},
		},
		{sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g", Metadata: metadata}), Frame{Type: SendToGroup, Group: "g", Data: Data{Text, []byte{}}, Metadata: metadata}},
		{sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g", Data: textData("")}), Frame{Type: SendToGroup, Group: "g", Data: Data{Text, []byte{}}}},
		{
			sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g", Stream: &pb.UpstreamMessage_StreamStart{StreamId: "s", IdleTimeoutMs: proto.Uint32(0)}}),
			Frame{Type: SendToGroup, Group: "g", StreamID: "s", StreamStart: &StreamStart{HasIdleTimeout: true}},
		},
		{event(&pb.UpstreamMessage_Event{Event: "e", AckId: proto.Uint64(0), Data: jsonData(" null")}), Frame{Type: Event, Event: "e", HasAckID: true, Data: Data{JSON, []byte(" null")}}},
		{
			event(&pb.UpstreamMessage_Event{Event: "e", Data: &pb.MessageData{Data: &pb.MessageData_ProtobufData{ProtobufData: anyMessage}}}),
			Frame{Type: Event, Event: "e", Data: Data{Protobuf, anyBytes}},
		},
		{event(&pb.UpstreamMessage_Event{Event: "e", Stream: &pb.UpstreamMessage_StreamStart{StreamId: "s"}}), Frame{Type: Event, Event: "e", StreamID: "s", StreamStart: &StreamStart{}}},
		{invoke(&pb.UpstreamMessage_InvokeEvent{Event: "e", InvocationId: "1"}), Frame{Type: Invoke, Event: "e", InvocationID: "1"}},
		{
			&pb.UpstreamMessage{Message: &pb.UpstreamMessage_LeaveGroup_{LeaveGroup: &pb.UpstreamMessage_LeaveGroup{Group: "g", AckId: proto.Uint64(4)}}},
			Frame{Type: LeaveGroup, Group: "g", AckID: 4, HasAckID: true},
		},
		{
			&pb.UpstreamMessage{Message: &pb.UpstreamMessage_CancelInvocation_{CancelInvocation: &pb.UpstreamMessage_CancelInvocation{InvocationId: "1"}}},
			Frame{Type: CancelInvocation, InvocationID: "1"},
		},
		{streamData(&pb.UpstreamMessage_StreamData{StreamId: "s"}), Frame{Type: StreamData, StreamID: "s", KeepAlive: true}},
		{
			streamData(&pb.UpstreamMessage_StreamData{StreamId: "s", StreamSequenceId: proto.Uint64(2), Data: &pb.MessageData{Data: &pb.MessageData_BinaryData{BinaryData: []byte{9}}}}),
			Frame{Type: StreamData, StreamID: "s", SequenceID: 2, Data: Data{Binary, []byte{9}}},
		},
		{
			&pb.UpstreamMessage{Message: &pb.UpstreamMessage_StreamEnd_{StreamEnd: &pb.UpstreamMessage_StreamEnd{StreamId: "s", Error: &pb.UpstreamMessage_StreamEnd_Error{Message: proto.String("m"), UserErrorCode: proto.String("c")}}}},
			Frame{Type: StreamEnd, StreamID: "s", Error: &ErrorDetail{Message: "m", UserErrorCode: "c"}},
		},
		{setGroupState(&pb.UpstreamMessage_SetGroupState{Group: "g"}), Frame{Type: SetGroupState, Group: "g"}},
		{setGroupState(&pb.UpstreamMessage_SetGroupState{Group: "g", State: &pb.GroupState{}}), Frame{Type: SetGroupState, Group: "g", State: map[string]string{}}},
		{setGroupState(&pb.UpstreamMessage_SetGroupState{Group: "g", State: &pb.GroupState{Entries: metadata}}), Frame{Type: SetGroupState, Group: "g", State: metadata}},
		{
			&pb.UpstreamMessage{Message: &pb.UpstreamMessage_SubscribeGroupState_{SubscribeGroupState: &pb.UpstreamMessage_SubscribeGroupState{Group: "g"}}},
			Frame{Type: SubscribeGroupState, Group: "g"},
		},
		{
			&pb.UpstreamMessage{Message: &pb.UpstreamMessage_UnsubscribeGroupState_{UnsubscribeGroupState: &pb.UpstreamMessage_UnsubscribeGroupState{Group: "g"}}},
			Frame{Type: UnsubscribeGroupState, Group: "g"},
		},
	} {
		wire, err := proto.Marshal(tc.in)
		require.NoError(t, err)
		var got Frame
		require.NoError(t, Decode(ProtobufV1, wire, &got, limits), "%v", tc.in)
		for i := range wire { // nothing aliases the message
			wire[i] = 0
		}
		require.Equal(t, tc.want, got, "%v", tc.in)
	}
}

func TestDecodeProtobufInvalid(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]*pb.UpstreamMessage{
		"empty":               {},
		"group":               sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: " ", Data: textData("")}),
		"ttl":                 sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g", Data: textData(""), TtlSeconds: proto.Uint32(301)}),
		"no data":             sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g"}),
		"empty data":          sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g", Data: &pb.MessageData{}}),
		"metadata":            sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g", Metadata: map[string]string{"k": "\n"}}),
		"stream with data":    sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g", Data: textData(""), Stream: &pb.UpstreamMessage_StreamStart{StreamId: "s"}}),
		"stream without id":   sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g", Stream: &pb.UpstreamMessage_StreamStart{}}),
		"event name":          event(&pb.UpstreamMessage_Event{Event: "1", Data: textData("")}),
		"event without data":  event(&pb.UpstreamMessage_Event{Event: "e"}),
		"json injection":      event(&pb.UpstreamMessage_Event{Event: "e", Data: jsonData(`1,"from":"server"`)}),
		"json empty":          event(&pb.UpstreamMessage_Event{Event: "e", Data: jsonData(``)}),
		"invocation":          invoke(&pb.UpstreamMessage_InvokeEvent{Event: "e"}),
		"invocation length":   invoke(&pb.UpstreamMessage_InvokeEvent{Event: "e", InvocationId: strings.Repeat("1", 1025)}),
		"stream data id":      streamData(&pb.UpstreamMessage_StreamData{}),
		"stream data alone":   streamData(&pb.UpstreamMessage_StreamData{StreamId: "s", Data: textData("")}),
		"stream number alone": streamData(&pb.UpstreamMessage_StreamData{StreamId: "s", StreamSequenceId: proto.Uint64(1)}),
		"stream number zero":  streamData(&pb.UpstreamMessage_StreamData{StreamId: "s", StreamSequenceId: proto.Uint64(0), Data: textData("")}),
		"state group":         setGroupState(&pb.UpstreamMessage_SetGroupState{}),
	} {
		wire, err := proto.Marshal(in)
		require.NoError(t, err)
		var typed *Error
		require.ErrorAs(t, Decode(ProtobufV1, wire, &Frame{}, limits), &typed, name)
	}
	for _, wire := range []string{"\xff", "\x4a\x01", "\x32\x03\x0a\x01\xff"} {
		var typed *Error
		require.ErrorAs(t, Decode(ProtobufV1, []byte(wire), &Frame{}, limits), &typed, "%x", wire)
	}
}

func FuzzDecodeProtobuf(f *testing.F) {
	for _, seed := range []*pb.UpstreamMessage{
		{Message: &pb.UpstreamMessage_Ping_{Ping: &pb.UpstreamMessage_Ping{}}},
		{Message: &pb.UpstreamMessage_SequenceAck_{SequenceAck: &pb.UpstreamMessage_SequenceAck{SequenceId: 123456}}},
		{Message: &pb.UpstreamMessage_JoinGroup_{JoinGroup: &pb.UpstreamMessage_JoinGroup{Group: "room", AckId: proto.Uint64(0)}}},
		sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g", Data: jsonData(`{"a":1}`), Metadata: map[string]string{"k": "v"}, TtlSeconds: proto.Uint32(3)}),
		sendToGroup(&pb.UpstreamMessage_SendToGroup{Group: "g", Stream: &pb.UpstreamMessage_StreamStart{StreamId: "s"}}),
		event(&pb.UpstreamMessage_Event{Event: "e", Data: &pb.MessageData{Data: &pb.MessageData_ProtobufData{ProtobufData: &anypb.Any{TypeUrl: "t"}}}}),
		invoke(&pb.UpstreamMessage_InvokeEvent{Event: "e", InvocationId: "1", Data: textData("x")}),
		streamData(&pb.UpstreamMessage_StreamData{StreamId: "s", StreamSequenceId: proto.Uint64(2), Data: textData("x")}),
		setGroupState(&pb.UpstreamMessage_SetGroupState{Group: "g", State: &pb.GroupState{Entries: map[string]string{"a": "b"}}}),
	} {
		wire, err := proto.Marshal(seed)
		require.NoError(f, err)
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var frame Frame
		err := DecodeProtobuf(in, &frame, limits)
		checkDecoded(t, &frame, err)
		if err != nil {
			return
		}
		for _, sub := range []Subprotocol{JSONv1, ProtobufV1} {
			requirePayloadSurvives(t, sub, &frame)
		}
	})
}
