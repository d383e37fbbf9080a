package node_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
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
	"takeover/everythingMoves": testTakeover,
	"takeover/underLoad":       testTakeoverUnderLoad,
	"takeover/identical":       testTakeoverIdentical,
	"takeover/stored":          testTakeoverStored,
	"takeover/acknowledged":    testTakeoverAcknowledged,
	"takeover/refused":         testTakeoverRefused,
	"takeover/shutdown":        testTakeoverShutdown,
	"takeover/atOnce":          testTakeoverAtOnce,
})

// recoverAt opens the device's connection again on another node.
func recoverAt(t testing.TB, d *devicetest.Device, from, to *host, base string) *devicetest.Device {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
	defer cancel()
	url := strings.Replace(base, from.server.URL[len("http"):], to.server.URL[len("http"):], 1)
	recovered, _, err := devicetest.Dial(ctx, devicetest.Options{
		URL:         devicetest.RecoveryURL(url, d.Connected.ConnectionID, d.Connected.ReconnectionToken),
		Subprotocol: d.Subprotocol(),
	})
	require.NoError(t, err)
	t.Cleanup(recovered.Drop)
	recovered.Connected = recovered.Next(t)
	require.Equal(t, devicetest.TypeConnected, recovered.Connected.Type)
	return recovered
}

func testTakeover(t *testing.T, w *world) {
	var disconnected atomic.Int32
	opts := node.Options{
		RecoveryWindow: time.Second,
		OnDisconnected: func(context.Context, node.Connection, string) { disconnected.Add(1) },
	}
	a, b := w.node(t, opts), w.node(t, opts)
	h, ctx := newHub(t, w), t.Context()
	access, err := h.ClientAccessToken(ctx, "ann", gateway.WithEndpoint(a.server.URL), gateway.WithGroups("token"))
	require.NoError(t, err)
	d := devicetest.Connect(t, devicetest.Options{URL: access.URL, Subprotocol: devicetest.Reliable})
	id := d.Connected.ConnectionID
	require.NoError(t, h.AddConnectionToGroup(ctx, "joined", id))
	require.NoError(t, h.GrantPermission(ctx, gateway.PermissionSendToGroup, id, "joined"))
	for i := range 3 {
		require.NoError(t, h.SendToGroup(ctx, "token", gateway.Text(fmt.Sprint(i))))
		d.Message(t)
	}
	d.SequenceAck(t, 1)
	d.SendText(t, `{"type":"event","event":"none","ackId":7,"dataType":"text","data":"x"}`)
	d.AckOf(t, 7)
	d.SendText(t, `{"type":"sendToGroup","group":"joined","ackId":8,"dataType":"text","data":"mine"}`)
	d.AckOf(t, 8)
	assert.Equal(t, "mine", d.Message(t).Text())
	d.Drop()
	require.NoError(t, h.SendToAll(ctx, gateway.Text("while away")))

	r := recoverAt(t, d, a, b, access.URL)
	assert.Equal(t, id, r.Connected.ConnectionID)
	for i, want := range []string{"1", "2", "mine", "while away"} {
		f := r.Message(t)
		assert.Equal(t, want, f.Text())
		assert.EqualValues(t, i+2, f.SequenceID, "numbers go on")
	}
	r.SendText(t, `{"type":"sendToGroup","group":"joined","ackId":8,"dataType":"text","data":"again"}`)
	assert.Equal(t, "Duplicate", r.AckOf(t, 8).Error.Name, "ackIds moved")
	r.SendText(t, `{"type":"sendToGroup","group":"joined","ackId":9,"dataType":"text","data":"new"}`)
	assert.True(t, r.AckOf(t, 9).Success, "permissions moved")
	assert.Equal(t, "new", r.Message(t).Text(), "groups moved")
	require.NoError(t, h.SendToUser(ctx, "ann", gateway.Text("user")))
	assert.Equal(t, "user", r.Message(t).Text())
	assert.Zero(t, a.Connections())
	assert.Equal(t, 1, b.Connections())
	assert.Zero(t, disconnected.Load(), "it is not over")

	// And back again.
	r.Drop()
	back := recoverAt(t, r, b, a, strings.Replace(access.URL, a.server.URL[7:], b.server.URL[7:], 1))
	for range 6 {
		back.Message(t)
	}
	back.Close(websocket.StatusNormalClosure)
	require.Eventually(t, func() bool { return disconnected.Load() == 1 }, devicetest.Patience, time.Millisecond)
}

