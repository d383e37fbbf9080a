package node_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"frames/acks":    testAcks,
	"frames/bad":     testBadFrames,
	"frames/tooBig":  testTooBig,
	"frames/streams": testStreams,
	"events/reply":   testEventReply,
	"events/invoke":  testInvoke,
	"events/simple":  testSimpleEvents,
	"events/order":   testEventOrder,
})

// event is an event frame with an ackId.
func event(name string, ackID uint64) string {
	return fmt.Sprintf(`{"type":"event","event":%q,"ackId":%d,"dataType":"text","data":"x"}`, name, ackID)
}

func wantAck(t *testing.T, f devicetest.Frame, id uint64, failure string) {
	t.Helper()
	require.Equal(t, devicetest.TypeAck, f.Type, string(f.Raw))
	require.NotNil(t, f.AckID)
	assert.Equal(t, id, *f.AckID)
	assert.Equal(t, failure == "", f.Success)
	assert.Equal(t, failure, f.Error.Name)
}

func testAcks(t *testing.T, w *world) {
	var calls atomic.Int64
	h := w.node(t, node.Options{OnEvent: func(_ context.Context, _ node.Connection, e node.Event) (*node.Reply, error) {
		if calls.Add(1); e.Name == "fail" {
			return nil, errors.New("secret reason")
		}
		return nil, nil
	}})
	for _, subprotocol := range []string{devicetest.JSON, devicetest.Reliable} {
		t.Run(subprotocol, func(t *testing.T) {
			calls.Store(0)
			d := h.connect(t, user(), subprotocol)
			for _, id := range []uint64{0, math.MaxUint64, 1 << 53, 1<<53 + 1} {
				d.SendText(t, event("ok", id))
				wantAck(t, d.Next(t), id, "")
				d.SendText(t, event("ok", id))
				wantAck(t, d.Next(t), id, "Duplicate")
			}
			require.EqualValues(t, 4, calls.Load(), "a duplicate is not executed")
			d.SendText(t, event("fail", 7))
			f := d.Next(t)
			wantAck(t, f, 7, "InternalServerError")
			assert.NotContains(t, f.Error.Message, "secret")
			d.SendText(t, event("ok", 7))
			wantAck(t, d.Next(t), 7, "")
			// Without ackId there is no answer, also of a failure.
			d.SendText(t, `{"type":"event","event":"ok","dataType":"text","data":"x"}`)
			d.SendText(t, `{"type":"event","event":"fail","dataType":"text","data":"x"}`)
			d.SendText(t, event("ok", 8))
			wantAck(t, d.Next(t), 8, "")
			require.EqualValues(t, 9, calls.Load())
			// The last thousand are remembered.
			for id := range uint64(1000) {
				d.SendText(t, event("ok", 10_000+id))
				wantAck(t, d.Next(t), 10_000+id, "")
			}
			d.SendText(t, event("ok", 10_000))
			wantAck(t, d.Next(t), 10_000, "Duplicate")
			d.SendText(t, event("ok", 8))
			wantAck(t, d.Next(t), 8, "")
		})
	}
	t.Run("protobuf", func(t *testing.T) {
		d := h.connect(t, user(), devicetest.ProtobufReliable)
		assert.True(t, d.Event(t, "ok", 1).Success)
		assert.Equal(t, "InternalServerError", d.Event(t, "fail", 1).Error.Name)
	})
	t.Run("after recovery", func(t *testing.T) {
		d := h.connect(t, user(), devicetest.Reliable)
		d.SendText(t, event("ok", 5))
		wantAck(t, d.Next(t), 5, "")
		d.Drop()
		d = d.Recover(t)
		d.SendText(t, event("ok", 5))
		wantAck(t, d.Next(t), 5, "Duplicate")
	})
}

