package control_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/message-gateway/gateway/internal/control"
)

// Whatever a message, call, reply, change or pulse holds, it arrives as it was sent.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &control.Message{
			ID: rapid.Uint64().Draw(t, "id"), DataType: rapid.SampledFrom([]string{"", "text", "json", "binary", "protobuf"}).Draw(t, "type"),
			FromUserID: rapid.String().Draw(t, "from"), Excluded: list(t, "excluded"), Filter: rapid.String().Draw(t, "filter"),
			TTLSeconds: rapid.IntRange(0, 300).Draw(t, "ttl"), Metadata: entries(t), Stream: stream(t),
			Data: rapid.SliceOf(rapid.Byte()).Draw(t, "data"),
		}
		same(t, m, m.Encode())
	})
	rapid.Check(t, func(t *rapid.T) {
		c := &control.Call{
			ID: rapid.Uint64().Draw(t, "id"), ReplyTo: rapid.String().Draw(t, "reply to"), Op: control.Op(rapid.String().Draw(t, "op")),
			Reason: rapid.String().Draw(t, "reason"), Excluded: list(t, "excluded"), Filter: rapid.String().Draw(t, "filter"),
			Groups: list(t, "groups"), After: rapid.String().Draw(t, "after"), Limit: rapid.Int().Draw(t, "limit"),
			Permission: rapid.String().Draw(t, "permission"), Group: rapid.String().Draw(t, "group"), Until: rapid.Int64().Draw(t, "until"),
			From: rapid.String().Draw(t, "from"),
		}
		same(t, c, c.Encode())
	})
	rapid.Check(t, func(t *rapid.T) {
		r := &control.Reply{
			ID: rapid.Uint64().Draw(t, "id"), Count: rapid.Int().Draw(t, "count"), Allowed: rapid.Bool().Draw(t, "allowed"),
			Full: rapid.Bool().Draw(t, "full"), Error: rapid.String().Draw(t, "error"),
			Session: json.RawMessage(rapid.SliceOf(rapid.Byte()).Draw(t, "session")),
		}
		for range rapid.IntRange(0, 3).Draw(t, "states") {
			r.States = append(r.States, memberState(t))
		}
		for range rapid.IntRange(0, 3).Draw(t, "connections") {
			r.Connections = append(r.Connections, control.Connection{ID: rapid.String().Draw(t, "connection"), UserID: rapid.String().Draw(t, "user")})
		}
		same(t, r, r.Encode())
	})
	rapid.Check(t, func(t *rapid.T) {
		c := &control.StateChange{Node: rapid.String().Draw(t, "node"), State: memberState(t)}
		same(t, c, c.Encode())
		p := &control.Pulse{Node: c.Node, States: rapid.Int64().Draw(t, "states"), Lost: rapid.Uint64().Draw(t, "lost")}
		same(t, p, p.Encode())
	})
}

// memberState may be one that ended, and that is not an empty one.
func memberState(t *rapid.T) control.State {
	s := control.State{
		ConnectionID: rapid.String().Draw(t, "id"), UserID: rapid.String().Draw(t, "user"), UpdatedAt: rapid.Int64().Draw(t, "at"),
	}
	if rapid.Bool().Draw(t, "there") {
		s.Entries = rapid.MapOfN(rapid.String(), rapid.String(), 0, 3).Draw(t, "entries")
	}
	return s
}

// list is nil rather than empty: the two are the same to a reader.
func list(t *rapid.T, label string) []string {
	values := rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, label)
	if len(values) == 0 {
		return nil
	}
	return values
}

func entries(t *rapid.T) map[string]string {
	values := rapid.MapOfN(rapid.String(), rapid.String(), 0, 4).Draw(t, "metadata")
	if len(values) == 0 {
		return nil
	}
	return values
}

func stream(t *rapid.T) *control.Stream {
	if rapid.Bool().Draw(t, "no stream") {
		return nil
	}
	st := &control.Stream{ID: rapid.String().Draw(t, "stream"), SequenceID: rapid.Uint64().Draw(t, "number"), End: rapid.Bool().Draw(t, "end")}
	if rapid.Bool().Draw(t, "failed") {
		st.Error = &control.StreamError{
			Name: rapid.String().Draw(t, "name"), Message: rapid.String().Draw(t, "message"), UserCode: rapid.String().Draw(t, "code"),
		}
	}
	return st
}

