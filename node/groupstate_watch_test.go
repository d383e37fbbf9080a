package node_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"state/recovery":    testStateRecovery,
	"state/moves":       testStateMoves,
	"state/shutdown":    testStateShutdown,
	"state/noneIsLost":  testStateNoneIsLost,
	"state/slow":        testStateSlow,
	"state/slowAndMany": testStateSlowAndMany,
})

// testStateRecovery: a connection that is recovered on its node keeps state and
// watch, and hears what it missed; others hear nothing of it.
func testStateRecovery(t *testing.T, w *world) {
	at := w.node(t, node.Options{})
	for _, subprotocol := range []string{devicetest.Reliable, devicetest.ProtobufReliable} {
		t.Run(subprotocol, func(t *testing.T) {
			h := newHub(t, w) // of its own: the end of another's state would be an update
			d, other := h.member(t, at, "ann", subprotocol), h.member(t, at, "bob", devicetest.JSON)
			require.True(t, d.SetState(t, "g", state{"a": "1"}).Success)
			watch(t, d)
			watch(t, other)
			d.Drop()
			for i := range 3 {
				require.True(t, other.SetState(t, "g", state{"n": fmt.Sprint(i)}).Success)
				update(t, other)
			}
			d = d.Recover(t)
			f := d.Next(t)
			require.Equal(t, devicetest.TypeStateSnapshot, f.Type, "it was not acknowledged")
			require.EqualValues(t, 1, f.SequenceID)
			for i := range 3 {
				f = d.Next(t)
				require.Equal(t, devicetest.TypeStateUpdate, f.Type)
				require.EqualValues(t, i+2, f.SequenceID)
				require.Equal(t, fmt.Sprint(i), f.Items[0].State["n"])
			}
			require.Empty(t, untilPong(t, other))
			require.True(t, d.SetState(t, "g", state{"a": "2"}).Success)
			require.Equal(t, state{"a": "2"}, update(t, other).State)
			other.Close(websocket.StatusNormalClosure)
			d.Close(websocket.StatusNormalClosure)
		})
	}
}

// testStateMoves: a connection that is recovered on the other node keeps state
// and watch; others do not notice, and it misses nothing.
func testStateMoves(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h := newHub(t, w)
	access, err := h.ClientAccessToken(t.Context(), "ann", gateway.WithEndpoint(a.server.URL), stateRoles, gateway.WithGroups("g"))
	require.NoError(t, err)
	d := devicetest.Connect(t, devicetest.Options{URL: access.URL, Subprotocol: devicetest.Reliable})
	bob, eve := h.member(t, a, "bob", devicetest.JSON), h.member(t, b, "eve", devicetest.JSON)
	require.True(t, bob.SetState(t, "g", state{"n": "0"}).Success)
	require.True(t, eve.SetState(t, "g", state{"n": "0"}).Success)
	require.True(t, d.SetState(t, "g", state{"mine": "1"}).Success)
	var m mirror
	require.True(t, d.WatchStates(t, "g").Success)
	m.apply(t, d.Next(t))
	require.Len(t, m.live(), 3)
	require.Len(t, watch(t, eve), 3)

	hosts, changes := []*host{a, b}, 3
	for i := range 4 {
		from, to := hosts[i%2], hosts[(i+1)%2]
		d.SequenceAck(t, m.seq)
		untilPong(t, d)
		d.Drop()
		require.True(t, bob.SetState(t, "g", state{"n": fmt.Sprint(i + 1)}).Success)
		require.Equal(t, "bob", update(t, eve).UserID)
		if i == 2 {
			require.True(t, eve.SetState(t, "g", nil).Success)
			require.Equal(t, "eve", update(t, eve).UserID)
		}
		base := strings.Replace(access.URL, a.server.URL[7:], from.server.URL[7:], 1)
		d = recoverAt(t, d, from, to, base)
		want := map[string]state{
			bob.Connected.ConnectionID: {"n": fmt.Sprint(i + 1)}, d.Connected.ConnectionID: {"mine": "1"},
		}
		if i < 2 {
			want[eve.Connected.ConnectionID] = state{"n": "0"}
		}
		m.until(t, d, want)
		for _, f := range untilPong(t, d) {
			m.apply(t, f)
		}
		changes++
		if i == 2 {
			changes++
		}
		require.Equal(t, changes, m.items, "each change came once, and no second snapshot")
		require.Empty(t, untilPong(t, eve), "nobody heard of the move")
	}
	d.PostState(t, "g", state{"mine": "2"}, nil)
	require.Equal(t, state{"mine": "2"}, update(t, eve).State)
	d.Close(websocket.StatusNormalClosure)
	require.Nil(t, update(t, eve).State)
}

