package node_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"recovery/noGap":        testRecoveryNoGap,
	"recovery/refused":      testRecoveryRefused,
	"recovery/newestWins":   testNewestWins,
	"recovery/staleToken":   testStaleToken,
	"recovery/closeNormal":  testCloseNormal,
	"recovery/windowPassed": testWindowPassed,
	"recovery/overflow":     testOverflowWhileAway,
})

// testRecoveryNoGap: the TCP connection breaks again and again while messages
// flow; the device sees each sequence number, and each message, exactly once.
func testRecoveryNoGap(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	for _, subprotocol := range []string{devicetest.Reliable, devicetest.ProtobufReliable} {
		u := user()
		d := h.connect(t, u, subprotocol)
		id := d.Connected.ConnectionID
		const n, breaks = 200, 8
		sent := make(chan string, n)
		go func() {
			defer close(sent)
			for i := range n {
				if i%2 == 0 {
					mid, err := w.client.SendReliable(t.Context(), u, i)
					if !assert.NoError(t, err) {
						return
					}
					sent <- mid
				} else if !assert.NoError(t, w.client.SendRealtime(t.Context(), u, i)) {
					return
				}
			}
		}()
		var expect uint64
		seen := map[string]int{}
		realtime := 0
		for got := 0; got < n; {
			f := d.Message(t)
			if f.SequenceID <= expect {
				continue // sent again by a recovery, dropped by every client
			}
			require.Equal(t, expect+1, f.SequenceID, "no gap")
			expect = f.SequenceID
			got++
			if e, ok := f.Envelope(); ok {
				seen[e.ID]++
			} else {
				realtime++
			}
			switch {
			case got%(n/breaks) == 0:
				d.Drop()
				d = d.Recover(t)
				require.Equal(t, id, d.Connected.ConnectionID)
				require.NotEmpty(t, d.Connected.ReconnectionToken)
			case got%7 == 0:
				d.SequenceAck(t, expect)
			}
		}
		require.Equal(t, n/2, realtime, "realtime messages survive a recovery as well")
		d.SequenceAck(t, expect)
		for mid := range sent {
			require.Equal(t, 1, seen[mid])
			w.finished(t, mid)
		}
	}
}

func testRecoveryRefused(t *testing.T, w *world) {
	h, other := w.node(t, node.Options{}), w.node(t, node.Options{})
	u := user()
	d, stranger := h.connect(t, u, devicetest.Reliable), other.connect(t, user(), devicetest.Reliable)
	good := d.Connected
	base := h.wsURL("/client/hubs/default")
	for name, c := range map[string]struct{ url, subprotocol string }{
		"bad token":           {devicetest.RecoveryURL(base, good.ConnectionID, "bad"), devicetest.Reliable},
		"token of another":    {devicetest.RecoveryURL(base, good.ConnectionID, stranger.Connected.ReconnectionToken), devicetest.Reliable},
		"unknown connection":  {devicetest.RecoveryURL(base, "0123456789abcdef0123456789abcdef", good.ReconnectionToken), devicetest.Reliable},
		"another subprotocol": {devicetest.RecoveryURL(base, good.ConnectionID, good.ReconnectionToken), devicetest.ProtobufReliable},
		"not recoverable":     {devicetest.RecoveryURL(base, good.ConnectionID, good.ReconnectionToken), devicetest.JSON},
		"no subprotocol":      {devicetest.RecoveryURL(base, good.ConnectionID, good.ReconnectionToken), devicetest.None},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
		again, _, err := devicetest.Dial(ctx, devicetest.Options{URL: c.url, Subprotocol: c.subprotocol})
		cancel()
		require.NoError(t, err, "%s: the handshake must complete", name)
		assert.Equal(t, c.subprotocol, again.Subprotocol(), name)
		assert.EqualValues(t, 1008, again.Ended(t), name)
		assert.Zero(t, again.Pending(), name)
	}
	// One parameter alone is no recovery, so it needs a token.
	assert.Equal(t, 401, dialStatus(t, devicetest.Options{URL: base + "?awps_connection_id=" + good.ConnectionID, Subprotocol: devicetest.Reliable}))
	w.nothingStored(t, u, d)
}

// testNewestWins: a recovery while the old socket looks alive replaces it.
func testNewestWins(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	w.realtime(t, u, 1)
	d.Message(t)
	again := d.Recover(t)
	assert.EqualValues(t, -1, d.Ended(t), "the old socket is dropped")
	assert.EqualValues(t, 1, again.Message(t).SequenceID)
	again.SequenceAck(t, 1)
	w.realtime(t, u, 2)
	assert.EqualValues(t, 2, again.Message(t).SequenceID)
	assert.Equal(t, 1, h.Connections())
}

