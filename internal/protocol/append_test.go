package protocol

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"pgregory.net/rapid"

	pb "github.com/message-gateway/gateway/internal/protocol/webpubsubpb"
)

func TestAppendJSON(t *testing.T) {
	t.Parallel()
	forbidden := &ErrorDetail{Name: "Forbidden", Message: "not allowed to publish to room.7"}
	for _, tc := range []struct{ got, want string }{
		{string(AppendConnected(nil, JSONv1, Connected{ConnectionID: "6f1c"})), `{"type":"system","event":"connected","connectionId":"6f1c"}`},
		{
			string(AppendConnected(nil, JSONReliableV1, Connected{ConnectionID: "6f1c", UserID: "u\"1", ReconnectionToken: "opaque"})),
			`{"type":"system","event":"connected","userId":"u\"1","connectionId":"6f1c","reconnectionToken":"opaque"}`,
		},
		{string(AppendDisconnected(nil, JSONv1, "bye")), `{"type":"system","event":"disconnected","message":"bye"}`},
		{string(AppendAck(nil, JSONv1, 1<<64-1, nil)), `{"type":"ack","ackId":18446744073709551615,"success":true}`},
		{string(AppendAck(nil, JSONv1, 2, forbidden)), `{"type":"ack","ackId":2,"success":false,"error":{"name":"Forbidden","message":"not allowed to publish to room.7"}}`},
		{string(AppendPong(nil, JSONv1)), `{"type":"pong"}`},
		{string(AppendInvokeResponse(nil, JSONv1, &Response{InvocationID: "1", Data: Data{JSON, []byte("3")}})), `{"type":"invokeResponse","invocationId":"1","success":true,"dataType":"json","data":3}`},
		{string(AppendInvokeResponse(nil, JSONv1, &Response{InvocationID: "1", Metadata: map[string]string{"b": "2", "a": "1"}})), `{"type":"invokeResponse","invocationId":"1","success":true,"dataType":"text","data":"","metadata":{"a":"1","b":"2"}}`},
		{string(AppendInvokeResponse(nil, JSONv1, &Response{InvocationID: "1", Error: &ErrorDetail{Name: "n", Message: "m"}})), `{"type":"invokeResponse","invocationId":"1","success":false,"error":{"name":"n","message":"m"}}`},
		{string(AppendStreamAck(nil, JSONv1, "s", 1)), `{"type":"streamAck","streamId":"s","expectedSequenceId":1}`},
		{string(AppendStreamNack(nil, JSONv1, "s", 4, ErrorDetail{Name: "InvalidSequenceId", Message: "m"})), `{"type":"streamNack","streamId":"s","expectedSequenceId":4,"name":"InvalidSequenceId","message":"m"}`},
		{string(AppendStreamClosed(nil, JSONv1, "s", nil)), `{"type":"streamClosed","streamId":"s"}`},
		{string(AppendStreamClosed(nil, JSONv1, "s", &ErrorDetail{Name: "StreamNotFound", Message: "m"})), `{"type":"streamClosed","streamId":"s","error":{"name":"StreamNotFound","message":"m"}}`},
	} {
		require.Equal(t, tc.want, tc.got)
	}
}

func TestMessageTailJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		message Message
		seq     uint64
		want    string
	}{
		{
			Message{Group: "room.7", FromUserID: "u1", Data: Data{JSON, []byte(`{"t": 1.0}`)}}, 5,
			`{"sequenceId":5,"type":"message","from":"group","group":"room.7","fromUserId":"u1","dataType":"json","data":{"t": 1.0}}`,
		},
		{Message{Data: Data{Text, []byte("welcome")}}, 0, `{"type":"message","from":"server","dataType":"text","data":"welcome"}`},
		{Message{Data: Data{Binary, []byte{1, 2}}, Metadata: map[string]string{"k": "v"}}, 6, `{"sequenceId":6,"type":"message","from":"server","dataType":"binary","data":"AQI=","metadata":{"k":"v"}}`},
		{Message{Data: Data{Protobuf, nil}}, 6, `{"sequenceId":6,"type":"message","from":"server","dataType":"protobuf","data":""}`},
		{Message{Data: Data{JSON, nil}}, 6, `{"sequenceId":6,"type":"message","from":"server","dataType":"json","data":null}`},
		{Message{}, 0, `{"type":"message","from":"server","dataType":"text","data":""}`},
		{
			Message{Group: "g", Data: Data{Text, nil}, Stream: &StreamInfo{StreamID: "s", SequenceID: 2, EndOfStream: true, Error: &ErrorDetail{Name: "UserError", Message: "m", UserErrorCode: "E42"}}}, 7,
			`{"sequenceId":7,"type":"message","from":"group","group":"g","dataType":"text","data":"","stream":{"streamId":"s","streamSequenceId":2,"endOfStream":true,"error":{"name":"UserError","message":"m","userErrorCode":"E42"}}}`,
		},
	} {
		for _, sub := range []Subprotocol{JSONv1, JSONReliableV1} {
			tail := MessageTail(sub, &tc.message)
			require.False(t, tail.Binary())
			got := tail.AppendFrame(nil, tc.seq)
			require.Equal(t, tc.want, string(got))
			require.True(t, json.Valid(got))
		}
	}
}

func TestGroupStateTail(t *testing.T) {
	t.Parallel()
	g := &GroupState{Group: "g", Items: []GroupStateItem{
		{ConnectionID: "c1", UserID: "u", State: map[string]string{"b": "2", "a": "1"}, UpdatedAt: 1700000000000},
		{ConnectionID: "c2", UpdatedAt: -1},
	}}
	wantUpdate := `{"sequenceId":9,"type":"groupStateUpdate","group":"g","items":[{"connectionId":"c1","userId":"u","state":{"a":"1","b":"2"},"updatedAt":1700000000000},{"connectionId":"c2","updatedAt":-1}]}`
	require.Equal(t, wantUpdate, string(GroupStateTail(JSONReliableV1, g).AppendFrame(nil, 9)))
	wantSnapshot := `{"type":"groupStateSnapshot","group":"g","items":[]}`
	require.Equal(t, wantSnapshot, string(GroupStateTail(JSONv1, &GroupState{Group: "g", Snapshot: true}).AppendFrame(nil, 0)))
	require.Empty(t, GroupStateTail(Simple, g).AppendFrame(nil, 9))

	var down pb.DownstreamMessage
	require.NoError(t, proto.Unmarshal(GroupStateTail(ProtobufReliableV1, g).AppendFrame(nil, 300), &down))
	update := down.GetGroupStateUpdate()
	require.Equal(t, uint64(300), update.GetSequenceId())
	require.Equal(t, map[string]string{"a": "1", "b": "2"}, update.GetItems()[0].GetState().GetEntries())
	require.Nil(t, update.GetItems()[1].GetState())
	require.Nil(t, update.GetItems()[1].UserId)
	g.Snapshot = true
	require.NoError(t, proto.Unmarshal(GroupStateTail(ProtobufV1, g).AppendFrame(nil, 0), &down))
	require.Nil(t, down.GetGroupStateSnapshot().SequenceId)
	require.Len(t, down.GetGroupStateSnapshot().GetItems(), 2)
}

func TestSimplePayload(t *testing.T) {
	t.Parallel()
	for dataType, wantBinary := range map[DataType]bool{Text: false, JSON: false, Binary: true, Protobuf: true} {
		d := Data{dataType, []byte(`{"a": 1}`)}
		payload, binary := SimplePayload(d)
		require.Equal(t, d.Bytes, payload)
		require.Equal(t, wantBinary, binary)
		tail := MessageTail(Simple, &Message{Data: d})
		require.Equal(t, wantBinary, tail.Binary())
		require.Equal(t, d.Bytes, tail.AppendFrame(nil, 3))
	}
}

