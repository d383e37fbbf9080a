package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var at = time.Date(2026, 11, 21, 21, 0, 0, 999_999, time.FixedZone("", 3600))

func TestReliableEnvelopeIsThatOfTheDesign(t *testing.T) {
	t.Parallel()
	e := Envelope{Type: Reliable, ID: "m1", Seq: 7, Payload: json.RawMessage(`{"a":"<&>"}`), Sender: Sender{Type: "server", ID: "backend_1"}, SentAt: at}
	for _, c := range []struct {
		name    string
		change  func(*Envelope)
		payload string
	}{
		{"json", func(*Envelope) {}, `"payload":{"a":"<&>"}`},
		{"none", func(e *Envelope) { e.Payload = nil }, `"payload":null`},
		{"text", func(e *Envelope) { e.Payload = WrapText("<hi>") }, `"payload":"\u003chi\u003e","payloadType":"text"`},
		{"binary", func(e *Envelope) { e.Payload = WrapBinary([]byte{1}) }, `"payload":"AQ==","payloadType":"binary"`},
	} {
		e := e
		c.change(&e)
		got, err := e.Encode()
		require.NoError(t, err)
		want := `{"kind":"reliable","id":"m1","seq":7,` + c.payload + `,"sender":{"type":"server","id":"backend_1"},"sentAt":"2026-11-21T20:00:00.000Z"}`
		assert.JSONEq(t, want, string(got), c.name)
	}
	got, err := e.Encode()
	require.NoError(t, err)
	require.Contains(t, string(got), `"payload":{"a":"<&>"}`, "payloads are not escaped")
	bare, err := (&Envelope{Type: Reliable, ID: "m1"}).Encode()
	require.NoError(t, err)
	require.JSONEq(t, `{"kind":"reliable","id":"m1","payload":null,"sender":{}}`, string(bare))
}

// What is written by hand is what encoding/json would write.
func TestEnvelopesAgreeWithEncodingJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "server", "a\"b", "\\", "\x00", "é", "\xff", "<&>", "\u2028"}))
		payload, err := json.Marshal(rapid.MapOf(text, text).Draw(t, "payload"))
		require.NoError(t, err)
		e := Envelope{
			Type: Reliable, ID: text.Draw(t, "id"), Seq: rapid.Int64().Draw(t, "seq"), Payload: payload,
			Sender: Sender{Type: text.Draw(t, "type"), ID: text.Draw(t, "sender")},
			SentAt: time.UnixMilli(rapid.Int64Range(0, 1<<41).Draw(t, "at")),
		}
		members := map[string]any{
			"kind": "reliable", "id": e.ID, "seq": e.Seq, "payload": e.Payload, "sender": e.Sender, "sentAt": e.SentAt.UTC().Format(timeLayout),
		}
		if e.Seq == 0 {
			delete(members, "seq")
		}
		agrees := func() {
			got, err := e.Encode()
			require.NoError(t, err)
			want, err := json.Marshal(members)
			require.NoError(t, err)
			require.JSONEq(t, string(want), string(got))
		}
		agrees()

		e.Type, e.RequestID, e.ExpiresAt = Command, text.Draw(t, "request"), time.UnixMilli(rapid.Int64Range(0, 1<<41).Draw(t, "expires"))
		command := text.Draw(t, "command")
		e.Payload = CommandPayload{Type: command, Data: payload}.Encode()
		members["kind"], members["requestId"], members["expiresAt"] = "command", e.RequestID, e.ExpiresAt.UTC().Format(timeLayout)
		members["type"], members["data"] = command, json.RawMessage(payload)
		delete(members, "payload")
		agrees()
	})
	for _, bad := range []string{"{", "nul", `{"a":1}}`, "\x00"} {
		_, err := (&Envelope{Type: Reliable, ID: "m1", Payload: json.RawMessage(bad)}).Encode()
		require.ErrorContains(t, err, "m1", bad)
	}
}

func TestCommandPayload(t *testing.T) {
	t.Parallel()
	require.JSONEq(t, `{"type":"T","data":null}`, string(CommandPayload{Type: "T"}.Encode()))
	require.JSONEq(t, `{"type":"\"","data":[ 1 ]}`, string(CommandPayload{Type: `"`, Data: json.RawMessage(`[ 1 ]`)}.Encode()))
}

