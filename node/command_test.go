package node_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"command/answered":        testCommandAnswered,
	"command/deviceError":     testCommandDeviceError,
	"command/offline":         testCommandOffline,
	"command/late":            testCommandLate,
	"command/timedOut":        testCommandTimedOut,
	"command/badResponses":    testBadResponses,
	"command/newDevice":       testCommandNewDevice,
	"command/anotherNode":     testCommandAnotherNode,
	"command/refusedResponse": testRefusedResponse,
})

func testCommandAnswered(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	for _, subprotocol := range []string{devicetest.JSON, devicetest.Reliable, devicetest.Protobuf} {
		u := user()
		d := h.connect(t, u, subprotocol)
		c := w.command(t, u, map[string]int{"w": 3}, gateway.WithTimeout(time.Minute), gateway.WithSender("server", "b"))
		e := d.Envelope(t)
		assert.Equal(t, "command", e.Kind)
		assert.Equal(t, "test:command", e.Type)
		assert.JSONEq(t, `{"w":3}`, string(e.Data))
		expires, err := time.Parse(time.RFC3339, e.ExpiresAt)
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now().Add(time.Minute), expires, 10*time.Second)
		if subprotocol == devicetest.Reliable {
			d.SequenceAck(t, e.SequenceID)
		} else {
			d.Acknowledge(t, e.ID)
		}
		m := w.hasStatus(t, e.ID, gateway.StatusRequestDelivered)
		assert.False(t, m.DeliveringAt.IsZero() || m.RequestDeliveredAt.IsZero())
		require.True(t, d.Respond(t, e.RequestID, map[string]bool{"ok": true}).Success)
		res, err := c.wait(t)
		require.NoError(t, err)
		assert.Equal(t, e.ID, res.MessageID)
		assert.JSONEq(t, `{"ok":true}`, string(res.Response))
		m = w.message(t, e.ID)
		assert.Equal(t, gateway.StatusFinished, m.Status)
		assert.JSONEq(t, `{"ok":true}`, string(m.Response))
		assert.False(t, m.FinishedAt.IsZero())
		// A second answer is accepted and ignored.
		require.True(t, d.Respond(t, e.RequestID, "again").Success)
		assert.JSONEq(t, `{"ok":true}`, string(w.message(t, e.ID).Response))
		// An answer acknowledges a command that was not acknowledged before.
		c = w.command(t, u, nil)
		e = d.Envelope(t)
		require.True(t, d.Respond(t, e.RequestID, nil).Success)
		res, err = c.wait(t)
		require.NoError(t, err)
		assert.Equal(t, "null", string(res.Response))
		m = w.message(t, e.ID)
		assert.False(t, m.DeliveringAt.IsZero() || m.RequestDeliveredAt.IsZero() || m.FinishedAt.IsZero(), "%+v", m)
	}
}

func testCommandDeviceError(t *testing.T, w *world) {
	u := user()
	d := w.node(t, node.Options{}).connect(t, u, devicetest.Reliable)
	c := w.command(t, u, 1)
	e := d.Envelope(t)
	require.True(t, d.RespondError(t, e.RequestID, "E42", "no canvas").Success)
	_, err := c.wait(t)
	var failed *gateway.CommandError
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, "E42", failed.Code)
	assert.Equal(t, "no canvas", failed.Message)
	assert.JSONEq(t, `{"error":{"code":"E42","message":"no canvas"}}`, string(w.message(t, e.ID).Response))
}

func testCommandOffline(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := user()
	waiting := w.command(t, u, 1)
	noWait, err := w.client.SendCommand(t.Context(), u, "later", 2, gateway.NoWait())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		history, err := w.client.History(t.Context(), u, gateway.HistoryQuery{})
		return err == nil && len(history) == 2
	}, devicetest.Patience, 5*time.Millisecond)
	d := h.connect(t, u, devicetest.Reliable)
	for range 2 {
		e := d.Envelope(t)
		require.True(t, d.Respond(t, e.RequestID, e.Type).Success)
	}
	res, err := waiting.wait(t)
	require.NoError(t, err)
	assert.JSONEq(t, `"test:command"`, string(res.Response))
	res, err = w.open(t).AwaitCommand(t.Context(), noWait.MessageID)
	require.NoError(t, err)
	assert.JSONEq(t, `"later"`, string(res.Response))
}

// testCommandLate: an answer after the deadline is kept, and changes nothing.
func testCommandLate(t *testing.T, w *world) {
	u := user()
	d := w.node(t, node.Options{}).connect(t, u, devicetest.JSON)
	c := w.command(t, u, 1, gateway.WithTimeout(time.Second))
	e := d.Envelope(t)
	_, err := c.wait(t)
	require.ErrorIs(t, err, gateway.ErrCommandTimeout)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	w.hasStatus(t, e.ID, gateway.StatusTimedOut)
	require.True(t, d.Respond(t, e.RequestID, "late").Success)
	m := w.message(t, e.ID)
	assert.Equal(t, gateway.StatusTimedOut, m.Status)
	assert.JSONEq(t, `"late"`, string(m.Response))
	require.True(t, d.Respond(t, e.RequestID, "later still").Success)
	assert.JSONEq(t, `"late"`, string(w.message(t, e.ID).Response))
	res, err := w.client.AwaitCommand(t.Context(), e.ID)
	require.NoError(t, err)
	assert.True(t, res.Late)
	assert.JSONEq(t, `"late"`, string(res.Response))
}

