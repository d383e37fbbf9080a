package node_test

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"catchup/manyAndLive":     testCatchUpManyAndLive,
	"catchup/smallQueue":      testCatchUpSmallQueue,
	"catchup/neverAcks":       testNeverAcknowledges,
	"catchup/neverAcksPlain":  testNeverAcknowledgesPlain,
	"catchup/slowDevice":      testSlowDevice,
	"catchup/slowPlainDevice": testSlowPlainDevice,
	"catchup/twoDevices":      testCatchUpTwoDevices,
	"catchup/acknowledged":    testCatchUpAcknowledged,
})

// store stores n messages for a user who is away and returns their ids in
// order of seq.
func (w *world) store(t *testing.T, u string, n int, payload any) []string {
	t.Helper()
	var ids []string
	for len(ids) < n {
		batch := make([]gateway.Outgoing, min(n-len(ids), 1000))
		for i := range batch {
			batch[i] = gateway.Outgoing{UserID: u, Payload: payload}
		}
		sent, err := w.client.SendReliableBatch(t.Context(), batch)
		require.NoError(t, err)
		ids = append(ids, sent...)
	}
	return ids
}

// receive reads envelopes until n different ones have come, acknowledging as
// official clients do, and returns how often each came, and their order.
func receive(t *testing.T, d *devicetest.Device, n int) (counts map[string]int, order []string) {
	t.Helper()
	counts = map[string]int{}
	acked := uint64(0)
	for len(counts) < n {
		e := d.Envelope(t)
		if counts[e.ID]++; counts[e.ID] == 1 {
			order = append(order, e.ID)
		}
		if e.SequenceID-acked >= 300 || len(counts) == n || d.Pending() == 0 {
			acked = e.SequenceID
			d.SequenceAck(t, acked)
		}
	}
	return counts, order
}

// testCatchUpManyAndLive: more messages wait than the window holds, and others
// come meanwhile: nothing is lost or doubled, and what was stored comes in
// order.
func testCatchUpManyAndLive(t *testing.T, w *world) {
	waiting, live := 3000, 500
	if !w.real() {
		waiting, live = 800, 200 // SQLite in Go is slow under the race detector
	}
	h := w.node(t, node.Options{SweepInterval: 200 * time.Millisecond})
	u := user()
	stored := w.store(t, u, waiting, json.RawMessage(`{"text":"hello"}`))
	d := h.connect(t, u, devicetest.Reliable)
	var wg sync.WaitGroup
	sent := make([]string, live)
	for i := range 5 {
		wg.Go(func() {
			for j := range live / 5 {
				id, err := w.client.SendReliable(t.Context(), u, j)
				if !assert.NoError(t, err) {
					return
				}
				sent[i*live/5+j] = id
			}
		})
	}
	counts, order := receive(t, d, waiting+live)
	wg.Wait()
	for _, id := range append(append([]string{}, stored...), sent...) {
		require.Equal(t, 1, counts[id], "each comes once")
	}
	require.Equal(t, stored, order[:waiting], "what waited comes first, in order of seq")
	w.finished(t, stored[waiting-1])
	for _, id := range sent {
		w.hasStatus(t, id, gateway.StatusFinished)
	}
	w.nothingStored(t, u, d)
}

// testCatchUpSmallQueue: the window fits into whatever queue is configured, or
// a device could never catch up.
func testCatchUpSmallQueue(t *testing.T, w *world) {
	h := w.node(t, node.Options{MaxQueue: 20, MaxQueueBytes: 20 << 10})
	for _, subprotocol := range []string{devicetest.Reliable, devicetest.JSON} {
		u := user()
		const n = 120
		w.store(t, u, n, "x")
		d := h.connect(t, u, subprotocol)
		if subprotocol == devicetest.Reliable {
			counts, _ := receive(t, d, n)
			require.Len(t, counts, n)
		} else {
			for range n {
				d.Acknowledge(t, d.Envelope(t).ID)
			}
		}
		w.nothingStored(t, u, d)
	}
}

// testNeverAcknowledges: what is on its way to a device is bounded; one that
// acknowledges nothing and is sent more is disconnected, and cannot recover.
func testNeverAcknowledges(t *testing.T, w *world) {
	h := w.node(t, node.Options{MaxQueue: 100})
	u := user()
	ids := w.store(t, u, 150, "x")
	d, other := h.connect(t, u, devicetest.Reliable), h.connect(t, user(), devicetest.Reliable)
	d.Envelope(t)
	// Realtime messages are not held back by a full window.
	for i := range 110 {
		w.realtime(t, u, i)
	}
	require.EqualValues(t, 1008, d.Ended(t))
	require.LessOrEqual(t, d.LastSequenceID(), uint64(100))
	wantRefused(t, d)
	for _, id := range ids {
		m := w.message(t, id)
		assert.Contains(t, []gateway.Status{gateway.StatusPending, gateway.StatusDelivering}, m.Status)
	}
	other.Ping(t)
	require.Equal(t, devicetest.TypePong, other.Next(t).Type)
	counts, order := receive(t, h.connect(t, u, devicetest.Reliable), len(ids))
	require.Len(t, counts, len(ids))
	require.Equal(t, ids, order)
}

