package node_test

import (
	"context"
	"errors"
	"fmt"
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
	"hook/request":     testHookRequest,
	"hook/identity":    testHookIdentity,
	"hook/subprotocol": testHookSubprotocol,
	"hook/state":       testHookState,
	"hook/stateMoves":  testHookStateMoves,
	"hook/refusals":    testHookRefusals,
	"hook/badGroup":    testHookBadGroup,
})

// testHookRequest: OnConnect sees the token, the query and the header.
func testHookRequest(t *testing.T, w *world) {
	seen := make(chan *node.ConnectRequest, 1)
	a := w.node(t, node.Options{OnConnect: func(_ context.Context, c *node.ConnectRequest) error {
		seen <- c
		return nil
	}})
	h := newHub(t, w)
	access, err := h.ClientAccessToken(t.Context(), "ann", gateway.WithEndpoint(a.server.URL),
		gateway.WithRoles("webpubsub.sendToGroup.a", "custom"), gateway.WithGroups("x", "y"))
	require.NoError(t, err)
	offered := []string{"custom.one", devicetest.Reliable, devicetest.JSON}
	d := devicetest.Connect(t, devicetest.Options{
		URL: access.URL + "&Color=red&color=blue", Subprotocols: offered, Header: map[string][]string{"X-Test": {"yes"}},
	})
	c := <-seen
	assert.Equal(t, h.Name(), c.Hub)
	assert.Equal(t, "ann", c.UserID)
	assert.Equal(t, []string{"webpubsub.sendToGroup.a", "custom"}, c.Roles)
	assert.ElementsMatch(t, []string{"x", "y"}, c.Groups)
	assert.Equal(t, offered, c.Subprotocols)
	assert.Equal(t, devicetest.Reliable, c.Subprotocol, "the first that the node knows")
	assert.Equal(t, []string{"ann"}, c.Claims["sub"])
	assert.Equal(t, []string{"webpubsub.sendToGroup.a", "custom"}, c.Claims["role"])
	assert.Equal(t, "yes", c.Request.Header.Get("X-Test"))
	assert.Equal(t, []string{"blue"}, c.Request.URL.Query()["color"])
	assert.Equal(t, devicetest.Reliable, d.Subprotocol())
}

func testHookIdentity(t *testing.T, w *world) {
	change := make(chan func(*node.ConnectRequest), 1)
	a := w.node(t, node.Options{OnConnect: func(_ context.Context, c *node.ConnectRequest) error {
		(<-change)(c)
		return nil
	}})
	h, ctx := newHub(t, w), t.Context()
	connect := func(f func(*node.ConnectRequest)) *devicetest.Device {
		t.Helper()
		change <- f
		return h.connect(a, "ann", devicetest.JSON, anyRoles, gateway.WithGroups("token"))
	}
	in := func(d *devicetest.Device, group string) bool {
		t.Helper()
		require.NoError(t, h.SendToGroup(ctx, group, gateway.Text(group)))
		require.NoError(t, h.SendToConnection(ctx, d.Connected.ConnectionID, gateway.Text("end")))
		got := d.Message(t).Text() == group
		if got {
			d.Message(t)
		}
		return got
	}

	d := connect(func(*node.ConnectRequest) {})
	assert.Equal(t, "ann", d.Connected.UserID)
	assert.True(t, in(d, "token"))
	assert.True(t, d.Join(t, "anything").Success)
	d.Close(websocket.StatusNormalClosure)

	d = connect(func(c *node.ConnectRequest) {
		c.UserID, c.Roles, c.Groups = "bob", []string{"webpubsub.sendToGroup.only"}, []string{"hook", "hook", "höok/2"}
	})
	assert.Equal(t, "bob", d.Connected.UserID)
	assert.False(t, in(d, "token"), "the groups are replaced")
	assert.True(t, in(d, "hook"))
	assert.True(t, in(d, "höok/2"))
	assert.Equal(t, "Forbidden", d.Join(t, "anything").Error.Name)
	assert.True(t, d.SendToGroup(t, devicetest.GroupMessage{Group: "only"}).Success)
	require.Eventually(t, func() bool { // the node may not have read yet that ann has gone
		ok, err := h.UserExists(ctx, "ann")
		return assert.NoError(t, err) && !ok
	}, devicetest.Patience, 5*time.Millisecond)
	require.NoError(t, h.SendToUser(ctx, "bob", gateway.Text("you are bob")))
	assert.Equal(t, "you are bob", d.Message(t).Text())
	d.Close(websocket.StatusNormalClosure)

	d = connect(func(c *node.ConnectRequest) { c.UserID, c.Roles, c.Groups = "", []string{}, nil })
	assert.Empty(t, d.Connected.UserID, "it is anonymous")
	assert.Equal(t, "Forbidden", d.Join(t, "anything").Error.Name, "an empty list clears the roles")
	assert.Equal(t, "Forbidden", d.SendToGroup(t, devicetest.GroupMessage{Group: "only"}).Error.Name)
	assert.False(t, in(d, "token"))
	assert.False(t, in(d, "hook"))
}

