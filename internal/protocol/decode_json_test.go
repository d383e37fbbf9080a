package protocol

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDecodeJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in   string
		want Frame
	}{
		{`{"type":"ping"}`, Frame{Type: Ping}},
		{" {\n\"type\" : \"PING\" , \"x\":[{\"}\":\"]\\\"\"}] } ", Frame{Type: Ping}},
		{`{"\u0074ype":"\u0070ing"}`, Frame{Type: Ping}},
		{`{"type":"nope","type":"ping"}`, Frame{Type: Ping}},
		{`{"type":"sequenceAck","sequenceId":812}`, Frame{Type: SequenceAck, SequenceID: 812}},
		{`{"type":"sequenceack","sequenceId":18446744073709551615}`, Frame{Type: SequenceAck, SequenceID: 1<<64 - 1}},
		{`{"type":"joinGroup","group":"room.7","ackId":1}`, Frame{Type: JoinGroup, Group: "room.7", AckID: 1, HasAckID: true}},
		{`{"type":"joinGroup","group":"r","ackId":0}`, Frame{Type: JoinGroup, Group: "r", HasAckID: true}},
		{`{"type":"joinGroup","group":"r","ackId":18446744073709551615}`, Frame{Type: JoinGroup, Group: "r", AckID: 1<<64 - 1, HasAckID: true}},
		{`{"type":"joinGroup","group":"r","ackId":9007199254740993}`, Frame{Type: JoinGroup, Group: "r", AckID: 9007199254740993, HasAckID: true}},
		{`{"type":"leaveGroup","group":"\u00e4\ud83d\ude00","ackId":null}`, Frame{Type: LeaveGroup, Group: "ä😀"}},
		{
			`{"type":"sendToGroup","group":"room.7","ackId":2,"noEcho":true,"dataType":"json","data":{"t": 1.00e+2 },"metadata":{"trace":"a1"}}`,
			Frame{
				Type: SendToGroup, Group: "room.7", AckID: 2, HasAckID: true, NoEcho: true,
				Data: Data{JSON, []byte(`{"t": 1.00e+2 }`)}, Metadata: map[string]string{"trace": "a1"},
			},
		},
		{`{"type":"sendToGroup","group":"r","data":12345678901234567890.10}`, Frame{Type: SendToGroup, Group: "r", Data: Data{JSON, []byte("12345678901234567890.10")}}},
		{`{"type":"sendToGroup","group":"r","noEcho":false,"dataType":"binary","data":"AQI="}`, Frame{Type: SendToGroup, Group: "r", Data: Data{Binary, []byte{1, 2}}}},
		{`{"type":"sendToGroup","group":"r","dataType":"Protobuf","data":""}`, Frame{Type: SendToGroup, Group: "r", Data: Data{Protobuf, []byte{}}}},
		{`{"type":"sendToGroup","group":"r","dataType":"text","data":"","ttlSeconds":300}`, Frame{Type: SendToGroup, Group: "r", Data: Data{Text, []byte{}}, TTLSeconds: 300}},
		{`{"type":"sendToGroup","group":"r","dataType":"json","metadata":{}}`, Frame{Type: SendToGroup, Group: "r", Data: Data{Text, []byte{}}, Metadata: map[string]string{}}},
		{
			`{"type":"sendToGroup","group":"r","noEcho":false,"stream":{"streamId":"s","idleTimeoutMs":60000}}`,
			Frame{Type: SendToGroup, Group: "r", StreamID: "s", StreamStart: &StreamStart{IdleTimeoutMillis: 60000, HasIdleTimeout: true}},
		},
		{`{"type":"sendToGroup","group":"r","stream":{"streamId":"s","idleTimeoutMs":-1,"x":1}}`, Frame{Type: SendToGroup, Group: "r", StreamID: "s", StreamStart: &StreamStart{IdleTimeoutMillis: -1, HasIdleTimeout: true}}},
		{`{"type":"sendToGroup","group":"r","stream":{"streamId":"s","idleTimeoutMs":null}}`, Frame{Type: SendToGroup, Group: "r", StreamID: "s", StreamStart: &StreamStart{}}},
		{`{"type":"event","event":"rename","ackId":3,"dataType":"text","data":"b\"o\n\u2028\ud800b"}`, Frame{Type: Event, Event: "rename", AckID: 3, HasAckID: true, Data: Data{Text, []byte("b\"o\n\u2028\ufffdb")}}},
		{`{"type":"event","event":"e","data":"\u006a"}`, Frame{Type: Event, Event: "e", Data: Data{JSON, []byte(`"\u006a"`)}}},
		{`{"type":"invoke","invocationId":"1","target":"event","event":"sum","dataType":"json","data":[1,2]}`, Frame{Type: Invoke, InvocationID: "1", Event: "sum", Data: Data{JSON, []byte("[1,2]")}}},
		{`{"type":"invoke","invocationId":"1","target":"event","event":"sum"}`, Frame{Type: Invoke, InvocationID: "1", Event: "sum"}},
		{`{"type":"cancelInvocation","invocationId":"1"}`, Frame{Type: CancelInvocation, InvocationID: "1"}},
		{`{"type":"streamData","streamId":"s","streamSequenceId":1,"dataType":"text","data":"part one"}`, Frame{Type: StreamData, StreamID: "s", SequenceID: 1, Data: Data{Text, []byte("part one")}}},
		{`{"type":"streamData","streamId":"s"}`, Frame{Type: StreamData, StreamID: "s", KeepAlive: true}},
		{`{"type":"streamEnd","streamId":"s"}`, Frame{Type: StreamEnd, StreamID: "s"}},
		{`{"type":"streamEnd","streamId":"s","error":{"message":"gave up","userErrorCode":"E42"}}`, Frame{Type: StreamEnd, StreamID: "s", Error: &ErrorDetail{Message: "gave up", UserErrorCode: "E42"}}},
		{`{"type":"streamEnd","streamId":"s","error":{"message":null,"name":"n","z":[]}}`, Frame{Type: StreamEnd, StreamID: "s", Error: &ErrorDetail{Name: "n"}}},
		{`{"type":"setGroupState","group":"r","state":{"typing":"1"},"ackId":9}`, Frame{Type: SetGroupState, Group: "r", AckID: 9, HasAckID: true, State: map[string]string{"typing": "1"}}},
		{`{"type":"setGroupState","group":"r","state":null}`, Frame{Type: SetGroupState, Group: "r"}},
		{`{"type":"setGroupState","group":"r"}`, Frame{Type: SetGroupState, Group: "r"}},
		{`{"type":"subscribeGroupState","group":"r","ackId":1}`, Frame{Type: SubscribeGroupState, Group: "r", AckID: 1, HasAckID: true}},
		{`{"type":"unsubscribeGroupState","group":"r"}`, Frame{Type: UnsubscribeGroupState, Group: "r"}},
		{`{"type":"invokeResponse","invocationId":"1","success":true,"dataType":"text","data":"x"}`, Frame{Type: InvokeResponse, InvocationID: "1", Success: true, Data: Data{Text, []byte("x")}}},
		{`{"type":"invokeResponse","invocationId":"1","success":false,"error":{"name":"n","message":"m"}}`, Frame{Type: InvokeResponse, InvocationID: "1", Error: &ErrorDetail{Name: "n", Message: "m"}}},
	} {
		got := Frame{Group: "stale", Error: &ErrorDetail{}}
		require.NoError(t, Decode(JSONv1, []byte(tc.in), &got, limits), tc.in)
		require.Equal(t, tc.want, got, tc.in)
	}
}