func testBadFrames(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	text, binary := websocket.MessageText, websocket.MessageBinary
	for name, c := range map[string]struct {
		subprotocol string
		op          websocket.MessageType
		payload     string
		code        websocket.StatusCode
	}{
		"no JSON":             {devicetest.JSON, text, `hello`, 1007},
		"no object":           {devicetest.JSON, text, `[1]`, 1007},
		"empty":               {devicetest.JSON, text, ``, 1007},
		"unknown type":        {devicetest.Reliable, text, `{"type":"hello"}`, 1007},
		"no type":             {devicetest.Reliable, text, `{}`, 1007},
		"negative ackId":      {devicetest.JSON, text, `{"type":"joinGroup","group":"g","ackId":-1}`, 1007},
		"ackId too large":     {devicetest.JSON, text, `{"type":"joinGroup","group":"g","ackId":18446744073709551616}`, 1007},
		"ackId as string":     {devicetest.JSON, text, `{"type":"joinGroup","group":"g","ackId":"1"}`, 1007},
		"bad event name":      {devicetest.JSON, text, `{"type":"event","event":"a b","dataType":"text","data":"x"}`, 1007},
		"null data":           {devicetest.JSON, text, `{"type":"event","event":"a","dataType":"json","data":null}`, 1007},
		"bad base64":          {devicetest.JSON, text, `{"type":"event","event":"a","dataType":"binary","data":"?"}`, 1007},
		"binary on JSON":      {devicetest.JSON, binary, `{"type":"ping"}`, 1003},
		"text on protobuf":    {devicetest.Protobuf, text, `{"type":"ping"}`, 1003},
		"no protobuf":         {devicetest.ProtobufReliable, binary, "\xff\xff\xff", 1007},
		"empty protobuf":      {devicetest.Protobuf, binary, "", 1007},
		"text without UTF-8":  {devicetest.JSON, text, "{\"type\":\"\xff\"}", 1007},
		"deep nesting":        {devicetest.JSON, text, strings.Repeat("[", 100_000), 1007},
		"event of no handler": {devicetest.None, text, "hello", 1011},
	} {
		t.Run(name, func(t *testing.T) {
			u := user()
			d, other := h.connect(t, u, c.subprotocol), h.connect(t, u, devicetest.JSON)
			d.SendRaw(t, c.op, []byte(c.payload))
			require.Equal(t, c.code, d.Ended(t))
			if c.subprotocol != devicetest.None && name != "text without UTF-8" {
				f := d.Next(t)
				assert.Equal(t, devicetest.TypeDisconnected, f.Type, "the device is told why")
				assert.NotEmpty(t, f.Message)
			}
			other.Ping(t)
			assert.Equal(t, devicetest.TypePong, other.Next(t).Type, "another connection of the user lives")
			if d.Connected.ReconnectionToken != "" {
				wantRefused(t, d)
			}
		})
	}
}

// wantRefused wants a recovery to be refused as official clients need it: the
// handshake completes, then comes 1008.
func wantRefused(t *testing.T, d *devicetest.Device) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
	defer cancel()
	again, err := d.TryRecover(ctx)
	require.NoError(t, err, "the handshake must complete")
	require.Equal(t, d.Subprotocol(), again.Subprotocol())
	require.EqualValues(t, 1008, again.Ended(t))
	require.Zero(t, again.Pending(), "no frame comes")
}

func testTooBig(t *testing.T, w *world) {
	h := w.node(t, node.Options{MaxFrame: 1000, OnEvent: func(context.Context, node.Connection, node.Event) (*node.Reply, error) {
		return nil, nil
	}})
	for _, subprotocol := range []string{devicetest.None, devicetest.JSON, devicetest.Reliable} {
		d := h.connect(t, user(), subprotocol)
		frame := func(size int) []byte {
			head, tail := `{"type":"event","event":"a","dataType":"text","data":"`, `"}`
			return []byte(head + strings.Repeat("x", size-len(head)-len(tail)) + tail)
		}
		d.SendRaw(t, websocket.MessageText, frame(1000))
		d.SendRaw(t, websocket.MessageText, frame(1001))
		assert.EqualValues(t, 1009, d.Ended(t), subprotocol)
		if d.Connected.ReconnectionToken != "" {
			wantRefused(t, d)
		}
	}
}

func testStreams(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	d := h.connect(t, user(), devicetest.JSON)
	d.SendText(t, `{"type":"streamData","streamId":"s1"}`)
	assert.JSONEq(t, `"streamClosed"`, jsonMember(t, d.Next(t).Raw, "type"))
	d.SendText(t, `{"type":"sendToGroup","group":"g","noEcho":false,"stream":{"streamId":"s1"}}`)
	f := d.Next(t)
	assert.JSONEq(t, `"streamClosed"`, jsonMember(t, f.Raw, "type"))
	assert.JSONEq(t, `"s1"`, jsonMember(t, f.Raw, "streamId"))
	d.SendText(t, `{"type":"cancelInvocation","invocationId":"1"}`)
	d.Ping(t)
	assert.Equal(t, devicetest.TypePong, d.Next(t).Type)
}

