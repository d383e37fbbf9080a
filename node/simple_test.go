package node_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"simple/mode":        testSimpleMode,
	"simple/sendToGroup": testSimpleSendToGroup,
	"simple/noEcho":      testSimpleNoEcho,
	"simple/forbidden":   testSimpleForbidden,
	"simple/noHandler":   testSimpleNoHandler,
	"simple/replies":     testSimpleReplies,
	"simple/closed":      testSimpleClosed,
	"simple/reachedNow":  testSimpleReachedNow,
})

func testSimpleMode(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	base := a.url(t, user())
	long, tooLong := make([]byte, 1024), make([]byte, 1025)
	for i := range tooLong {
		tooLong[i] = 'g'
	}
	copy(long, tooLong)
	for query, ok := range map[string]bool{
		"":                                   true,
		"webpubsub_mode=":                    true,
		"webpubsub_mode=sendEvent":           true,
		"WEBPUBSUB_MODE=SENDEVENT":           true,
		"webpubsub_mode=sendToGroup&group=g": true,
		"Webpubsub_Mode=SENDTOGROUP&GROUP=g&NOECHO=TRUE":             true,
		"webpubsub_mode=sendToGroup&group=a%2Fb%20*&noEcho=false":    true,
		"webpubsub_mode=sendToGroup&group=" + string(long):           true,
		"webpubsub_mode=nonsense&webpubsub_mode=sendToGroup&group=g": true, // the last one counts
		"group=g":                                                       true, // passed on to OnConnect
		"webpubsub_mode=nonsense":                                       false,
		"webpubsub_mode=nonsense&group=g":                               false,
		"webpubsub_mode=sendToGroup":                                    false,
		"webpubsub_mode=sendToGroup&group=":                             false,
		"webpubsub_mode=sendToGroup&group=%20%09":                       false,
		"webpubsub_mode=sendToGroup&group=" + string(tooLong):           false,
		"webpubsub_mode=sendToGroup&group=g&noEcho=1":                   false,
		"webpubsub_mode=sendToGroup&group=g&noEcho=":                    false,
		"webpubsub_mode=sendToGroup&group=g&noEcho=true&noEcho=perhaps": false,
		"webpubsub_mode=sendToGroup&webpubsub_mode=nonsense&group=g":    false,
	} {
		want := 400
		if ok {
			want = 101
		}
		for _, sub := range []string{devicetest.None, devicetest.Reliable} {
			got := dialStatus(t, devicetest.Options{URL: base + "&" + query, Subprotocol: sub})
			assert.Equal(t, want, got, "%.60q with subprotocol %q", query, sub)
		}
	}
}

// sendToGroupPath makes the frames of a device without subprotocol go to a
// group.
func sendToGroupPath(group string, noEcho bool) string {
	return fmt.Sprintf("&webpubsub_mode=sendToGroup&group=%s&noEcho=%t", url.QueryEscape(group), noEcho)
}

func testSimpleSendToGroup(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h := newHub(t, w)
	member := gateway.WithGroups("g/ä b")
	listener := h.connect(b, "", devicetest.Reliable, member)
	bare := h.bareConnect(t, a, sendToGroupPath("g/ä b", false), member, gateway.WithRoles("webpubsub.sendToGroup.g/ä b"))
	for _, c := range []struct {
		op       websocket.MessageType
		dataType string
		data     string
	}{{websocket.MessageText, "text", `{"type":"ping"}`}, {websocket.MessageBinary, "binary", "\x00\xff"}, {websocket.MessageText, "text", ""}} {
		bare.SendRaw(t, c.op, []byte(c.data))
		f := listener.Message(t)
		assert.Equal(t, []string{"group", "g/ä b", c.dataType}, []string{f.From, f.Group, f.DataType})
		if c.dataType == "text" {
			assert.Equal(t, c.data, f.Text(), "frames mean nothing here")
		} else {
			assert.Equal(t, c.data, string(f.Bytes()))
		}
		f = bare.Next(t)
		assert.Equal(t, c.data, string(f.Raw), "it is a member itself")
		assert.Equal(t, c.op == websocket.MessageBinary, f.Binary)
	}
}

func testSimpleNoEcho(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h := newHub(t, w)
	member := gateway.WithGroups("g")
	listener := h.connect(a, "", devicetest.JSON, member)
	bare := h.bareConnect(t, a, sendToGroupPath("g", true), member, anyRoles)
	bare.SendText(t, "mine")
	assert.Equal(t, "mine", listener.Message(t).Text())
	require.NoError(t, h.SendToGroup(t.Context(), "g", gateway.Text("end")))
	assert.Equal(t, "end", string(bare.Next(t).Raw))
}