func testStateShutdown(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h := newHub(t, w)
	watcher := h.member(t, b, "watcher", devicetest.JSON)
	watch(t, watcher)
	for _, subprotocol := range []string{devicetest.JSON, devicetest.Reliable} {
		d := h.member(t, a, "ann", subprotocol)
		require.True(t, d.SetState(t, "g", state{"a": "1"}).Success)
		require.NotNil(t, update(t, watcher).State)
	}
	require.NoError(t, a.Shutdown(t.Context()))
	for range 2 {
		require.Nil(t, update(t, watcher).State)
	}
	require.Empty(t, untilPong(t, watcher))
}

// testStateNoneIsLost: while states change on both nodes, devices begin to
// watch, and move; in the end all know the same.
func testStateNoneIsLost(t *testing.T, w *world) {
	hosts := []*host{w.node(t, node.Options{}), w.node(t, node.Options{})}
	h := newHub(t, w)
	const writers, readers = 6, 4
	devices := make([]*devicetest.Device, writers)
	for i := range devices {
		devices[i] = h.member(t, hosts[i%2], fmt.Sprintf("w%d", i), pubsub[i%len(pubsub)])
	}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	finish := sync.OnceFunc(func() { close(stop); wg.Wait() })
	defer finish()
	final := map[string]state{}
	for i, d := range devices {
		last := state{"last": fmt.Sprint(i)}
		if i == 0 {
			last = nil
		} else {
			final[d.Connected.ConnectionID] = last
		}
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					assert.True(t, d.SetState(t, "g", last).Success)
					return
				default:
				}
				next := state{"n": fmt.Sprint(n)}
				if rand.IntN(4) == 0 {
					next = nil
				}
				assert.True(t, d.SetState(t, "g", next).Success)
			}
		})
	}
	moved, mirrors := make([]*devicetest.Device, readers), make([]mirror, readers)
	for i := range moved {
		from, to := hosts[i%2], hosts[(i+1)%2]
		access, err := h.ClientAccessToken(t.Context(), "r", gateway.WithEndpoint(from.server.URL), stateRoles, gateway.WithGroups("g"))
		require.NoError(t, err)
		d := devicetest.Connect(t, devicetest.Options{URL: access.URL, Subprotocol: devicetest.Reliable})
		require.True(t, d.WatchStates(t, "g").Success)
		for range 20 {
			mirrors[i].apply(t, d.Next(t))
		}
		d.SequenceAck(t, mirrors[i].seq)
		d.Drop()
		moved[i] = recoverAt(t, d, from, to, access.URL)
	}
	finish()
	for i, d := range moved {
		mirrors[i].until(t, d, final)
	}
}

// testStateSlow: a device that does not keep up is told the last states when it
// does again, and is not disconnected.
func testStateSlow(t *testing.T, w *world) {
	at, h := w.node(t, node.Options{MaxQueue: 20}), newHub(t, w)
	slow, busy := h.member(t, at, "slow", devicetest.Reliable), h.member(t, at, "busy", devicetest.JSON)
	watch(t, slow)
	slow.Drop()
	for i := range 100 {
		require.True(t, busy.SetState(t, "g", state{"n": fmt.Sprint(i)}).Success)
	}
	gone := h.member(t, at, "gone", devicetest.JSON)
	require.True(t, gone.SetState(t, "g", state{}).Success)
	gone.Close(websocket.StatusNormalClosure)
	slow = slow.Recover(t)
	var m mirror
	for m.live()[busy.Connected.ConnectionID]["n"] != "99" {
		m.apply(t, slow.Next(t))
		slow.SequenceAck(t, m.seq)
	}
	require.Less(t, m.frames, 15)
	m.until(t, slow, map[string]state{busy.Connected.ConnectionID: {"n": "99"}})
}

// testStateSlowAndMany: where too many changed, a snapshot says it all again.
func testStateSlowAndMany(t *testing.T, w *world) {
	at, h := w.node(t, node.Options{MaxQueue: 20}), newHub(t, w)
	slow := h.member(t, at, "slow", devicetest.Reliable)
	watch(t, slow)
	slow.Drop()
	// Each joins, says something, and is gone.
	var wg sync.WaitGroup
	var mu sync.Mutex
	stay := map[string]state{}
	for range 8 {
		wg.Go(func() {
			for range 135 {
				d := h.member(t, at, "", devicetest.JSON)
				assert.True(t, d.SetState(t, "g", state{"a": "1"}).Success)
				d.Drop()
			}
			d := h.member(t, at, "", devicetest.JSON)
			assert.True(t, d.SetState(t, "g", state{"stays": "1"}).Success)
			mu.Lock()
			defer mu.Unlock()
			stay[d.Connected.ConnectionID] = state{"stays": "1"}
		})
	}
	wg.Wait()
	slow = slow.Recover(t)
	var m mirror
	m.until(t, slow, stay)
	require.Equal(t, 2, m.snapshots)
}