// The short way to read a command finds what encoding/json finds, and an error
// where that finds one.
func FuzzDecodeCommandPayload(f *testing.F) {
	for _, seed := range []string{
		`{"type":"T","data":{"a":1}}`, `{"type":"","data":null}`, `{"type":"T","data": 1 }`, `{"type": "T", "data": 1}`, `{"data":1,"type":"T"}`,
		`{"type":"T","data":1,"type":"U"}`, `{"type":"T","data":1,"data":2}`, `{"type":"T","data":}`, `{"type":"T","data":1`, `{"type":"T","data":1}}`,
		`{"type":"\u0041","data":1}`, "{\"type\":\"\x01\",\"data\":1}", "{\"type\":\"\xff\",\"data\":1}", `{"type":"é","data":1}`, `{"type":"`, `{"type":"","data":`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := decodeCommandPayload(raw)
		want, wantErr := readCommandPayload(raw)
		require.Equal(t, wantErr == nil, err == nil, "%v, %v", wantErr, err)
		if err == nil {
			require.Equal(t, want.Type, got.Type)
			require.Equal(t, string(bytes.TrimSpace(want.Data)), string(bytes.TrimSpace(got.Data)))
		}
	})
}

func TestReliableEnvelopeIsOneAllocation(t *testing.T) {
	e := Envelope{Type: Reliable, ID: "m1", Seq: 7, Payload: json.RawMessage(`{"body":"hello world"}`), Sender: Sender{Type: "server", ID: "backend_1"}, SentAt: at}
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { _, _ = e.Encode() }), 1.0)
}

// One op is the envelope of a message with 200 bytes.
func BenchmarkEncodeReliable(b *testing.B) {
	e := Envelope{
		Type: Reliable, ID: "01940b5c-5b3e-7c3a-9d0e-0123456789ab", Seq: 7, Sender: Sender{Type: "server", ID: "backend_1"}, SentAt: at,
		Payload: json.RawMessage(`{"body":"` + string(bytes.Repeat([]byte("x"), 189)) + `"}`),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

// One op is the envelope of a command with 200 bytes.
func BenchmarkEncodeCommand(b *testing.B) {
	e := Envelope{
		Type: Command, ID: "01940b5c-5b3e-7c3a-9d0e-0123456789ab", Seq: 7, Sender: Sender{Type: "server", ID: "backend_1"}, SentAt: at, RequestID: "01940b5c-5b3e-7c3a-9d0e-0123456789ac", ExpiresAt: at,
		Payload: CommandPayload{"CLIENT_SERVER:BENCH", json.RawMessage(`{"body":"` + string(bytes.Repeat([]byte("x"), 189)) + `"}`)}.Encode(),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestCommandEnvelopeIsThatOfTheDesign(t *testing.T) {
	t.Parallel()
	e := Envelope{
		Type: Command, ID: "m1", RequestID: "r1", Payload: json.RawMessage(`{"data":{"x":1},"type":"CLIENT_SERVER:CREATE_CANVAS","more":0}`),
		ExpiresAt: at,
	}
	got, err := e.Encode()
	require.NoError(t, err)
	require.JSONEq(t, `{"kind":"command","id":"m1","requestId":"r1","type":"CLIENT_SERVER:CREATE_CANVAS","data":{"x":1},"sender":{},"expiresAt":"2026-11-21T20:00:00.000Z"}`, string(got))
	e.Payload = json.RawMessage(`{"type":"T","data":{"$text":"hi"}}`)
	got, err = e.Encode()
	require.NoError(t, err)
	require.JSONEq(t, `{"kind":"command","id":"m1","requestId":"r1","type":"T","data":"hi","dataType":"text","sender":{},"expiresAt":"2026-11-21T20:00:00.000Z"}`, string(got))
	e.Payload = json.RawMessage(`{"type":"T"}`)
	got, err = e.Encode()
	require.NoError(t, err)
	require.Contains(t, string(got), `"data":null`)
	for _, bad := range []string{``, `[]`, `"x"`, `{"type":1}`} {
		e.Payload = json.RawMessage(bad)
		_, err = e.Encode()
		require.Error(t, err, bad)
	}
}

func TestUnwrap(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]struct {
		inner string
		kind  PayloadType
	}{
		`{"$text":"a"}`:                {`"a"`, Text},
		" {\n\"$text\" : \"a\" } ":     {`"a"`, Text},
		`{"$binary":"AQI="}`:           {`"AQI="`, Binary},
		`{"$binary":""}`:               {`""`, Binary},
		`{"$text":1}`:                  {`{"$text":1}`, JSON},
		`{"$text":null}`:               {`{"$text":null}`, JSON},
		`{"$binary":null}`:             {`{"$binary":null}`, JSON},
		`{"$binary":"?"}`:              {`{"$binary":"?"}`, JSON},
		`{"$binary":[1]}`:              {`{"$binary":[1]}`, JSON},
		`{"$text":"a","b":1}`:          {`{"$text":"a","b":1}`, JSON},
		`{"$text":"a","$binary":"AQ"}`: {`{"$text":"a","$binary":"AQ"}`, JSON},
		`{"$other":"a"}`:               {`{"$other":"a"}`, JSON},
		`{"a":{"$text":"a"}}`:          {`{"a":{"$text":"a"}}`, JSON},
		`"$text"`:                      {`"$text"`, JSON},
		`{}`:                           {`{}`, JSON},
		`{"$text":"a"`:                 {`{"$text":"a"`, JSON},
		``:                             {``, JSON},
	} {
		inner, kind := Unwrap(json.RawMessage(in))
		assert.Equal(t, want.kind, kind, in)
		assert.Equal(t, want.inner, string(inner), in)
	}
}

func TestWrapRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "text")
		inner, kind := Unwrap(WrapText(s))
		require.Equal(t, Text, kind)
		var got string
		require.NoError(t, json.Unmarshal(inner, &got))
		require.Equal(t, s, got)

		b := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		inner, kind = Unwrap(WrapBinary(b))
		require.Equal(t, Binary, kind)
		require.Equal(t, `"`+base64.StdEncoding.EncodeToString(b)+`"`, string(inner))
	})
	inner, kind := Unwrap(WrapBinary(nil))
	require.Equal(t, Binary, kind, "no bytes are bytes")
	require.Equal(t, `""`, string(inner))
	inner, kind = Unwrap(WrapText("\xff"))
	require.Equal(t, Text, kind)
	require.Equal(t, `"\ufffd"`, string(inner))
}

func TestHintRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := &Hint{
			ID: rapid.StringMatching(`.+`).Draw(t, "id"), Type: rapid.SampledFrom([]PushType{Reliable, Command}).Draw(t, "type"),
			Seq: rapid.Int64().Draw(t, "seq"), RequestID: rapid.StringMatching(`[a-z\n"]*`).Draw(t, "request"),
			ResponseQueue: rapid.StringMatching(`.*`).Draw(t, "queue"), RetryInterval: time.Duration(rapid.Int64().Draw(t, "retry")),
			ExpiresAt: rapid.Int64().Draw(t, "expires"), Envelope: json.RawMessage("{\n\"a\":\n1}"),
		}
		got, err := DecodeHint(h.Encode())
		require.NoError(t, err)
		require.Equal(t, h, got)
	})
	require.True(t, (&Hint{}).Expiry().IsZero())
	require.Equal(t, time.UnixMicro(5), (&Hint{ExpiresAt: 5}).Expiry())
	encoded := (&Hint{ID: "x", Type: Reliable, Envelope: json.RawMessage(`{}`)}).Encode()
	h, err := DecodeHint(encoded)
	require.NoError(t, err)
	encoded[len(encoded)-1] = 'x'
	require.Equal(t, `{}`, string(h.Envelope), "the envelope is a copy")
}

func TestDecodeHintRefuses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		``, "\n", `{}`, "{}\n{}", `{"id":"x","k":1}`, "{\"id\":\"x\",\"k\":1}\n", "{\"id\":\"x\",\"k\":3}\n{}", "{\"id\":\"x\"}\n{}",
		"{\"id\":\"\",\"k\":1}\n{}", "{\"id\":1,\"k\":1}\n{}", "{\"id\":\"x\",\"k\":1}\nnot", "[]\n{}",
	} {
		_, err := DecodeHint([]byte(bad))
		assert.ErrorIs(t, err, errHint, bad)
	}
}