func testSimpleForbidden(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	listener := h.connect(a, "", devicetest.JSON, gateway.WithGroups("g"))
	bare := h.bareConnect(t, a, sendToGroupPath("g", false), gateway.WithRoles("webpubsub.sendToGroup.other", "webpubsub.joinLeaveGroup"))
	bare.SendText(t, "no")
	assert.Equal(t, websocket.StatusPolicyViolation, bare.Ended(t))

	// The permission counts at the time of each frame.
	allowed := h.bareConnect(t, a, sendToGroupPath("g", false), anyRoles, gateway.WithGroups("bare"))
	allowed.SendText(t, "yes")
	assert.Equal(t, "yes", listener.Message(t).Text())
	id := ""
	for c, err := range h.ListConnectionsInGroup(ctx, "bare") {
		require.NoError(t, err)
		id = c.ConnectionID
	}
	require.NoError(t, h.RevokePermission(ctx, gateway.PermissionSendToGroup, id, "g"))
	allowed.SendText(t, "not any more")
	assert.Equal(t, websocket.StatusPolicyViolation, allowed.Ended(t))
	assert.Empty(t, untilPong(t, listener))
}

func testSimpleNoHandler(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	witness := a.connect(t, user(), devicetest.JSON)
	for _, op := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		d := a.connect(t, user(), devicetest.None)
		d.SendRaw(t, op, []byte("hello"))
		assert.Equal(t, websocket.StatusInternalError, d.Ended(t))
	}
	assert.Empty(t, untilPong(t, witness))
}

func testSimpleReplies(t *testing.T, w *world) {
	events := make(chan node.Event, 10)
	a := w.node(t, node.Options{OnEvent: func(_ context.Context, c node.Connection, e node.Event) (*node.Reply, error) {
		events <- e
		assert.Empty(t, c.Subprotocol)
		switch string(e.Data) {
		case "json":
			return &node.Reply{DataType: node.JSON, Data: []byte(`{ "n":1.0 }`)}, nil
		case "binary":
			return &node.Reply{DataType: node.Binary, Data: []byte{1, 0xff}}, nil
		case "protobuf":
			return &node.Reply{DataType: node.Protobuf, Data: []byte{0x0a, 0}}, nil
		case "text":
			return &node.Reply{DataType: node.Text, Data: []byte("täxt")}, nil
		case "nothing":
			return nil, nil
		case "panic":
			panic("of the handler")
		}
		return nil, errors.New("no")
	}})
	d := a.connect(t, user(), devicetest.None)
	d.SendText(t, "nothing")
	assert.Equal(t, node.Event{Name: "message", DataType: node.Text, Data: []byte("nothing")}, <-events)
	for data, want := range map[string]string{"json": `{ "n":1.0 }`, "binary": "\x01\xff", "protobuf": "\x0a\x00", "text": "täxt"} {
		d.SendRaw(t, websocket.MessageBinary, []byte(data))
		f := d.Next(t)
		assert.Equal(t, want, string(f.Raw))
		assert.Equal(t, data == "binary" || data == "protobuf", f.Binary, data)
		assert.Equal(t, node.Event{Name: "message", DataType: node.Binary, Data: []byte(data)}, <-events)
	}
	d.SendText(t, "fail")
	assert.Equal(t, websocket.StatusInternalError, d.Ended(t))
	d = a.connect(t, user(), devicetest.None)
	d.SendText(t, "panic")
	assert.Equal(t, websocket.StatusInternalError, d.Ended(t))
}

// testSimpleClosed: a device without frames only sees that it is closed.
func testSimpleClosed(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h := newHub(t, w)
	d := h.bareConnect(t, a, "")
	require.NoError(t, h.CloseAllConnections(t.Context(), gateway.WithReason("maintenance")))
	assert.Equal(t, websocket.StatusNormalClosure, d.Ended(t))
	assert.Zero(t, d.Pending())
}

// testSimpleReachedNow: a device without subprotocol gets no connected frame;
// that the handshake is done must mean that messages reach it.
func testSimpleReachedNow(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	for i := range 50 {
		d := h.connect(a, "ann", devicetest.None)
		require.NoError(t, h.SendToUser(ctx, "ann", gateway.Text(fmt.Sprint(i))))
		bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
		f, err := d.TryNext(bounded)
		cancel()
		require.NoError(t, err, "round %d", i)
		require.Equal(t, fmt.Sprint(i), string(f.Raw))
		d.Drop()
	}
}