// testNeverAcknowledgesPlain: without sequence numbers the window holds back
// what waits, and an acknowledgement lets it go on.
func testNeverAcknowledgesPlain(t *testing.T, w *world) {
	h := w.node(t, node.Options{MaxQueue: 100})
	u := user()
	ids := w.store(t, u, 300, "x")
	d := h.connect(t, u, devicetest.JSON)
	got := []string{d.Envelope(t).ID}
	// The window is sent at once; a realtime message afterwards shows its end.
	require.Eventually(t, func() bool {
		w.realtime(t, u, "mark")
		f := d.Message(t)
		for {
			e, ok := f.Envelope()
			if !ok {
				break
			}
			got = append(got, e.ID)
			f = d.Message(t)
		}
		return len(got) > 10
	}, devicetest.Patience, 20*time.Millisecond)
	require.Less(t, len(got), 101, "it is bounded")
	seen := map[string]bool{}
	for _, id := range got {
		seen[id] = true
	}
	d.Acknowledge(t, got...)
	for len(seen) < len(ids) {
		f := d.Message(t)
		if e, ok := f.Envelope(); ok {
			require.False(t, seen[e.ID], "it came before")
			seen[e.ID] = true
			d.Acknowledge(t, e.ID)
		}
	}
}

// testSlowDevice: a device that does not read its socket is disconnected; the
// others of its user, and its own messages, are not affected.
func testSlowDevice(t *testing.T, w *world) {
	h := w.node(t, node.Options{MaxQueue: 50, RecoveryWindow: time.Minute})
	u := user()
	slow := devicetest.Connect(t, devicetest.Options{URL: h.url(t, u), Subprotocol: devicetest.Reliable, Slow: true})
	d := h.connect(t, u, devicetest.Reliable)
	require.Eventually(t, func() bool { return h.Connections() == 2 }, devicetest.Patience, 5*time.Millisecond)
	for i := range 60 {
		id := w.reliable(t, u, i)
		e := d.Envelope(t)
		require.Equal(t, id, e.ID, i)
		d.SequenceAck(t, e.SequenceID)
	}
	require.Eventually(t, func() bool { return h.Connections() == 1 }, devicetest.Patience, 5*time.Millisecond)
	slow.Wake()
	slow.Ended(t)
	d.Ping(t)
	require.Equal(t, devicetest.TypePong, d.Next(t).Type)
}

func testSlowPlainDevice(t *testing.T, w *world) {
	h := w.node(t, node.Options{MaxQueue: 10, MaxQueueBytes: 1 << 20})
	u := user()
	subprotocol := devicetest.JSON
	if w.real() {
		subprotocol = devicetest.None
	}
	slow := devicetest.Connect(t, devicetest.Options{URL: h.url(t, u), Subprotocol: subprotocol, Slow: true})
	d := h.connect(t, u, devicetest.Protobuf)
	require.Eventually(t, func() bool { return h.Connections() == 2 }, devicetest.Patience, 5*time.Millisecond)
	big := make([]byte, 512<<10)
	for h.Connections() == 2 {
		w.realtime(t, u, gateway.Binary(big))
		require.Greater(t, len(d.Message(t).Raw), len(big))
	}
	slow.Drop()
	require.Equal(t, 1, h.Connections())
}

// testCatchUpTwoDevices: two devices catch up at the same time, at different
// paces; each gets everything that is not acknowledged yet, and nothing twice.
func testCatchUpTwoDevices(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := user()
	const n = 700
	ids := w.store(t, u, n, "x")
	fast, lazy := h.connect(t, u, devicetest.Reliable), h.connect(t, u, devicetest.JSON)
	counts, _ := receive(t, fast, n)
	for _, id := range ids {
		require.Equal(t, 1, counts[id])
	}
	w.finished(t, ids[n-1])
	seen := map[string]bool{}
	for lazy.Pending() > 0 {
		e := lazy.Envelope(t)
		require.False(t, seen[e.ID])
		seen[e.ID] = true
	}
	w.nothingStored(t, u, fast)
}

// testCatchUpAcknowledged: commands that another device has acknowledged, and
// nobody answered, wait for room as well, and give it back: each when this
// device acknowledges it, or anybody answers.
func testCatchUpAcknowledged(t *testing.T, w *world) {
	const window, n = 10, 35
	h := w.node(t, node.Options{MaxQueue: 2 * window})
	u := user()
	for i := range n {
		_, err := w.client.SendCommand(t.Context(), u, "work", i, gateway.NoWait())
		require.NoError(t, err)
	}
	first := h.connect(t, u, devicetest.JSON)
	for range n {
		first.Acknowledge(t, first.Envelope(t).ID)
	}
	for _, c := range []struct {
		subprotocol string
		giveBack    func(*devicetest.Device, devicetest.Envelope)
	}{
		{devicetest.Reliable, func(d *devicetest.Device, e devicetest.Envelope) { d.SequenceAck(t, e.SequenceID) }},
		{devicetest.JSON, func(d *devicetest.Device, e devicetest.Envelope) { d.Acknowledge(t, e.ID, e.ID) }},
		{devicetest.JSON, func(d *devicetest.Device, e devicetest.Envelope) {
			require.True(t, d.Respond(t, e.RequestID, 1).Success)
		}},
	} {
		d := h.connect(t, u, c.subprotocol)
		var got []devicetest.Envelope
		for range window {
			got = append(got, d.Envelope(t))
		}
		w.nothingStored(t, u, first, d)
		for i := range n {
			if i >= len(got) {
				got = append(got, d.Envelope(t))
			}
			c.giveBack(d, got[i])
		}
		// The whole window is there again, and no more than that.
		ids := w.store(t, u, window+1, "x")
		for _, id := range ids[:window] {
			require.Equal(t, id, first.Envelope(t).ID)
			require.Equal(t, id, d.Envelope(t).ID)
		}
		w.nothingStored(t, u, first, d)
		first.Acknowledge(t, ids...)
		w.finished(t, ids[window])
		d.Close(1000)
	}
}
