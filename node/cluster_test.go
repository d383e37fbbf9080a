package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

// TestMovesOnACluster: the channels of a cluster take several ways, and one may
// be slower than the one over which a connection moves. What the slow way
// brings to the new node was moved already, and comes twice; what it brings to
// the old one comes too late. Stored messages are neither lost nor doubled by it.
func TestMovesOnACluster(t *testing.T) {
	t.Parallel()
	w, addrs := newCluster(t)
	clientA, tapA := openOnCluster(t, w, addrs)
	clientB, tapB := openOnCluster(t, w, addrs)
	a, b := w.nodeOn(t, clientA, node.Options{}), w.nodeOn(t, clientB, node.Options{})
	defer tapA.thaw()
	defer tapB.thaw()

	t.Run("twice", func(t *testing.T) {
		u := user()
		url := a.url(t, u)
		d := devicetest.Connect(t, devicetest.Options{URL: url, Subprotocol: devicetest.Reliable})
		witness := a.connect(t, u, devicetest.JSON)
		d.Drop()
		asked := tapA.holdAt(`"reason":"hand"`)
		type dialled struct {
			*devicetest.Device
			err error
		}
		recovered := make(chan dialled, 1)
		go func() {
			r, _, err := devicetest.Dial(t.Context(), devicetest.Options{
				URL: strings.Replace(devicetest.RecoveryURL(url, d.Connected.ConnectionID, d.Connected.ReconnectionToken),
					a.server.URL[len("http"):], b.server.URL[len("http"):], 1),
				Subprotocol: devicetest.Reliable,
			})
			recovered <- dialled{r, err}
		}()
		<-asked // the new node is subscribed by now
		tapB.hold(t, w.names.Realtime(u))
		w.realtime(t, u, "moved")
		require.JSONEq(t, `"moved"`, string(witness.Message(t).Data))
		stored := w.reliable(t, u, "stored")
		tapA.thaw()
		r := <-recovered
		require.NoError(t, r.err)
		d = r.Device
		require.Equal(t, devicetest.TypeConnected, d.Next(t).Type)
		first := d.Message(t)
		require.JSONEq(t, `"moved"`, string(first.Data))
		e := d.Envelope(t)
		require.Equal(t, stored, e.ID)
		tapB.thaw()
		again := d.Message(t)
		require.JSONEq(t, `"moved"`, string(again.Data))
		require.Greater(t, again.SequenceID, e.SequenceID)
		d.SequenceAck(t, again.SequenceID)
		w.finished(t, stored)
		w.nothingStored(t, u, d)
		d.Close(websocket.StatusNormalClosure)
		witness.Close(websocket.StatusNormalClosure)
	})

	t.Run("missed", func(t *testing.T) {
		u := user()
		url := a.url(t, u)
		d := devicetest.Connect(t, devicetest.Options{URL: url, Subprotocol: devicetest.Reliable})
		d.Drop()
		tapA.hold(t, w.names.Realtime(u))
		everywhere := heardEverywhere(t, addrs, w.names.Realtime(u))
		w.realtime(t, u, "late")
		stored := w.reliable(t, u, "stored")
		everywhere()
		d = recoverAt(t, d, a, b, url)
		e := d.Envelope(t)
		require.Equal(t, stored, e.ID)
		tapA.thaw()
		w.nothingStored(t, u, d) // nor the realtime message
		d.SequenceAck(t, d.LastSequenceID())
		w.finished(t, stored)
	})
}

// heardEverywhere waits until a message on a channel has come to every server.
func heardEverywhere(t *testing.T, addrs []string, channel string) (wait func()) {
	t.Helper()
	var subs []*redis.PubSub
	for _, addr := range addrs {
		rdb := redis.NewClient(&redis.Options{Addr: addr})
		sub := rdb.Subscribe(t.Context(), channel)
		_, err := sub.Receive(t.Context())
		require.NoError(t, err)
		t.Cleanup(func() { _, _ = sub.Close(), rdb.Close() })
		subs = append(subs, sub)
	}
	return func() {
		for _, sub := range subs {
			_, err := sub.ReceiveMessage(t.Context())
			require.NoError(t, err)
		}
	}
}

// TestStatesOnACluster: an answer that is older than a change, or a change that is
// older than an answer, comes late over another way, and changes nothing.
func TestStatesOnACluster(t *testing.T) {
	t.Parallel()
	w, addrs := newCluster(t)
	clientA, _ := openOnCluster(t, w, addrs)
	clientB, tapB := openOnCluster(t, w, addrs)
	a, b := w.nodeOn(t, clientA, node.Options{}), w.nodeOn(t, clientB, node.Options{})
	defer tapB.thaw()
	var h *hubOf
	var eve, bob *devicetest.Device
	var channel string
	// Answers and changes must take two ways.
	for range 50 {
		h = newHub(t, w)
		eve = h.member(t, b, "eve", devicetest.JSON)
		channel = w.names.HubGroup(strings.ToLower(h.Name()), "g")
		if tapB.carrier(t, channel) != tapB.carrier(t, w.names.Replies("")) {
			break
		}
		eve.Drop()
	}
	require.NotSame(t, tapB.carrier(t, channel), tapB.carrier(t, w.names.Replies("")), "one of 50 groups is on another server")
	bob = h.member(t, b, "bob", devicetest.JSON)
	ann := h.member(t, a, "ann", devicetest.JSON)
	set := func(n string) { require.True(t, ann.SetState(t, "g", state{"n": n}).Success) }
	// heard returns when node b has heard all changes: messages to a group come
	// behind them.
	heard := func() {
		t.Helper()
		require.NoError(t, h.SendToGroup(t.Context(), "g", gateway.Text("mark")))
		require.Equal(t, "mark", bob.Message(t).Text())
		require.Equal(t, "mark", eve.Message(t).Text())
	}

	set("1")
	heard()
	answered := tapB.holdAt(`"s":{"n":"1"}`)
	id := eve.NextAckID()
	eve.PostWatchStates(t, "g", id)
	<-answered
	set("2")
	heard()
	tapB.thaw()
	f := eve.AckOf(t, *id)
	require.True(t, f.Success, "%s", f.Raw)
	f = eve.Next(t)
	require.Equal(t, devicetest.TypeStateSnapshot, f.Type)
	require.Len(t, f.Items, 1)
	require.Equal(t, state{"n": "2"}, f.Items[0].State, "the answer is older")
	require.Empty(t, untilPong(t, eve))
	require.True(t, eve.UnwatchStates(t, "g").Success)

	tapB.hold(t, channel)
	set("3")
	set("4")
	began := time.Now()
	snapshot := watch(t, eve) // one node does not answer: its own question waits as well
	require.Less(t, time.Since(began), devicetest.Patience)
	require.Len(t, snapshot, 1)
	require.Equal(t, state{"n": "4"}, snapshot[0].State)
	tapB.thaw()
	require.NoError(t, h.SendToGroup(t.Context(), "g", gateway.Text("mark")))
	require.Equal(t, "mark", eve.Next(t).Text(), "the changes are older")
	set("5")
	require.Equal(t, state{"n": "5"}, update(t, eve).State)
}
