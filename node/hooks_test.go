package node_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"hooks/order":      testHooksOrder,
	"hooks/keepAlive":  testKeepAlive,
	"hooks/reachesNow": testConnectedReaches,
})

func code16(code int) websocket.StatusCode { return websocket.StatusCode(code) }

// hooks notes what a node told the application.
type hooks struct {
	mu   sync.Mutex
	log  []string
	more chan struct{}
}

func newHooks() *hooks { return &hooks{more: make(chan struct{}, 1)} }

func (h *hooks) note(text string) {
	h.mu.Lock()
	h.log = append(h.log, text)
	h.mu.Unlock()
	select {
	case h.more <- struct{}{}:
	default:
	}
}

func (h *hooks) count(text string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, line := range h.log {
		if line == text {
			n++
		}
	}
	return n
}

// wait waits until something was noted.
func (h *hooks) wait(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(devicetest.Patience)
	for h.count(text) == 0 {
		select {
		case <-h.more:
		case <-deadline:
			t.Fatalf("%q did not happen", text)
		}
	}
}

func (h *hooks) options(o node.Options) node.Options {
	o.OnConnected = func(_ context.Context, c node.Connection) { h.note("connected " + c.ID) }
	o.OnDisconnected = func(_ context.Context, c node.Connection, _ string) { h.note("disconnected " + c.ID) }
	return o
}

func testHooksOrder(t *testing.T, w *world) {
	var mu sync.Mutex
	var log []string
	note := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, text)
	}
	over := make(chan node.Connection, 1)
	u := user()
	h := w.node(t, node.Options{
		OnConnect: func(_ context.Context, c *node.ConnectRequest) error {
			note("connect " + c.Hub + " " + c.Claims["sub"][0])
			assert.Equal(t, []string{devicetest.Reliable}, c.Subprotocols)
			if c.UserID == u+"-refused" {
				return errors.New("no")
			}
			c.UserID = u
			return nil
		},
		OnConnected: func(_ context.Context, c node.Connection) {
			note("connected " + c.UserID)
		},
		OnEvent: func(_ context.Context, c node.Connection, e node.Event) (*node.Reply, error) {
			note("event " + e.Name + " " + c.UserID)
			return nil, nil
		},
		OnDisconnected: func(_ context.Context, c node.Connection, _ string) {
			note("disconnected " + c.UserID)
			over <- c
		},
	})
	require.Equal(t, 403, dialStatus(t, devicetest.Options{URL: h.url(t, u+"-refused"), Subprotocol: devicetest.Reliable}))
	d := h.connect(t, "someone", devicetest.Reliable)
	require.Equal(t, u, d.Connected.UserID)
	require.True(t, d.Event(t, "first", 1).Success)
	d.Drop()
	d = d.Recover(t)
	require.True(t, d.Event(t, "second", 1).Success)
	d.Close(1000)
	select {
	case c := <-over:
		assert.Equal(t, node.Connection{ID: d.Connected.ConnectionID, Hub: "default", UserID: u, Subprotocol: devicetest.Reliable}, c)
	case <-time.After(devicetest.Patience):
		t.Fatal("OnDisconnected was not called")
	}
	h.stop()
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, []string{
		"connect default " + u + "-refused", "connect default someone", "connected " + u,
		"event first " + u, "event second " + u, "disconnected " + u,
	}, log)
}

// testKeepAlive: a device that answers pings stays; one that is silent goes.
func testKeepAlive(t *testing.T, w *world) {
	log := newHooks()
	h := w.node(t, log.options(node.Options{PingInterval: 100 * time.Millisecond, RecoveryWindow: 100 * time.Millisecond}))
	u := user()
	alive := h.connect(t, u, devicetest.JSON) // its library answers pings
	silent := devicetest.Connect(t, devicetest.Options{URL: h.url(t, u), Subprotocol: devicetest.Reliable, Slow: true})
	require.Eventually(t, func() bool { return h.Connections() == 2 }, devicetest.Patience, time.Millisecond)
	require.Eventually(t, func() bool { return h.Connections() == 1 }, devicetest.Patience, 5*time.Millisecond)
	w.nothingStored(t, u, alive)
	silent.Wake()
	silent.Ended(t)
	assert.Zero(t, log.count("disconnected "+alive.Connected.ConnectionID))
}

// testConnectedReaches: what is sent to a device right after it connected
// reaches it, whoever sends.
func testConnectedReaches(t *testing.T, w *world) {
	var mu sync.Mutex
	var failed []error
	h := w.node(t, node.Options{OnConnected: func(ctx context.Context, c node.Connection) {
		err := w.client.SendRealtime(ctx, c.UserID, "welcome")
		mu.Lock()
		defer mu.Unlock()
		failed = append(failed, err)
	}})
	for range 20 {
		u := user()
		d := h.connect(t, u, devicetest.Reliable)
		w.realtime(t, u, "hello")
		got := []string{string(d.Message(t).Data), string(d.Message(t).Data)}
		slices.Sort(got)
		require.Equal(t, []string{`"hello"`, `"welcome"`}, got)
		d.Drop()
	}
	mu.Lock()
	defer mu.Unlock()
	for _, err := range failed {
		require.NoError(t, err)
	}
}