// same decodes and then overwrites the bytes, which the value must not notice.
func same(t *rapid.T, want any, raw []byte) {
	got, err := control.Decode(raw)
	require.NoError(t, err)
	clear(raw)
	require.Equal(t, want, got)
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"", "\n", "m", "m\n", "m{}", "x{}\n", "m{\n", "c[]\n", "r\"\"\n", "{}\n", "\x00\n", "m{}{}\n",
		`m{"i":-1}` + "\n", `c{"op":1}` + "\n", `r{"n":"1"}` + "\n", `m{"i":18446744073709551616}` + "\n",
	} {
		v, err := control.Decode([]byte(raw))
		assert.ErrorIs(t, err, control.ErrFormat, "%q", raw)
		assert.Nil(t, v, "%q", raw)
	}
}

// A newer version may say more than this one understands.
func TestDecodeIgnoresWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	v, err := control.Decode([]byte(`m{"i":7,"new":{"a":[1]},"dt":"text"}` + "\nline 1\nline 2"))
	require.NoError(t, err)
	assert.Equal(t, &control.Message{ID: 7, DataType: "text", Data: []byte("line 1\nline 2")}, v)
}

// FuzzDecode: nothing makes Decode panic, and what it understands can be sent
// on without a change.
func FuzzDecode(f *testing.F) {
	f.Add((&control.Message{
		ID: 1, DataType: "json", FromUserID: "ann", Excluded: []string{"a"}, Filter: "userId eq null", TTLSeconds: 3,
		Metadata: map[string]string{"k": "v"}, Stream: &control.Stream{ID: "s", SequenceID: 2, End: true, Error: &control.StreamError{Name: "UserError"}},
		Data: []byte("{\n}"),
	}).Encode())
	f.Add((&control.Call{ID: 2, ReplyTo: "r", Op: control.OpJoin, Groups: []string{"g"}, Until: 5}).Encode())
	f.Add((&control.Reply{ID: 3, Count: 1, Connections: []control.Connection{{ID: "c", UserID: "u"}}, Session: json.RawMessage(`{}`)}).Encode())
	for _, raw := range []string{"", "m\n", "mnull\n", "c{}\nrest", "m{\"md\":{\"\xff\":\"\"}}\n"} {
		f.Add([]byte(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := control.Decode(raw)
		if err != nil {
			assert.ErrorIs(t, err, control.ErrFormat)
			return
		}
		encoder, ok := v.(interface{ Encode() []byte })
		require.True(t, ok, "%T", v)
		again, err := control.Decode(encoder.Encode())
		require.NoError(t, err)
		require.Equal(t, v.(interface{ Encode() []byte }).Encode(), again.(interface{ Encode() []byte }).Encode())
	})
}

// Nodes and senders of different versions talk to each other. These bytes are
// recorded: members may be added, and none changed.
func TestRecordedMessages(t *testing.T) {
	t.Parallel()
	for recorded, v := range map[string]interface{ Encode() []byte }{
		`m{"i":1,"dt":"json","from":"ann","ex":["a"],"f":"userId eq null","ttl":3,"md":{"k":"v"},"st":{"id":"s","n":2,"end":true,"err":{"name":"n","message":"m","code":"c"}}}` + "\n{}": &control.Message{
			ID: 1, DataType: "json", FromUserID: "ann", Excluded: []string{"a"}, Filter: "userId eq null", TTLSeconds: 3,
			Metadata: map[string]string{"k": "v"}, Stream: &control.Stream{ID: "s", SequenceID: 2, End: true, Error: &control.StreamError{Name: "n", Message: "m", UserCode: "c"}},
			Data: []byte("{}"),
		},
		`c{"i":2,"re":"r","op":"join","reason":"why","ex":["a"],"f":"f","g":["g"],"after":"x","limit":9,"p":"p","group":"g","until":5,"from":"n"}` + "\n": &control.Call{
			ID: 2, ReplyTo: "r", Op: control.OpJoin, Reason: "why", Excluded: []string{"a"}, Filter: "f", Groups: []string{"g"}, After: "x", Limit: 9,
			Permission: "p", Group: "g", Until: 5, From: "n",
		},
		`r{"i":3,"n":1,"c":[{"id":"c","u":"u"}],"ok":true,"full":true,"err":"e"}` + "\n{}": &control.Reply{
			ID: 3, Count: 1, Allowed: true, Full: true, Error: "e", Connections: []control.Connection{{ID: "c", UserID: "u"}}, Session: json.RawMessage(`{}`),
		},
	} {
		require.Equal(t, recorded, string(v.Encode()))
		got, err := control.Decode([]byte(recorded))
		require.NoError(t, err)
		require.Equal(t, v, got)
	}
}