// testTakeoverUnderLoad recovers a connection again and again on the other
// node while messages of every kind come, and wants each exactly once.
func testTakeoverUnderLoad(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	hosts := []*host{a, b}
	u, ctx := user(), t.Context()
	base := a.url(t, u, gateway.WithGroups("g-"+u))
	d := devicetest.Connect(t, devicetest.Options{URL: base, Subprotocol: devicetest.Reliable})
	hub := w.client.Hub(gateway.DefaultHub)

	const total = 300
	sent := make(chan error, 1)
	go func() {
		for i := range total {
			for _, err := range []error{
				hub.SendToGroup(ctx, "g-"+u, gateway.Text(fmt.Sprintf("group %d", i))),
				w.client.SendRealtime(ctx, u, gateway.Text(fmt.Sprintf("realtime %d", i))),
			} {
				if err != nil {
					sent <- err
					return
				}
			}
		}
		sent <- nil
	}()
	seen := map[string]int{}
	lastSeq := uint64(0)
	read := func(d *devicetest.Device, n int) {
		for n > 0 {
			f := d.Message(t)
			if f.SequenceID <= lastSeq {
				continue // the device's duplicate filter (specification, 4.1)
			}
			n--
			require.Equal(t, lastSeq+1, f.SequenceID, "no gap")
			lastSeq = f.SequenceID
			seen[f.Text()]++
		}
	}
	at := 0
	for len(seen) < 2*total {
		read(d, min(40, 2*total-len(seen)))
		if len(seen) >= 2*total {
			break
		}
		d.SequenceAck(t, lastSeq-5)
		d.Drop()
		from, to := hosts[at%2], hosts[(at+1)%2]
		d = recoverAt(t, d, from, to, strings.Replace(base, a.server.URL[7:], from.server.URL[7:], 1))
		at++
	}
	require.NoError(t, <-sent)
	for i := range total {
		require.Equal(t, 1, seen[fmt.Sprintf("group %d", i)], "group %d", i)
		require.Equal(t, 1, seen[fmt.Sprintf("realtime %d", i)], "realtime %d", i)
	}
	assert.Greater(t, at, 3, "it moved several times")
}

// testTakeoverIdentical: realtime messages that are all the same are counted
// right while their connection moves to and fro.
func testTakeoverIdentical(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	hosts := []*host{a, b}
	u := user()
	base := a.url(t, u)
	d := devicetest.Connect(t, devicetest.Options{URL: base, Subprotocol: devicetest.Reliable})
	sent, room := 0, make(chan struct{}, 300) // less than a device may leave unconfirmed
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			case room <- struct{}{}:
			}
			if err := w.client.SendRealtime(context.WithoutCancel(t.Context()), u, gateway.Text("the same")); err != nil {
				stopped <- err
				return
			}
			sent++
		}
	}()
	got, lastSeq := 0, uint64(0)
	read := func(f devicetest.Frame) {
		if f.SequenceID <= lastSeq {
			return // it came before the move
		}
		require.Equal(t, lastSeq+1, f.SequenceID, "no gap")
		lastSeq = f.SequenceID
		got++
		<-room
	}
	for at := range 20 {
		for range 30 {
			read(d.Message(t))
		}
		d.SequenceAck(t, lastSeq-5)
		d.Drop()
		from, to := hosts[at%2], hosts[(at+1)%2]
		d = recoverAt(t, d, from, to, strings.Replace(base, a.server.URL[7:], from.server.URL[7:], 1))
	}
	close(stop)
	require.NoError(t, <-stopped)
	w.realtime(t, u, gateway.Text("last"))
	for {
		f := d.Message(t)
		if f.Text() == "last" {
			break
		}
		read(f)
		if lastSeq%100 == 0 {
			d.SequenceAck(t, lastSeq)
		}
	}
	require.Equal(t, sent, got)
}

// testTakeoverStored moves a connection with reliable messages on their way.
func testTakeoverStored(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	u := user()
	base := a.url(t, u)
	d := devicetest.Connect(t, devicetest.Options{URL: base, Subprotocol: devicetest.Reliable})
	first := w.reliable(t, u, "first")
	assert.Equal(t, first, d.Envelope(t).ID)
	d.Drop()
	second := w.reliable(t, u, "second")
	r := recoverAt(t, d, a, b, base)
	third := w.reliable(t, u, "third")
	for _, want := range []string{first, second, third} {
		assert.Equal(t, want, r.Envelope(t).ID)
	}
	r.SequenceAck(t, r.LastSequenceID())
	for _, id := range []string{first, second, third} {
		w.hasStatus(t, id, gateway.StatusFinished)
	}
	assert.Zero(t, r.Pending(), "each came once")
}