func TestDecodeJSONInvalid(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1025)
	for _, in := range []string{
		``, ` `, `null`, `[]`, `"ping"`, `{`, `{"type":"ping"}x`, `{"type":"ping",}`,
		`{}`, `{"type":null}`, `{"type":1}`, `{"type":""}`, `{"type":"nope"}`, `{"Type":"ping"}`, "{\"type\":\"pin\u212a\"}",
		"{\"type\":\"ping\",\"x\":\"\xff\"}",
		`{"type":"ping","type":"nope"}`,
		// ackId, checked with every type
		`{"type":"ping","ackId":"1"}`, `{"type":"ping","ackId":-1}`, `{"type":"ping","ackId":-0}`, `{"type":"ping","ackId":1.0}`,
		`{"type":"ping","ackId":1e2}`, `{"type":"ping","ackId":true}`, `{"type":"ping","ackId":18446744073709551616}`, `{"type":"ping","ackId":[]}`,
		`{"type":"sequenceAck"}`, `{"type":"sequenceAck","sequenceId":null}`, `{"type":"sequenceAck","sequenceId":"1"}`,
		// group
		`{"type":"joinGroup"}`, `{"type":"joinGroup","group":null}`, `{"type":"joinGroup","group":""}`, `{"type":"joinGroup","group":" \t"}`,
		`{"type":"joinGroup","group":"` + long + `"}`, `{"type":"leaveGroup","group":1}`,
		// sendToGroup
		`{"type":"sendToGroup","group":"r"}`, `{"type":"sendToGroup","group":"r","data":null}`,
		`{"type":"sendToGroup","group":"r","data":null,"metadata":{"a":"b"}}`,
		`{"type":"sendToGroup","group":"r","data":1,"noEcho":null}`, `{"type":"sendToGroup","group":"r","data":1,"noEcho":"true"}`, `{"type":"sendToGroup","group":"r","data":1,"noEcho":1}`,
		`{"type":"sendToGroup","group":"r","data":1,"ttlSeconds":301}`, `{"type":"sendToGroup","group":"r","data":1,"ttlSeconds":-1}`, `{"type":"sendToGroup","group":"r","data":1,"ttlSeconds":"1"}`, `{"type":"sendToGroup","group":"r","data":1,"ttlSeconds":1.5}`,
		`{"type":"sendToGroup","group":"r","dataType":"xml","data":1}`, `{"type":"sendToGroup","group":"r","dataType":null,"data":1}`,
		`{"type":"sendToGroup","group":"r","dataType":"text","data":1}`, `{"type":"sendToGroup","group":"r","dataType":"text","data":null}`,
		`{"type":"sendToGroup","group":"r","dataType":"binary","data":"A"}`, `{"type":"sendToGroup","group":"r","dataType":"binary","data":"_-=="}`, `{"type":"sendToGroup","group":"r","dataType":"binary","data":[1]}`,
		`{"type":"sendToGroup","group":"r","dataType":"protobuf","data":"?"}`,
		`{"type":"sendToGroup","group":"r","data":1,"metadata":[]}`, `{"type":"sendToGroup","group":"r","data":1,"metadata":{"a":1}}`,
		`{"type":"sendToGroup","group":"r","data":1,"metadata":{"a":"1","\u0061":"1"}}`, `{"type":"sendToGroup","group":"r","data":1,"metadata":{"a b":"1"}}`,
		`{"type":"sendToGroup","group":"r","data":1,"metadata":{"a":"` + long + `"}}`, `{"type":"sendToGroup","group":"r","data":1,"metadata":{"a":"ä"}}`,
		`{"type":"sendToGroup","group":"r","stream":{}}`, `{"type":"sendToGroup","group":"r","stream":"s"}`, `{"type":"sendToGroup","group":"r","stream":{"streamId":""}}`,
		`{"type":"sendToGroup","group":"r","stream":{"streamId":"s"},"data":1}`, `{"type":"sendToGroup","group":"r","stream":{"streamId":"s","idleTimeoutMs":1.5}}`,
		`{"type":"sendToGroup","group":"r","stream":{"streamId":"` + long + `"}}`,
		// event, invoke
		`{"type":"event","data":1}`, `{"type":"event","event":"1","data":1}`, `{"type":"event","event":"e"}`,
		`{"type":"invoke","invocationId":"1","event":"e"}`, `{"type":"invoke","invocationId":"1","target":"group","event":"e"}`,
		`{"type":"invoke","invocationId":1,"target":"event","event":"e"}`, `{"type":"invoke","target":"event","event":"e"}`, `{"type":"invoke","invocationId":"","target":"event","event":"e"}`,
		`{"type":"cancelInvocation"}`, `{"type":"cancelInvocation","invocationId":"` + long + `"}`,
		// streams
		`{"type":"streamData"}`, `{"type":"streamData","streamId":"s","streamSequenceId":1}`, `{"type":"streamData","streamId":"s","data":1}`,
		`{"type":"streamData","streamId":"s","streamSequenceId":1,"data":1}`, `{"type":"streamData","streamId":"s","streamSequenceId":0,"dataType":"json","data":1}`,
		`{"type":"streamData","streamId":"s","dataType":"json"}`, `{"type":"streamData","streamId":"s","streamSequenceId":"1","dataType":"json","data":1}`,
		`{"type":"streamEnd"}`, `{"type":"streamEnd","streamId":"s","error":"x"}`, `{"type":"streamEnd","streamId":"s","error":{"message":1}}`,
		// group state
		`{"type":"setGroupState","group":"r","state":[]}`, `{"type":"setGroupState","group":"r","state":{"a":1}}`, `{"type":"setGroupState"}`,
		`{"type":"invokeResponse","invocationId":"1"}`, `{"type":"invokeResponse","invocationId":"1","success":null}`, `{"type":"invokeResponse","success":true}`,
	} {
		var f Frame
		err := Decode(JSONReliableV1, []byte(in), &f, limits)
		var typed *Error
		require.ErrorAs(t, err, &typed, "%.200s", in)
		require.LessOrEqual(t, len(typed.Reason), 123, in)
	}
	require.Error(t, Decode(Simple, []byte(`{"type":"ping"}`), &Frame{}, limits))
}