func TestSimpleClientsGetNoFrames(t *testing.T) {
	t.Parallel()
	b := []byte("x")
	b = AppendConnected(b, Simple, Connected{})
	b = AppendDisconnected(b, Simple, "m")
	b = AppendAck(b, Simple, 1, nil)
	b = AppendPong(b, Simple)
	b = AppendInvokeResponse(b, Simple, &Response{})
	b = AppendStreamAck(b, Simple, "s", 1)
	b = AppendStreamNack(b, Simple, "s", 1, ErrorDetail{})
	b = AppendStreamClosed(b, Simple, "s", nil)
	require.Equal(t, "x", string(b))
}

// The vectors of section 3.10.
func TestProtobufVectors(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		got  []byte
		want string
	}{
		{"ack", AppendAck(nil, ProtobufV1, 1, nil), "0A 04 08 01 10 01"},
		{"pong", AppendPong(nil, ProtobufV1), "22 00"},
		{"connected", AppendConnected(nil, ProtobufReliableV1, Connected{ConnectionID: "c1", UserID: "u", ReconnectionToken: "t"}), "1A 0C 0A 0A 0A 02 63 31 12 01 75 1A 01 74"},
		{"disconnected", AppendDisconnected(nil, ProtobufV1, "bye"), "1A 07 12 05 12 03 62 79 65"},
	} {
		require.Equal(t, unhex(t, tc.want), tc.got, tc.name)
	}

	// The sequence number goes first in our frame and last in the vector: same
	// length, same message.
	vector := unhex(t, "12 12 0A 05 67 72 6F 75 70 12 01 67 1A 04 0A 02 68 69 20 01")
	frame := MessageTail(ProtobufReliableV1, &Message{Group: "g", Data: Data{Text, []byte("hi")}}).AppendFrame(nil, 1)
	require.Len(t, frame, len(vector))
	var want, got pb.DownstreamMessage
	require.NoError(t, proto.Unmarshal(vector, &want))
	require.NoError(t, proto.Unmarshal(frame, &got))
	require.True(t, proto.Equal(&want, &got))
	again, err := proto.MarshalOptions{Deterministic: true}.Marshal(&got)
	require.NoError(t, err)
	require.Equal(t, vector, again)
}

func TestProtobufFrames(t *testing.T) {
	t.Parallel()
	parse := func(frame []byte) *pb.DownstreamMessage {
		var down pb.DownstreamMessage
		require.NoError(t, proto.Unmarshal(frame, &down))
		return &down
	}
	failure := &ErrorDetail{Name: "n", Message: "m\xff"}

	ack := parse(AppendAck(nil, ProtobufV1, 0, failure)).GetAck()
	require.False(t, ack.GetSuccess())
	require.Equal(t, "m\ufffd", ack.GetError().GetMessage())

	response := parse(AppendInvokeResponse(nil, ProtobufV1, &Response{InvocationID: "1", Data: Data{JSON, []byte("3")}, Metadata: map[string]string{"k": "v"}})).GetInvokeResponse()
	require.True(t, response.GetSuccess())
	require.Equal(t, "3", response.GetData().GetJsonData())
	require.Equal(t, map[string]string{"k": "v"}, response.GetMetadata())
	response = parse(AppendInvokeResponse(nil, ProtobufV1, &Response{InvocationID: "1", Error: failure})).GetInvokeResponse()
	require.False(t, response.GetSuccess())
	require.Nil(t, response.GetData())
	require.Equal(t, "n", response.GetError().GetName())

	require.Equal(t, uint64(7), parse(AppendStreamAck(nil, ProtobufV1, "s", 7)).GetStreamAck().GetExpectedSequenceId())
	nack := parse(AppendStreamNack(nil, ProtobufV1, "s", 7, *failure)).GetStreamNack()
	require.Equal(t, "n", nack.GetName())
	require.Equal(t, uint64(7), nack.GetExpectedSequenceId())
	require.Nil(t, parse(AppendStreamClosed(nil, ProtobufV1, "s", nil)).GetStreamClosed().GetError())
	require.Equal(t, "n", parse(AppendStreamClosed(nil, ProtobufV1, "s", failure)).GetStreamClosed().GetError().GetName())
	require.Nil(t, parse(AppendConnected(nil, ProtobufV1, Connected{ConnectionID: "c"})).GetSystem().GetConnected().ReconnectionToken)

	data := parse(MessageTail(ProtobufV1, &Message{
		Data:     Data{Text, nil},
		Metadata: map[string]string{"k": "v"},
		Stream:   &StreamInfo{StreamID: "s", SequenceID: 2, EndOfStream: true, Error: &ErrorDetail{Name: "UserError", UserErrorCode: "E"}},
	}).AppendFrame(nil, 0)).GetData()
	require.Equal(t, "server", data.GetFrom())
	require.Nil(t, data.Group)
	require.Nil(t, data.SequenceId)
	require.Equal(t, "E", data.GetStream().GetError().GetUserErrorCode())
	require.True(t, data.GetStream().GetEndOfStream())

	notAny := parse(MessageTail(ProtobufV1, &Message{Data: Data{Protobuf, []byte{0xff}}}).AppendFrame(nil, 0)).GetData()
	require.Equal(t, []byte{0xff}, notAny.GetData().GetBinaryData())
}