// testTakeoverAcknowledged: a command that a device of the new node has
// acknowledged moves with a connection, and comes to nobody else again.
func testTakeoverAcknowledged(t *testing.T, w *world) {
	const interval = 150 * time.Millisecond
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	u := user()
	base := a.url(t, u)
	d := devicetest.Connect(t, devicetest.Options{URL: base, Subprotocol: devicetest.Reliable})
	other := b.connect(t, u, devicetest.JSON)
	c := w.command(t, u, 1, gateway.WithRetryInterval(interval))
	e := d.Envelope(t)
	d.Drop()
	require.Equal(t, e.ID, other.Envelope(t).ID)
	other.Acknowledge(t, e.ID)
	w.hasStatus(t, e.ID, gateway.StatusRequestDelivered)
	for other.Pending() > 0 { // sent again meanwhile
		require.Equal(t, e.ID, other.Envelope(t).ID)
	}
	r := recoverAt(t, d, a, b, base)
	require.Equal(t, e.ID, r.Envelope(t).ID)
	later := w.reliable(t, u, 2, gateway.WithRetryInterval(interval))
	for range 4 {
		require.Equal(t, later, other.Envelope(t).ID)
	}
	require.True(t, r.Respond(t, e.RequestID, "moved").Success)
	res, err := c.wait(t)
	require.NoError(t, err)
	assert.JSONEq(t, `"moved"`, string(res.Response))
}

func testTakeoverRefused(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	base := a.url(t, user())
	other := strings.Replace(base, a.server.URL[7:], b.server.URL[7:], 1)
	d := devicetest.Connect(t, devicetest.Options{URL: base, Subprotocol: devicetest.Reliable})
	refused := func(url, connectionID, token, subprotocol string) {
		t.Helper()
		r, _, err := devicetest.Dial(t.Context(), devicetest.Options{
			URL: devicetest.RecoveryURL(url, connectionID, token), Subprotocol: subprotocol,
		})
		if err == nil {
			defer r.Drop()
			assert.Equal(t, websocket.StatusPolicyViolation, r.Ended(t))
			return
		}
		assert.Equal(t, websocket.StatusPolicyViolation, websocket.CloseStatus(err), "%v", err)
	}
	id, token := d.Connected.ConnectionID, d.Connected.ReconnectionToken
	refused(other, id, "forged"+token, devicetest.Reliable)
	refused(other, "someone-else", token, devicetest.Reliable)
	refused(other, id, token, devicetest.ProtobufReliable)
	d.Ping(t) // none of that harmed it
	d.Close(websocket.StatusNormalClosure)
	require.Eventually(t, func() bool { return a.Connections() == 0 }, devicetest.Patience, time.Millisecond)
	refused(other, id, token, devicetest.Reliable)
	assert.Zero(t, b.Connections())
}

// testTakeoverShutdown stops a node whose device recovers on the other one.
func testTakeoverShutdown(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{HandoverTimeout: devicetest.Patience}), w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	access, err := h.ClientAccessToken(ctx, "ann", gateway.WithEndpoint(a.server.URL), gateway.WithGroups("g"))
	require.NoError(t, err)
	d := devicetest.Connect(t, devicetest.Options{URL: access.URL, Subprotocol: devicetest.Reliable})
	stopped := make(chan error, 1)
	go func() { stopped <- a.Shutdown(ctx) }()
	assert.Equal(t, websocket.StatusGoingAway, d.Ended(t))
	require.NoError(t, h.SendToGroup(ctx, "g", gateway.Text("meanwhile")))
	r := recoverAt(t, d, a, b, access.URL)
	assert.Equal(t, "meanwhile", r.Message(t).Text())
	require.NoError(t, <-stopped, "it did not wait for the timeout")
}

// testTakeoverAtOnce recovers a connection over several sockets at the same
// moment, as an impatient device does: one of them is the connection, and the
// hub knows it.
func testTakeoverAtOnce(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	access, err := h.ClientAccessToken(ctx, "ann", gateway.WithEndpoint(a.server.URL))
	require.NoError(t, err)
	for range 10 {
		d := devicetest.Connect(t, devicetest.Options{URL: access.URL, Subprotocol: devicetest.Reliable})
		d.Drop()
		const dials = 4
		recovered := make(chan *devicetest.Device, dials)
		for range dials {
			go func() {
				url := strings.Replace(access.URL, a.server.URL[7:], b.server.URL[7:], 1)
				r, _, err := devicetest.Dial(ctx, devicetest.Options{
					URL:         devicetest.RecoveryURL(url, d.Connected.ConnectionID, d.Connected.ReconnectionToken),
					Subprotocol: devicetest.Reliable,
				})
				assert.NoError(t, err)
				recovered <- r
			}()
		}
		devices := make([]*devicetest.Device, dials)
		for i := range devices {
			devices[i] = <-recovered
			require.NotNil(t, devices[i])
			t.Cleanup(devices[i].Drop)
		}
		ok, err := h.ConnectionExists(ctx, d.Connected.ConnectionID)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, h.CloseConnection(ctx, d.Connected.ConnectionID))
		for _, r := range devices {
			r.Ended(t)
		}
		require.Zero(t, a.Connections()+b.Connections())
	}
}