// Data.Bytes is the only thing that may alias the message, and Own ends that.
func TestDecodeJSONAliasing(t *testing.T) {
	t.Parallel()
	in := []byte(`{"type":"sendToGroup","group":"room","dataType":"text","data":"hello","metadata":{"k":"v"}}`)
	var f Frame
	require.NoError(t, DecodeJSON(in, &f, limits))
	f.Own()
	want := f
	want.Data = f.Data.Clone()
	for i := range in {
		in[i] = '#'
	}
	require.Equal(t, want, f)
	require.Equal(t, "room", f.Group)
	require.Equal(t, "hello", string(f.Data.Bytes))
	require.Equal(t, map[string]string{"k": "v"}, f.Metadata)
}

func TestDecodeJSONDeepNesting(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 9000) + strings.Repeat("]", 9000)
	var f Frame
	require.NoError(t, DecodeJSON([]byte(`{"type":"event","event":"e","data":`+deep+`}`), &f, limits))
	require.Equal(t, deep, string(f.Data.Bytes))
	deeper := strings.Repeat("[", 500_000)
	require.Error(t, DecodeJSON([]byte(`{"type":"event","event":"e","data":`+deeper), &f, limits))
}

func TestDecodeJSONHotFramesDoNotAllocate(t *testing.T) {
	var f Frame
	for _, in := range []string{`{"type":"ping"}`, `{"type":"sequenceAck","sequenceId":812}`} {
		message := []byte(in)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			if DecodeJSON(message, &f, limits) != nil {
				panic(in)
			}
		}), in)
	}
}