func TestPrefixFieldNumbers(t *testing.T) {
	t.Parallel()
	number := func(message proto.Message, field string) protoreflect.FieldNumber {
		return message.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(field)).Number()
	}
	require.Equal(t, fieldData, number(&pb.DownstreamMessage{}, "data"))
	require.Equal(t, fieldGroupStateUpdate, number(&pb.DownstreamMessage{}, "group_state_update"))
	require.Equal(t, fieldGroupStateSnapshot, number(&pb.DownstreamMessage{}, "group_state_snapshot"))
	require.Equal(t, fieldDataSequence, number(&pb.DownstreamMessage_Data{}, "sequence_id"))
	require.Equal(t, fieldGroupStateSequence, number(&pb.DownstreamMessage_GroupStateUpdate{}, "sequence_id"))
	require.Equal(t, fieldGroupStateSequence, number(&pb.DownstreamMessage_GroupStateSnapshot{}, "sequence_id"))
}

func TestPrefixIsBounded(t *testing.T) {
	t.Parallel()
	for _, tail := range []Tail{
		MessageTail(JSONv1, &Message{}), MessageTail(ProtobufV1, &Message{}),
		{sub: ProtobufV1, bytes: make([]byte, 1<<20), kind: tailGroupStateSnapshot},
	} {
		require.LessOrEqual(t, len(tail.AppendPrefix(nil, 1<<64-1)), MaxPrefix)
	}
}

func TestSharedEncodesOnce(t *testing.T) {
	t.Parallel()
	message := &Message{Group: "g", Data: Data{Text, []byte("hi")}}
	encodesOnce(t, NewShared(*message), func(sub Subprotocol) Tail { return MessageTail(sub, message) })
	for _, snapshot := range []bool{false, true} {
		state := &GroupState{Group: "g", Snapshot: snapshot, Items: []GroupStateItem{{ConnectionID: "c", State: map[string]string{"k": "v"}, UpdatedAt: 1}}}
		shared := NewSharedState(state)
		require.Same(t, state, shared.State())
		encodesOnce(t, shared, func(sub Subprotocol) Tail { return GroupStateTail(sub, state) })
	}
}

func encodesOnce(t *testing.T, shared *Shared, encode func(Subprotocol) Tail) {
	t.Helper()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for _, sub := range []Subprotocol{Simple, JSONv1, JSONReliableV1, ProtobufV1, ProtobufReliableV1} {
				got := shared.Tail(sub)
				want := encode(sub)
				if !bytes.Equal(want.AppendFrame(nil, 3), got.AppendFrame(nil, 3)) || want.Binary() != got.Binary() {
					t.Errorf("tail of %q differs", sub)
				}
			}
		})
	}
	wg.Wait()
	a, b := shared.Tail(JSONv1).Bytes(), shared.Tail(JSONReliableV1).Bytes()
	require.Same(t, &a[0], &b[0])
}