// testStaleToken: the access token in the URL of a recovery is not looked at.
func testStaleToken(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	d := h.connect(t, user(), devicetest.Reliable)
	d.Drop()
	again := devicetest.Connect(t, devicetest.Options{
		URL:         devicetest.RecoveryURL(h.wsURL("/client/hubs/default?access_token=expired"), d.Connected.ConnectionID, d.Connected.ReconnectionToken),
		Subprotocol: devicetest.Reliable,
	})
	assert.Equal(t, d.Connected.ConnectionID, again.Connected.ConnectionID)
	again.Drop()
	again.Recover(t)
}

// testCloseNormal: 1000 ends a connection at once; other codes leave it to be
// recovered.
func testCloseNormal(t *testing.T, w *world) {
	log := newHooks()
	h := w.node(t, log.options(node.Options{RecoveryWindow: time.Minute}))
	d := h.connect(t, user(), devicetest.Reliable)
	d.Close(1000)
	log.wait(t, "disconnected "+d.Connected.ConnectionID)
	wantRefused(t, d)
	for _, code := range []int{1001, 1005, 3000} {
		d = h.connect(t, user(), devicetest.Reliable)
		if code == 1005 {
			d.SendCloseWithoutCode(t)
		} else {
			d.Close(code16(code))
		}
		d = d.Recover(t)
		d.Ping(t)
		require.Equal(t, devicetest.TypePong, d.Next(t).Type, strconv.Itoa(code))
		require.Zero(t, log.count("disconnected "+d.Connected.ConnectionID))
	}
	d = h.connect(t, user(), devicetest.JSON)
	d.Drop()
	log.wait(t, "disconnected "+d.Connected.ConnectionID)
}

// testWindowPassed: when nobody recovers a connection it ends, once, and its
// messages go to the next one.
func testWindowPassed(t *testing.T, w *world) {
	log := newHooks()
	h := w.node(t, log.options(node.Options{RecoveryWindow: 200 * time.Millisecond}))
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	id := w.reliable(t, u, 1)
	d.Envelope(t)
	d.Drop()
	d = d.Recover(t)
	require.Equal(t, id, d.Envelope(t).ID)
	d.Drop()
	log.wait(t, "disconnected "+d.Connected.ConnectionID)
	wantRefused(t, d)
	require.Eventually(t, func() bool { return h.Connections() == 0 }, devicetest.Patience, 5*time.Millisecond)
	next := h.connect(t, u, devicetest.Reliable)
	require.NotEqual(t, d.Connected.ConnectionID, next.Connected.ConnectionID)
	require.Equal(t, id, next.Envelope(t).ID)
	h.stop()
	assert.Equal(t, 1, log.count("connected "+d.Connected.ConnectionID))
	assert.Equal(t, 1, log.count("disconnected "+d.Connected.ConnectionID))
}

// testOverflowWhileAway: what a broken connection collects is bounded, too.
func testOverflowWhileAway(t *testing.T, w *world) {
	log := newHooks()
	h := w.node(t, log.options(node.Options{MaxQueue: 20, RecoveryWindow: time.Minute}))
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	d.Drop()
	id := w.reliable(t, u, 0)
	for i := range 25 {
		w.realtime(t, u, i)
	}
	log.wait(t, "disconnected "+d.Connected.ConnectionID)
	wantRefused(t, d)
	assert.NotEqual(t, gateway.StatusFinished, w.message(t, id).Status)
}

// TestRecoveryWithoutAccessKey: without a key that all nodes share, a connection
// can be recovered on its own node and nowhere else.
func TestRecoveryWithoutAccessKey(t *testing.T) {
	t.Parallel()
	w := newReal(t)
	w.cfg.AccessKey, w.cfg.SecondaryAccessKey = "", ""
	opts := node.Options{Authenticator: func(*http.Request) (node.Identity, error) { return node.Identity{UserID: "ann"}, nil }}
	own, other := w.node(t, opts), w.node(t, opts)
	d := devicetest.Connect(t, devicetest.Options{URL: own.wsURL("/client/hubs/default"), Subprotocol: devicetest.Reliable})
	d.Drop()
	elsewhere := devicetest.RecoveryURL(other.wsURL("/client/hubs/default"), d.Connected.ConnectionID, d.Connected.ReconnectionToken)
	refused, _, err := devicetest.Dial(t.Context(), devicetest.Options{URL: elsewhere, Subprotocol: devicetest.Reliable})
	require.NoError(t, err)
	require.EqualValues(t, 1008, refused.Ended(t))
	again := d.Recover(t)
	require.Equal(t, d.Connected.ConnectionID, again.Connected.ConnectionID)
}