// What the scanner reads is what encoding/json reads.
func TestUnquoteMatchesEncodingJSON(t *testing.T) {
	t.Parallel()
	escape := rapid.SampledFrom([]string{`\"`, `\\`, `\/`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0041`, `\u00E4`, `\ud83d\ude00`, `\ud83d`, `\ude00`, `\uD83d\u0041`, `\ud83d\ud83d\ude00`, `\ufffd`, `\ud83d\ufffd`, "ä", "😀", "x", " "})
	rapid.Check(t, func(t *rapid.T) {
		source := []byte(`"` + strings.Join(rapid.SliceOf(escape).Draw(t, "parts"), "") + `"`)
		var want string
		require.NoError(t, json.Unmarshal(source, &want))
		require.Equal(t, want, string(unquote(source)))
	})
}

func FuzzDecodeJSON(f *testing.F) {
	for _, seed := range []string{
		`{"type":"ping"}`,
		`{"type":"sequenceAck","sequenceId":812}`,
		`{"type":"joinGroup","group":"room.7","ackId":1}`,
		`{"type":"sendToGroup","group":"g","ackId":2,"noEcho":true,"dataType":"json","data":{"t":"hi"},"metadata":{"trace":"a1"},"ttlSeconds":3}`,
		`{"type":"sendToGroup","group":"g","dataType":"binary","data":"AQI="}`,
		`{"type":"sendToGroup","group":"g","stream":{"streamId":"s","idleTimeoutMs":60000}}`,
		`{"type":"event","event":"e","dataType":"text","data":"\ud83d\ude00\u2028"}`,
		`{"type":"invoke","invocationId":"1","target":"event","event":"sum","data":[1,2]}`,
		`{"type":"cancelInvocation","invocationId":"1"}`,
		`{"type":"streamData","streamId":"s","streamSequenceId":1,"dataType":"text","data":"x"}`,
		`{"type":"streamEnd","streamId":"s","error":{"message":"m","userErrorCode":"c"}}`,
		`{"type":"setGroupState","group":"g","state":{"a":"b"}}`,
		`{"type":"invokeResponse","invocationId":"1","success":false,"error":{"name":"n","message":"m"}}`,
		`{"type":"\u0070ing","x":{"}":"\\"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var frame Frame
		err := DecodeJSON(in, &frame, limits)
		checkDecoded(t, &frame, err)
		if err != nil {
			return
		}
		// A published message must be a valid frame for every kind of receiver, and
		// its payload must survive.
		for _, sub := range []Subprotocol{JSONv1, ProtobufV1} {
			requirePayloadSurvives(t, sub, &frame)
		}
	})
}

// checkDecoded asserts what holds for every result of a decoder.
func checkDecoded(t *testing.T, frame *Frame, err error) {
	t.Helper()
	if err != nil {
		var typed *Error
		if !errors.As(err, &typed) || typed.Reason == "" {
			t.Fatalf("untyped error %v", err)
		}
		return
	}
	switch frame.Type {
	case 0:
		t.Fatal("no type")
	case JoinGroup, LeaveGroup, SendToGroup, SetGroupState, SubscribeGroupState, UnsubscribeGroupState:
		require.True(t, limits.ValidGroup(frame.Group))
	case Event, Invoke:
		require.True(t, limits.ValidEvent(frame.Event))
	}
	if frame.Data.Type == JSON {
		require.True(t, json.Valid(frame.Data.Bytes))
	}
	require.NoError(t, limits.ValidateMetadata(frame.Metadata))
}