// testCommandTimedOut: a node writes TIMED_OUT when the one who sent the
// command is gone, and does not deliver it again.
func testCommandTimedOut(t *testing.T, w *world) {
	h := w.node(t, node.Options{RetryInterval: 50 * time.Millisecond})
	u := user()
	d := h.connect(t, u, devicetest.JSON)
	res, err := w.client.SendCommand(t.Context(), u, "x", 1, gateway.NoWait(), gateway.WithTimeout(time.Second), gateway.WithRetryInterval(100*time.Millisecond))
	require.NoError(t, err)
	require.Equal(t, res.MessageID, d.Envelope(t).ID)
	require.Equal(t, res.MessageID, d.Envelope(t).ID, "sent again")
	w.hasStatus(t, res.MessageID, gateway.StatusTimedOut)
	for d.Pending() > 0 {
		d.Next(t)
	}
	w.nothingStored(t, u, d)
	// Also one that was acknowledged and never answered.
	res, err = w.client.SendCommand(t.Context(), u, "x", 1, gateway.NoWait(), gateway.WithTimeout(time.Second))
	require.NoError(t, err)
	d.Acknowledge(t, d.Envelope(t).ID)
	w.hasStatus(t, res.MessageID, gateway.StatusTimedOut)
	fresh := h.connect(t, u, devicetest.JSON)
	w.nothingStored(t, u, fresh)
}

func testBadResponses(t *testing.T, w *world) {
	u := user()
	d := w.node(t, node.Options{}).connect(t, u, devicetest.JSON)
	for data, failure := range map[string]string{
		`{"requestId":"unknown","data":1}`: "NotFound",
		`{"data":1}`:                       "BadRequest",
		`{"requestId":"","data":1}`:        "BadRequest",
		`{"requestId":7}`:                  "BadRequest",
		`"text"`:                           "BadRequest",
		`[]`:                               "BadRequest",
		`{"requestId":"x","error":"text"}`: "BadRequest",
	} {
		assert.Equal(t, failure, d.Event(t, "response", json.RawMessage(data)).Error.Name, data)
	}
	d.SendText(t, `{"type":"event","event":"response","ackId":500,"dataType":"binary","data":"AQI="}`)
	wantAck(t, d.Next(t), 500, "BadRequest")
}

// testCommandNewDevice: a command that was acknowledged goes to devices that
// come later, and not again to those that have it.
func testCommandNewDevice(t *testing.T, w *world) {
	h := w.node(t, node.Options{RetryInterval: 100 * time.Millisecond, SweepInterval: 100 * time.Millisecond})
	u := user()
	first := h.connect(t, u, devicetest.JSON)
	c := w.command(t, u, 1, gateway.WithRetryInterval(100*time.Millisecond))
	e := first.Envelope(t)
	first.Acknowledge(t, e.ID)
	w.hasStatus(t, e.ID, gateway.StatusRequestDelivered)
	for first.Pending() > 0 {
		require.Equal(t, e.ID, first.Envelope(t).ID)
	}
	second := h.connect(t, u, devicetest.Reliable)
	require.Equal(t, e.ID, second.Envelope(t).ID)
	there := w.node(t, node.Options{}).connect(t, u, devicetest.Reliable)
	require.Equal(t, e.ID, there.Envelope(t).ID)
	require.True(t, there.Respond(t, e.RequestID, "there").Success)
	res, err := c.wait(t)
	require.NoError(t, err)
	assert.JSONEq(t, `"there"`, string(res.Response))
	// On a node that has not heard of the end yet, another answer is ignored.
	require.True(t, first.Respond(t, e.RequestID, "here").Success)
	assert.JSONEq(t, `"there"`, string(w.message(t, e.ID).Response))
	w.nothingStored(t, u, first)
}

// testCommandAnotherNode: the client, the node that delivers and the one where
// the answer arrives are three processes.
func testCommandAnotherNode(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	u := user()
	here := a.connect(t, u, devicetest.JSON)
	c := sendCommand(t, w.open(t), u, 1)
	e := here.Envelope(t)
	here.Close(1000)
	there := b.connect(t, u, devicetest.None)
	_ = there
	d := b.connect(t, u, devicetest.JSON)
	require.Equal(t, e.ID, d.Envelope(t).ID)
	require.True(t, d.Respond(t, e.RequestID, "b").Success)
	res, err := c.wait(t)
	require.NoError(t, err)
	assert.JSONEq(t, `"b"`, string(res.Response))
}

// testRefusedResponse: an answer that the database does not take is the fault
// of that device, and of no other that answers at the same time.
func testRefusedResponse(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	const n = 8
	type asked struct {
		c *command
		d *devicetest.Device
		e devicetest.Envelope
	}
	var list []asked
	for range n {
		u := user()
		d := h.connect(t, u, devicetest.JSON)
		c := w.command(t, u, testenv.Unique())
		list = append(list, asked{c, d, d.Envelope(t)})
	}
	deep := json.RawMessage(strings.Repeat("[", 500) + strings.Repeat("]", 500))
	ids := make([]uint64, n)
	for i, a := range list {
		data := any("good")
		if i%2 == 0 {
			data = deep
		}
		ids[i] = a.d.SendEvent(t, "response", map[string]any{"requestId": a.e.RequestID, "data": data})
	}
	for i, a := range list {
		f := a.d.AckOf(t, ids[i])
		if i%2 == 0 && !f.Success {
			assert.Equal(t, "BadRequest", f.Error.Name, "MariaDB refuses it; SQLite and MySQL may not")
			require.True(t, a.d.Respond(t, a.e.RequestID, "good").Success, "it can be answered again")
		} else {
			require.True(t, f.Success, string(f.Raw))
		}
		res, err := a.c.wait(t)
		require.NoError(t, err)
		if i%2 == 1 {
			assert.JSONEq(t, `"good"`, string(res.Response))
		}
	}
}