func TestJSONStringMatchesEncodingJSON(t *testing.T) {
	t.Parallel()
	check := func(t require.TestingT, s string) {
		var want bytes.Buffer
		encoder := json.NewEncoder(&want)
		encoder.SetEscapeHTML(false)
		require.NoError(t, encoder.Encode(s))
		require.Equal(t, strings.TrimSuffix(want.String(), "\n"), string(appendJSONString(nil, s)))
		require.Equal(t, string(appendJSONString(nil, s)), string(appendJSONString(nil, []byte(s))))
	}
	for c := range 256 {
		check(t, "a"+string([]byte{byte(c)})+"b")
	}
	check(t, "\u2028\u2029\u202a\ufffd\xe2\x80 \xed\xa0\x80 <>&😀")
	rapid.Check(t, func(t *rapid.T) {
		check(t, rapid.String().Draw(t, "text"))
		check(t, string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")))
	})
}

// Any message round trips through both encodings, with any sequence number.
func TestMessageFramesAreReadable(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := Message{
			Group:      rapid.String().Draw(t, "group"),
			FromUserID: rapid.String().Draw(t, "user"),
			Data:       Data{Text, []byte(rapid.String().Draw(t, "text"))},
			Metadata:   rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "metadata"),
		}
		seq := rapid.Uint64().Draw(t, "seq")

		var in struct {
			SequenceID              uint64 `json:"sequenceId"`
			From, Group, FromUserID string
			DataType, Data          string
			Metadata                map[string]string
		}
		require.NoError(t, json.Unmarshal(MessageTail(JSONReliableV1, &m).AppendFrame(nil, seq), &in))
		require.Equal(t, seq, in.SequenceID)
		require.Equal(t, m.Group, in.Group)
		require.Equal(t, string(m.Data.Bytes), in.Data)
		require.Len(t, in.Metadata, len(m.Metadata))

		var down pb.DownstreamMessage
		require.NoError(t, proto.Unmarshal(MessageTail(ProtobufReliableV1, &m).AppendFrame(nil, seq), &down))
		require.Equal(t, seq, down.GetData().GetSequenceId())
		require.Equal(t, m.Group, down.GetData().GetGroup())
		require.Equal(t, string(m.Data.Bytes), down.GetData().GetData().GetTextData())
		require.Empty(t, down.GetData().ProtoReflect().GetUnknown())
	})
}

// requirePayloadSurvives publishes a decoded frame's payload and reads it back as a
// receiver does.
func requirePayloadSurvives(t *testing.T, sub Subprotocol, f *Frame) {
	t.Helper()
	if !f.Data.Present() {
		return
	}
	frame := MessageTail(sub, &Message{Group: "g", Data: f.Data, Metadata: f.Metadata}).AppendFrame(nil, 1)
	if !sub.Binary() {
		var in struct {
			DataType string
			Data     json.RawMessage
		}
		require.True(t, utf8.Valid(frame))
		require.NoError(t, json.Unmarshal(frame, &in))
		require.Equal(t, f.Data.Type.String(), in.DataType)
		switch f.Data.Type {
		case JSON:
			require.Equal(t, bytes.TrimSpace(f.Data.Bytes), []byte(in.Data))
		case Text:
			var s string
			require.NoError(t, json.Unmarshal(in.Data, &s))
			require.Equal(t, string(f.Data.Bytes), s)
		default:
			var b []byte
			require.NoError(t, json.Unmarshal(in.Data, &b))
			require.Equal(t, string(f.Data.Bytes), string(b))
		}
		return
	}
	var down pb.DownstreamMessage
	require.NoError(t, proto.Unmarshal(frame, &down))
	data := down.GetData().GetData()
	switch f.Data.Type {
	case JSON:
		require.Equal(t, string(f.Data.Bytes), data.GetJsonData())
	case Text:
		require.Equal(t, string(f.Data.Bytes), data.GetTextData())
	case Binary:
		require.Equal(t, string(f.Data.Bytes), string(data.GetBinaryData()))
	case Protobuf:
		if data.GetProtobufData() == nil {
			require.Equal(t, string(f.Data.Bytes), string(data.GetBinaryData()))
			return
		}
		var want anypb.Any
		require.NoError(t, proto.Unmarshal(f.Data.Bytes, &want))
		require.True(t, proto.Equal(&want, data.GetProtobufData()))
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	require.NoError(t, err)
	return b
}