func testEventReply(t *testing.T, w *world) {
	h := w.node(t, node.Options{OnEvent: func(_ context.Context, c node.Connection, e node.Event) (*node.Reply, error) {
		switch e.Name {
		case "echo":
			return &node.Reply{DataType: e.DataType, Data: e.Data}, nil
		case "who":
			return &node.Reply{DataType: node.Text, Data: []byte(c.UserID + " " + c.Subprotocol)}, nil
		case "panic":
			panic("on purpose")
		case "broken":
			return &node.Reply{DataType: node.JSON, Data: []byte(`{"not":`)}, nil
		}
		return nil, errors.New("unknown")
	}})
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	for _, c := range []struct{ dataType, data string }{
		{"text", `"hé\nllo"`}, {"json", `{"b":1.50,"a":[]}`}, {"json", `"s"`}, {"binary", `"AQI="`},
	} {
		d.SendText(t, fmt.Sprintf(`{"type":"event","event":"echo","ackId":%d,"dataType":%q,"data":%s}`, len(c.data), c.dataType, c.data))
		f := d.Message(t) // the reply comes before the ack
		assert.Equal(t, c.dataType, f.DataType)
		assert.Equal(t, c.data, string(f.Data), "as the handler wrote it")
		assert.NotZero(t, f.SequenceID)
		d.Next(t)
	}
	d.SendText(t, event("who", 100))
	assert.Equal(t, u+" "+devicetest.Reliable, d.Message(t).Text())
	wantAck(t, d.Next(t), 100, "")
	d.SendText(t, event("panic", 101))
	wantAck(t, d.Next(t), 101, "InternalServerError")
	d.SendText(t, event("broken", 102))
	wantAck(t, d.Next(t), 102, "InternalServerError")
	d.SendText(t, event("nothing", 103))
	wantAck(t, d.Next(t), 103, "InternalServerError")

	none := w.node(t, node.Options{}).connect(t, u, devicetest.JSON)
	none.SendText(t, event("who", 1))
	wantAck(t, none.Next(t), 1, "InternalServerError")
	none.SendText(t, `{"type":"joinGroup","group":"g","ackId":2}`)
	f := none.Next(t)
	wantAck(t, f, 2, "Forbidden")
}

func testInvoke(t *testing.T, w *world) {
	h := w.node(t, node.Options{OnEvent: func(_ context.Context, _ node.Connection, e node.Event) (*node.Reply, error) {
		switch {
		case !e.Invocation:
			return nil, errors.New("no invocation")
		case e.Name == "silent":
			return nil, nil
		case e.Name == "broken":
			return &node.Reply{DataType: node.JSON, Data: []byte(`}`)}, nil
		case e.Name == "echo":
			return &node.Reply{DataType: e.DataType, Data: e.Data}, nil
		}
		return nil, errors.New("secret reason")
	}})
	d := h.connect(t, user(), devicetest.Reliable)
	invoke := func(id, name string) devicetest.Frame {
		d.SendText(t, fmt.Sprintf(`{"type":"invoke","invocationId":%q,"target":"event","event":%q,"dataType":"json","data":[1,2]}`, id, name))
		f := d.Next(t)
		require.Equal(t, devicetest.TypeInvoke, f.Type)
		require.Equal(t, id, f.InvocationID)
		return f
	}
	f := invoke("1", "echo")
	assert.True(t, f.Success)
	assert.Equal(t, "[1,2]", string(f.Data))
	f = invoke("2", "fail")
	assert.False(t, f.Success)
	assert.Equal(t, "InternalServerError", f.Error.Name)
	assert.NotContains(t, string(f.Raw), "secret")
	f = invoke("3", "silent")
	assert.True(t, f.Success)
	assert.NotEmpty(t, f.DataType, "official clients drop data without a type")
	assert.False(t, invoke("4", "broken").Success)
}

func testSimpleEvents(t *testing.T, w *world) {
	h := w.node(t, node.Options{OnEvent: func(_ context.Context, _ node.Connection, e node.Event) (*node.Reply, error) {
		if e.Name != "message" || string(e.Data) == "fail" {
			return nil, errors.New("no")
		}
		return &node.Reply{DataType: e.DataType, Data: append([]byte("got "), e.Data...)}, nil
	}})
	d := h.connect(t, user(), devicetest.None)
	d.SendRaw(t, websocket.MessageText, []byte("text"))
	f := d.Next(t)
	assert.Equal(t, "got text", string(f.Raw))
	assert.False(t, f.Binary)
	d.SendRaw(t, websocket.MessageBinary, []byte{0, 255})
	f = d.Next(t)
	assert.Equal(t, "got \x00\xff", string(f.Raw))
	assert.True(t, f.Binary)
	d.SendText(t, "fail")
	assert.EqualValues(t, 1011, d.Ended(t))
}

// testEventOrder: one connection's events are handled one after the other, and
// a handler that blocks holds back nobody else.
func testEventOrder(t *testing.T, w *world) {
	release := make(chan struct{})
	h := w.node(t, node.Options{OnEvent: func(ctx context.Context, _ node.Connection, e node.Event) (*node.Reply, error) {
		if e.Name == "block" {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return &node.Reply{DataType: node.Text, Data: []byte(e.Name)}, nil
	}})
	u := user()
	blocked, other := h.connect(t, u, devicetest.JSON), h.connect(t, u, devicetest.JSON)
	blocked.SendText(t, event("block", 1))
	blocked.SendText(t, event("after", 2))
	other.SendText(t, event("free", 1))
	assert.Equal(t, "free", other.Message(t).Text())
	assert.Zero(t, blocked.Pending())
	// Messages go out to it all the same.
	w.realtime(t, u, 1)
	assert.Equal(t, "1", string(blocked.Message(t).Data))
	close(release)
	assert.Equal(t, "block", blocked.Message(t).Text())
	wantAck(t, blocked.Next(t), 1, "")
	assert.Equal(t, "after", blocked.Message(t).Text())
	wantAck(t, blocked.Next(t), 2, "")
}
