package node_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"realtime/everyConnection": testRealtimeEveryConnection,
	"realtime/order":           testRealtimeOrder,
	"realtime/online":          testOnline,
	"realtime/otherHub":        testOtherHub,
})

// jsonMember is a member of a JSON object, as it stands.
func jsonMember(t *testing.T, raw []byte, name string) string {
	t.Helper()
	var object map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(raw, &object), string(raw))
	return string(object[name])
}

func testRealtimeEveryConnection(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	u := user()
	devices := []*devicetest.Device{
		a.connect(t, u, devicetest.JSON), a.connect(t, u, devicetest.Reliable), a.connect(t, u, devicetest.Protobuf),
		b.connect(t, u, devicetest.ProtobufReliable), b.connect(t, u, devicetest.JSON),
	}
	simple := []*devicetest.Device{a.connect(t, u, devicetest.None), b.connect(t, u, devicetest.None)}
	stranger := a.connect(t, u+"x", devicetest.JSON)

	raw := `{"z": 1.50, "a":"<é> & ` + "\u2028" + `"}`
	w.realtime(t, u, json.RawMessage(raw))
	w.realtime(t, u, gateway.Text("héllo\n"))
	w.realtime(t, u, gateway.Binary{0, 1, 255})
	w.realtime(t, u, nil)
	w.reliable(t, u, "stored")
	w.realtime(t, u, "last")
	w.realtime(t, u+"x", "for the stranger")
	for _, d := range devices {
		envelope := false
		var got []devicetest.Frame
		for len(got) < 5 {
			f := d.Message(t)
			if _, ok := f.Envelope(); ok {
				envelope = true
				continue
			}
			got = append(got, f)
		}
		assert.Equal(t, "json", got[0].DataType)
		assert.Equal(t, raw, string(got[0].Data), "JSON passes through as it is")
		assert.Equal(t, "text", got[1].DataType)
		assert.Equal(t, "héllo\n", got[1].Text())
		assert.Equal(t, "binary", got[2].DataType)
		assert.Equal(t, []byte{0, 1, 255}, got[2].Bytes())
		assert.Equal(t, "null", string(got[3].Data))
		assert.Equal(t, `"last"`, string(got[4].Data))
		if !envelope {
			d.Envelope(t)
		}
	}
	for _, d := range simple {
		for _, want := range []struct {
			raw    string
			binary bool
		}{{raw, false}, {"héllo\n", false}, {"\x00\x01\xff", true}, {"null", false}, {`"last"`, false}} {
			f := d.Next(t)
			assert.Equal(t, want.raw, string(f.Raw))
			assert.Equal(t, want.binary, f.Binary)
		}
		assert.Zero(t, d.Pending(), "no stored messages without subprotocol")
	}
	assert.Equal(t, `"for the stranger"`, string(stranger.Message(t).Data))
}

func testRealtimeOrder(t *testing.T, w *world) {
	u := user()
	d := w.node(t, node.Options{}).connect(t, u, devicetest.JSON)
	const n = 300
	for i := range n {
		w.realtime(t, u, i)
	}
	for i := range n {
		require.Equal(t, itoa(i), string(d.Message(t).Data))
	}
}

func testOnline(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := user()
	online := func() bool {
		o, err := w.client.Online(t.Context(), u)
		require.NoError(t, err)
		return o[u]
	}
	require.False(t, online())
	_, err := w.client.SendReliable(t.Context(), u, 1, gateway.FailIfOffline())
	require.ErrorIs(t, err, gateway.ErrUserOffline)
	first, second := h.connect(t, u, devicetest.None), h.connect(t, u, devicetest.JSON)
	require.True(t, online())
	first.Close(1000)
	require.True(t, online())
	second.Close(1000)
	require.Eventually(t, func() bool { return !online() }, devicetest.Patience, 5*time.Millisecond)
}

// testOtherHub: the three sends reach the default hub only, and there the user's
// ids keep their characters.
func testOtherHub(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := "ü/ *?%[x]\\ " + user()
	d := h.connect(t, u, devicetest.JSON)
	token := strings.Replace(h.url(t, u), "/hubs/default", "/hubs/other", 1)
	require.Equal(t, 401, dialStatus(t, devicetest.Options{URL: token}), "a token is for one hub")
	w.realtime(t, u, 1)
	assert.Equal(t, "1", string(d.Message(t).Data))
	id := w.reliable(t, u, 2)
	assert.Equal(t, id, d.Envelope(t).ID)
}