func TestParseDeviceError(t *testing.T) {
	t.Parallel()
	for _, e := range []DeviceError{{}, {Code: "Busy", Message: "later"}, {Code: "<\">", Message: "\u2028"}} {
		got, ok := ParseDeviceError(e.Encode())
		require.True(t, ok)
		require.Equal(t, e, got)
	}
	got, ok := ParseDeviceError(json.RawMessage(`{"\u0065rror":{"code":"a","message":"b"}}`))
	require.True(t, ok, "a key may be written with escapes")
	require.Equal(t, DeviceError{Code: "a", Message: "b"}, got)
	for _, other := range []string{
		``, `null`, `{}`, `[]`, `"error"`, `{"error":null}`, `{"error":"x"}`, `{"error":{}}`, `{"error":{"code":"x"}}`,
		`{"error":{"code":"x","message":1}}`, `{"error":{"code":"x","message":null}}`, `{"error":{"code":null,"message":"x"}}`,
		`{"error":{"code":"x","message":"y","more":"z"}}`, `{"error":{"code":"x","message":"y"},"more":1}`,
		`{"Error":{"code":"x","message":"y"}}`, `{"error":{"Code":"x","Message":"y"}}`, `{"error":{"code":"x","message":"y"}`,
	} {
		_, ok := ParseDeviceError(json.RawMessage(other))
		assert.False(t, ok, other)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	var n Names
	require.Equal(t, "realtime:user:a", n.Realtime("a"))
	require.Equal(t, "deliver:user:a", n.Deliver("a"))
	require.Equal(t, "seq:user:a", n.Seq("a"))
	require.Equal(t, "ws.message.direct.exchange", n.Exchange())
	n = Names{RedisPrefix: "p:", RabbitPrefix: "q."}
	require.Equal(t, "p:realtime:user:a", n.RealtimePrefix()+"a")
	require.Equal(t, "p:deliver:user:a", n.DeliverPrefix()+"a")
	require.Equal(t, "p:seq:user:a", n.Seq("a"))
	require.Equal(t, "p:gateway:lock:x", n.Lock("x"))
	require.Equal(t, "q.ws.message.direct.exchange", n.Exchange())
	require.Equal(t, "q.ws.message.gateway.node", n.NotificationQueue())
	require.Equal(t, "q.ws.message.gateway.reply.x", n.ReplyQueue("x"))
	for status, unfinished := range map[Status]bool{Pending: true, Delivering: true, RequestDelivered: true, Finished: false, TimedOut: false, "": false} {
		require.Equal(t, unfinished, status.Unfinished())
	}
	require.Equal(t, []string{"json", "text", "binary"}, []string{JSON.String(), Text.String(), Binary.String()})
}

func FuzzDecodeHint(f *testing.F) {
	f.Add((&Hint{ID: "x", Type: Command, Seq: 1, RequestID: "r", ResponseQueue: "q", ExpiresAt: 1, Envelope: json.RawMessage(`{"a":1}`)}).Encode())
	f.Add([]byte("{\"id\":\"x\",\"k\":1}\n{}"))
	f.Add([]byte("\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		h, err := DecodeHint(b)
		require.Equal(t, before, b)
		if err != nil {
			require.Nil(t, h)
			return
		}
		require.NotEmpty(t, h.ID)
		again, err := DecodeHint(h.Encode())
		require.NoError(t, err)
		require.Equal(t, h, again)
	})
}

func FuzzUnwrap(f *testing.F) {
	for _, seed := range []string{`{"$text":"a"}`, `{"$binary":"AQ=="}`, `{"$binary":null}`, `{"$text":"a","$text":"b"}`, `{"\u0024text":"a"}`, ``, `1`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		inner, kind := Unwrap(b)
		if kind == JSON {
			require.Equal(t, string(b), string(inner))
			return
		}
		var s string
		require.NoError(t, json.Unmarshal(inner, &s))
		if kind == Binary {
			_, err := base64.StdEncoding.DecodeString(s)
			require.NoError(t, err)
		}
	})
}

func FuzzParseDeviceError(f *testing.F) {
	f.Add([]byte(DeviceError{Code: "a", Message: "b"}.Encode()))
	f.Add([]byte(`{"error":{"code":"a","message":null}}`))
	f.Add([]byte(`{"error":{"code":"a","code":"b","message":"c"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := ParseDeviceError(b)
		if !ok {
			return
		}
		again, ok := ParseDeviceError(e.Encode())
		require.True(t, ok)
		require.Equal(t, e, again)
	})
}

// Hints travel between nodes and senders of different versions. These bytes are
// recorded: what an earlier version sends is understood, and what this one sends
// is what that understands. Members may be added, and none changed.
func TestRecordedHints(t *testing.T) {
	t.Parallel()
	for recorded, hint := range map[string]Hint{
		`{"id":"m1","k":1,"seq":7}` + "\n" + `{"kind":"reliable"}`: {ID: "m1", Type: Reliable, Seq: 7, Envelope: json.RawMessage(`{"kind":"reliable"}`)},
		`{"id":"m2","k":2,"seq":8,"req":"r1","rq":"replies.1","ri":60000000000,"exp":1795291200000000}` + "\n" + `{"kind":"command"}`: {
			ID: "m2", Type: Command, Seq: 8, RequestID: "r1", ResponseQueue: "replies.1", RetryInterval: time.Minute,
			ExpiresAt: 1795291200000000, Envelope: json.RawMessage(`{"kind":"command"}`),
		},
	} {
		got, err := DecodeHint([]byte(recorded))
		require.NoError(t, err)
		require.Equal(t, hint, *got)
		require.Equal(t, recorded, string(hint.Encode()))
	}
}
