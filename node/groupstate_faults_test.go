package node_test

import (
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

// presenceTime is how long the states of a dead node may be seen, as the
// documentation says, with time for a slow machine.
const presenceTime = 10*time.Second + devicetest.Patience

// nextWithin is Next with more patience.
func nextWithin(t *testing.T, d *devicetest.Device) devicetest.Frame {
	t.Helper()
	require.Eventually(t, func() bool { return d.Pending() > 0 }, presenceTime, 5*time.Millisecond)
	return d.Next(t)
}

// TestStatesOfADeadNode: what the connections of a node without Redis had ends
// for who watches on another node, and is there again when it is back. Changes
// that were made meanwhile are seen then, on both sides.
func TestStatesOfADeadNode(t *testing.T) {
	t.Parallel()
	w, p, cfg := proxied(t, func(c *gateway.Config) *string { return &c.Redis.Addrs[0] })
	lost, other := w.nodeOn(t, openClient(t, cfg), node.Options{}), w.node(t, node.Options{})
	h := newHub(t, w)
	ann, leaver := h.member(t, lost, "ann", devicetest.JSON), h.member(t, lost, "leaver", devicetest.JSON)
	still := h.member(t, lost, "still", devicetest.JSON)
	bob := h.member(t, other, "bob", devicetest.Reliable)
	require.True(t, ann.SetState(t, "g", state{"n": "1"}).Success)
	require.True(t, leaver.SetState(t, "g", state{"n": "1"}).Success)
	require.True(t, still.SetState(t, "g", state{"n": "1"}).Success)
	require.True(t, bob.SetState(t, "g", state{"n": "1"}).Success)
	var sees, annSees mirror
	require.True(t, bob.WatchStates(t, "g").Success)
	require.True(t, ann.WatchStates(t, "g").Success)
	annID, leaverID, bobID := ann.Connected.ConnectionID, leaver.Connected.ConnectionID, bob.Connected.ConnectionID
	stillID := still.Connected.ConnectionID
	all := map[string]state{annID: {"n": "1"}, leaverID: {"n": "1"}, stillID: {"n": "1"}, bobID: {"n": "1"}}
	sees.until(t, bob, all)
	annSees.until(t, ann, all)

	p.cut()
	for len(sees.live()) > 1 {
		sees.apply(t, nextWithin(t, bob))
	}
	require.Equal(t, map[string]state{bobID: {"n": "1"}}, sees.live())
	require.Empty(t, untilPong(t, ann), "who is cut off judges nobody")
	// It cannot be published, and the device is told so.
	assert.Equal(t, "InternalServerError", ann.SetState(t, "g", state{"n": "2"}).Error.Name)
	leaver.Close(websocket.StatusNormalClosure)
	require.True(t, bob.SetState(t, "g", state{"n": "2"}).Success)

	p.heal()
	for want := (map[string]state{annID: {"n": "2"}, stillID: {"n": "1"}, bobID: {"n": "2"}}); ; {
		if assert.ObjectsAreEqual(want, sees.live()) {
			break
		}
		sees.apply(t, nextWithin(t, bob))
	}
	for want := sees.live(); !assert.ObjectsAreEqual(want, annSees.live()); {
		annSees.apply(t, nextWithin(t, ann))
	}
	require.True(t, ann.SetState(t, "g", state{"n": "3"}).Success)
	sees.until(t, bob, map[string]state{annID: {"n": "3"}, stillID: {"n": "1"}, bobID: {"n": "2"}})
}

// TestStatesAcrossGaps: the node's connection to Redis breaks again and again
// while states change; in the end all know the same.
func TestStatesAcrossGaps(t *testing.T) {
	t.Parallel()
	w, p, cfg := proxied(t, func(c *gateway.Config) *string { return &c.Redis.Addrs[0] })
	gaps, other := w.nodeOn(t, openClient(t, cfg), node.Options{}), w.node(t, node.Options{})
	h := newHub(t, w)
	ann, bob := h.member(t, gaps, "ann", devicetest.JSON), h.member(t, other, "bob", devicetest.JSON)
	require.True(t, ann.WatchStates(t, "g").Success)
	require.True(t, bob.WatchStates(t, "g").Success)
	for i := range 200 {
		if i%40 == 20 {
			p.reset()
		}
		ann.SetState(t, "g", state{"n": itoa(i)}) // may fail while there is no connection
		require.True(t, bob.SetState(t, "g", state{"n": itoa(i)}).Success)
	}
	want := map[string]state{ann.Connected.ConnectionID: {"n": "199"}, bob.Connected.ConnectionID: {"n": "199"}}
	for _, d := range []*devicetest.Device{ann, bob} {
		var m mirror
		for !assert.ObjectsAreEqual(want, m.live()) {
			m.apply(t, nextWithin(t, d))
		}
	}
}