func testHookSubprotocol(t *testing.T, w *world) {
	choice := make(chan string, 1)
	a := w.node(t, node.Options{
		OnConnect: func(_ context.Context, c *node.ConnectRequest) error {
			c.Subprotocol = <-choice
			return nil
		},
		OnEvent: func(_ context.Context, c node.Connection, e node.Event) (*node.Reply, error) {
			return &node.Reply{DataType: node.Text, Data: fmt.Appendf(nil, "%s %q", e.Name, c.Subprotocol)}, nil
		},
	})
	offered := []string{"mqtt", devicetest.JSON, devicetest.ProtobufReliable}
	for name, status := range map[string]int{
		devicetest.JSON: 101, devicetest.ProtobufReliable: 101, "mqtt": 101, "": 101,
		devicetest.Reliable: 500, "xmpp": 500, "MQTT": 500,
	} {
		choice <- name
		ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
		d, response, err := devicetest.Dial(ctx, devicetest.Options{URL: a.url(t, user()), Subprotocols: offered})
		cancel()
		if status != 101 {
			require.Error(t, err, name)
			require.NotNil(t, response)
			assert.Equal(t, status, response.StatusCode, name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, name, d.Subprotocol())
		if name == "mqtt" || name == "" {
			require.NoError(t, d.TrySendRaw(websocket.MessageText, []byte(`{"type":"ping"}`)))
			assert.Equal(t, fmt.Sprintf("message %q", name), string(d.Next(t).Raw), "it is a simple client")
		} else {
			f := d.Next(t)
			assert.Equal(t, devicetest.TypeConnected, f.Type)
			assert.Equal(t, name == devicetest.ProtobufReliable, f.ReconnectionToken != "")
		}
		d.Close(websocket.StatusNormalClosure)
	}
	assert.Eventually(t, func() bool { return a.Connections() == 0 }, devicetest.Patience, time.Millisecond, "refused ones are not counted")
}

func testHookState(t *testing.T, w *world) {
	states := make(chan string, 10)
	a := w.node(t, node.Options{
		OnConnect: func(_ context.Context, c *node.ConnectRequest) error {
			assert.Empty(t, c.State)
			c.State = "zero"
			return nil
		},
		OnConnected: func(_ context.Context, c node.Connection) { states <- "connected " + c.State },
		OnEvent: func(_ context.Context, c node.Connection, e node.Event) (*node.Reply, error) {
			states <- e.Name + " " + c.State
			next := string(e.Data)
			switch e.Name {
			case "set":
				return &node.Reply{State: &next}, nil
			case "setAndReply":
				return &node.Reply{State: &next, DataType: node.Text, Data: []byte("reply")}, nil
			case "setAndFail":
				return &node.Reply{State: &next}, errors.New("no")
			}
			return nil, nil
		},
		OnDisconnected: func(_ context.Context, c node.Connection, _ string) { states <- "disconnected " + c.State },
	})
	d := a.connect(t, user(), devicetest.Reliable)
	want := func(text string) {
		t.Helper()
		select {
		case got := <-states:
			require.Equal(t, text, got)
		case <-time.After(devicetest.Patience):
			t.Fatalf("%q did not happen", text)
		}
	}
	want("connected zero")
	require.True(t, d.Event(t, "set", 1).Success)
	want("set zero")
	assert.Empty(t, untilPong(t, d), "a state alone is no answer")
	require.True(t, d.Event(t, "setAndReply", "two").Success)
	want("setAndReply 1")
	assert.Equal(t, "reply", d.Message(t).Text())
	d.Drop()
	d = d.Recover(t)
	require.False(t, d.Event(t, "setAndFail", 3).Success)
	want(`setAndFail "two"`)
	require.True(t, d.Event(t, "look", 4).Success)
	want(`look "two"`)
	d.SendText(t, `{"type":"event","event":"set","dataType":"text","data":""}`)
	want(`set "two"`)
	d.SendText(t, `{"type":"invoke","invocationId":"i","target":"event","event":"set","dataType":"text","data":"invoked"}`)
	want("set ")
	for f := d.Next(t); f.Type != devicetest.TypeInvoke; f = d.Next(t) {
		continue
	}
	d.Close(websocket.StatusNormalClosure)
	want("disconnected invoked")
}

// testHookStateMoves: the state goes with the connection to another node, and
// nobody is asked or told again.
func testHookStateMoves(t *testing.T, w *world) {
	log := newHooks()
	opts := log.options(node.Options{
		OnConnect: func(_ context.Context, c *node.ConnectRequest) error {
			log.note("connect")
			c.State = "from connect"
			return nil
		},
		OnEvent: func(_ context.Context, c node.Connection, e node.Event) (*node.Reply, error) {
			log.note(e.Name + " " + c.State)
			next := "from event"
			return &node.Reply{State: &next}, nil
		},
	})
	a, b := w.node(t, opts), w.node(t, opts)
	base := a.url(t, user())
	d := devicetest.Connect(t, devicetest.Options{URL: base, Subprotocol: devicetest.Reliable})
	require.True(t, d.Event(t, "first", 1).Success)
	log.wait(t, "first from connect")
	d.Drop()
	d = recoverAt(t, d, a, b, base)
	d.SendText(t, `{"type":"event","event":"second","ackId":90,"dataType":"text","data":"x"}`)
	require.True(t, d.AckOf(t, 90).Success)
	log.wait(t, "second from event")
	d.Close(websocket.StatusNormalClosure)
	id := d.Connected.ConnectionID
	log.wait(t, "disconnected "+id)
	assert.Equal(t, []int{1, 1, 1}, []int{log.count("connect"), log.count("connected " + id), log.count("disconnected " + id)})
}

func testHookRefusals(t *testing.T, w *world) {
	refusal := make(chan error, 1)
	log := newHooks()
	a := w.node(t, log.options(node.Options{OnConnect: func(context.Context, *node.ConnectRequest) error { return <-refusal }}))
	for _, c := range []struct {
		err    error
		status int
	}{
		{errors.New("secret"), 403},
		{&node.RefuseError{Status: 401, Message: "who are you?"}, 401},
		{&node.RefuseError{Status: 403, Message: "banned"}, 403},
		{&node.RefuseError{Status: 429, Message: "later"}, 429},
		{&node.RefuseError{Status: 599, Message: "odd"}, 599},
		{fmt.Errorf("wrapped: %w", &node.RefuseError{Status: 404, Message: "no such room"}), 404},
		{&node.RefuseError{Status: 200, Message: "not a refusal"}, 500},
		{&node.RefuseError{Status: 101}, 500},
		{&node.RefuseError{Status: 0}, 500},
	} {
		for _, sub := range []string{devicetest.None, devicetest.Reliable} {
			refusal <- c.err
			assert.Equal(t, c.status, dialStatus(t, devicetest.Options{URL: a.url(t, user()), Subprotocol: sub}), "%v", c.err)
		}
	}
	assert.Zero(t, a.Connections())
	assert.Empty(t, log.log, "who was refused was never connected")
	refusal <- nil
	assert.Equal(t, 101, dialStatus(t, devicetest.Options{URL: a.url(t, user())}))
}

func testHookBadGroup(t *testing.T, w *world) {
	a := w.node(t, node.Options{OnConnect: func(_ context.Context, c *node.ConnectRequest) error {
		if c.UserID == "hook" {
			c.Groups = []string{"fine", " \t"}
		}
		return nil
	}})
	h := newHub(t, w)
	for userID, groups := range map[string][]string{"hook": nil, "token": {"fine", ""}} {
		access, err := h.ClientAccessToken(t.Context(), userID, gateway.WithEndpoint(a.server.URL), gateway.WithGroups(groups...))
		if err != nil {
			continue // the client refuses to make such a token
		}
		assert.Equal(t, 400, dialStatus(t, devicetest.Options{URL: access.URL, Subprotocol: devicetest.JSON}), userID)
	}
	assert.Zero(t, a.Connections())
}
