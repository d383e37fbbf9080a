package node_test

import (
	"encoding/json"
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
	"reliable/whileAway":         testReliableWhileAway,
	"reliable/live":              testReliableLive,
	"reliable/ackEvent":          testAckEvent,
	"reliable/redelivered":       testRedelivered,
	"reliable/ackedElsewhere":    testAckedElsewhere,
	"reliable/severalDevices":    testSeveralDevices,
	"reliable/foreignIDs":        testForeignIDs,
	"reliable/hintLost":          testHintLost,
	"reliable/transaction":       testTransaction,
	"reliable/sequenceAckBounds": testSequenceAckBounds,
	"reliable/payloads":          testReliablePayloads,
})

// nothingStored wants the next message of each of the user's devices to be a
// realtime one that is sent now: nothing else was on its way.
func (w *world) nothingStored(t *testing.T, u string, devices ...*devicetest.Device) {
	t.Helper()
	mark := testenv.Unique()
	w.realtime(t, u, mark)
	for _, d := range devices {
		require.Equal(t, `"`+mark+`"`, string(d.Message(t).Data))
	}
}

func testReliableWhileAway(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	for _, subprotocol := range []string{devicetest.JSON, devicetest.Reliable, devicetest.ProtobufReliable} {
		u := user()
		const n = 20
		ids := make([]string, n)
		for i := range ids {
			ids[i] = w.reliable(t, u, map[string]int{"n": i}, gateway.WithSender("server", "backend_1"))
		}
		assert.Equal(t, gateway.StatusPending, w.message(t, ids[0]).Status)
		d := h.connect(t, u, subprotocol)
		var seq int64
		for i, id := range ids {
			e := d.Envelope(t)
			require.Equal(t, id, e.ID)
			require.Equal(t, "reliable", e.Kind)
			require.Greater(t, e.Seq, seq)
			seq = e.Seq
			require.JSONEq(t, `{"n":`+itoa(i)+`}`, string(e.Payload))
			require.Equal(t, "server", e.Sender.Type)
			require.Equal(t, "backend_1", e.Sender.ID)
			sent, err := time.Parse(time.RFC3339, e.SentAt)
			require.NoError(t, err)
			require.WithinDuration(t, time.Now(), sent, time.Minute)
		}
		w.hasStatus(t, ids[n-1], gateway.StatusDelivering)
		if subprotocol == devicetest.JSON {
			d.Acknowledge(t, ids...)
		} else {
			d.SequenceAck(t, d.LastSequenceID())
		}
		for _, id := range ids {
			w.finished(t, id)
		}
		d.Drop()
		d = h.connect(t, u, subprotocol)
		w.nothingStored(t, u, d)
	}
}

// finished waits until a message is acknowledged, with both times.
func (w *world) finished(t *testing.T, id string) {
	t.Helper()
	m := w.hasStatus(t, id, gateway.StatusFinished)
	assert.WithinDuration(t, time.Now(), m.DeliveringAt, time.Minute)
	assert.WithinDuration(t, time.Now(), m.FinishedAt, time.Minute)
	assert.False(t, m.FinishedAt.Before(m.DeliveringAt), "%v before %v", m.FinishedAt, m.DeliveringAt)
}

func testReliableLive(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	for i := range 50 {
		id := w.reliable(t, u, i)
		e := d.Envelope(t)
		require.Equal(t, id, e.ID)
		require.EqualValues(t, i+1, e.SequenceID)
		if i%2 == 0 {
			d.SequenceAck(t, e.SequenceID)
			w.finished(t, id)
		}
	}
	d.SequenceAck(t, d.LastSequenceID())
	ids, err := w.client.SendReliableBatch(t.Context(), []gateway.Outgoing{{UserID: u, Payload: 1}, {UserID: u, Payload: 2}})
	require.NoError(t, err)
	require.Equal(t, ids[0], d.Envelope(t).ID)
	require.Equal(t, ids[1], d.Envelope(t).ID)
}

func testAckEvent(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := user()
	d := h.connect(t, u, devicetest.JSON)
	id := w.reliable(t, u, 1)
	require.Equal(t, id, d.Envelope(t).ID)
	// As text, as some clients send it, and repeated.
	for range 2 {
		d.SendText(t, `{"type":"event","event":"ack","dataType":"text","data":"{\"ids\":[\"`+id+`\"]}"}`)
	}
	w.finished(t, id)
	for i, data := range []string{`"x"`, `[]`, `{"ids":"x"}`, `{"ids":[1]}`} {
		d.SendText(t, `{"type":"event","event":"ack","ackId":`+itoa(100+i)+`,"dataType":"json","data":`+data+`}`)
		wantAck(t, d.Next(t), uint64(100+i), "BadRequest")
	}
	many := make([]string, 1001)
	assert.Equal(t, "BadRequest", d.Event(t, "ack", map[string]any{"ids": many}).Error.Name)
	d.Acknowledge(t, "unknown", id, "", "\x00")
	d.Acknowledge(t)
}

func testRedelivered(t *testing.T, w *world) {
	h := w.node(t, node.Options{RetryInterval: 50 * time.Millisecond})
	for _, subprotocol := range []string{devicetest.JSON, devicetest.Reliable} {
		u := user()
		d := h.connect(t, u, subprotocol)
		id := w.reliable(t, u, 1)
		for range 3 {
			require.Equal(t, id, d.Envelope(t).ID)
		}
		own := w.reliable(t, u, 2, gateway.WithRetryInterval(time.Hour))
		for d.Envelope(t).ID != own {
		}
		for range 4 { // several intervals of the node
			require.Equal(t, id, d.Envelope(t).ID, "its own interval counts")
		}
		d.Acknowledge(t, id)
		w.finished(t, id)
		for d.Pending() > 0 {
			require.Equal(t, id, d.Envelope(t).ID, "its own interval counts")
		}
		w.nothingStored(t, u, d)
	}
}

// testAckedElsewhere: what a device on another node has acknowledged is not
// sent again.
func testAckedElsewhere(t *testing.T, w *world) {
	opts := node.Options{RetryInterval: time.Second}
	a, b := w.node(t, opts), w.node(t, opts)
	u := user()
	here, there := a.connect(t, u, devicetest.Reliable), b.connect(t, u, devicetest.Reliable)
	id := w.reliable(t, u, 1)
	require.Equal(t, id, here.Envelope(t).ID)
	e := there.Envelope(t)
	require.Equal(t, id, e.ID)
	there.SequenceAck(t, e.SequenceID)
	w.finished(t, id)
	// A later message that nobody acknowledges comes twice, and the first not.
	later := w.reliable(t, u, 2, gateway.WithRetryInterval(1200*time.Millisecond))
	for range 2 {
		require.Equal(t, later, here.Envelope(t).ID)
	}
	there.Acknowledge(t, later)
	w.finished(t, later)
}

func testSeveralDevices(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := user()
	a, b, plain := h.connect(t, u, devicetest.Reliable), h.connect(t, u, devicetest.Reliable), h.connect(t, u, devicetest.JSON)
	first := w.reliable(t, u, 1)
	for _, d := range []*devicetest.Device{a, b, plain} {
		require.Equal(t, first, d.Envelope(t).ID)
	}
	// Any of them may acknowledge; a newcomer gets what is left only.
	plain.Acknowledge(t, first)
	w.finished(t, first)
	second := w.reliable(t, u, 2)
	late := h.connect(t, u, devicetest.Reliable)
	// Once one has acknowledged, the others need not get it any more.
	for _, d := range []*devicetest.Device{late, a, b, plain} {
		require.Equal(t, second, d.Envelope(t).ID)
	}
	late.SequenceAck(t, 1)
	w.finished(t, second)
	a.Drop()
	b.Close(1000)
	third := w.reliable(t, u, 3)
	require.Equal(t, third, late.Envelope(t).ID)
	require.Equal(t, third, plain.Envelope(t).ID)
}

func testForeignIDs(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	victim, thief := user(), user()
	v, d := h.connect(t, victim, devicetest.JSON), h.connect(t, thief, devicetest.JSON)
	id := w.reliable(t, victim, "secret")
	require.Equal(t, id, v.Envelope(t).ID)
	c := w.command(t, victim, "secret", gateway.WithTimeout(time.Hour))
	e := v.Envelope(t)
	d.Acknowledge(t, id, e.ID)
	f := d.Respond(t, e.RequestID, "stolen")
	assert.False(t, f.Success)
	assert.Equal(t, "NotFound", f.Error.Name)
	f = d.Respond(t, e.ID, "stolen")
	assert.Equal(t, "NotFound", f.Error.Name)
	v.Acknowledge(t, e.ID)
	w.hasStatus(t, e.ID, gateway.StatusRequestDelivered)
	assert.Equal(t, "NotFound", d.Respond(t, e.RequestID, "stolen").Error.Name)
	assert.NotEqual(t, gateway.StatusFinished, w.message(t, id).Status)
	require.True(t, v.Respond(t, e.RequestID, "mine").Success)
	res, err := c.wait(t)
	require.NoError(t, err)
	assert.JSONEq(t, `"mine"`, string(res.Response))
	assert.Zero(t, d.Pending())
}

// testHintLost: a row that nobody told the node about is found by its slow
// round.
func testHintLost(t *testing.T, w *world) {
	h := w.node(t, node.Options{SweepInterval: 100 * time.Millisecond})
	u := user()
	d, plain := h.connect(t, u, devicetest.Reliable), h.connect(t, u, devicetest.JSON)
	w.nothingStored(t, u, d, plain)
	id := "row-" + testenv.Unique()
	w.insert(t, map[string]any{
		"id": id, "target_user_id": u, "push_type": 1, "seq": 5, "payload": `{"a":1}`, "status": "PENDING",
	})
	e := d.Envelope(t)
	assert.Equal(t, id, e.ID)
	assert.JSONEq(t, `{"a":1}`, string(e.Payload))
	assert.Equal(t, id, plain.Envelope(t).ID)
	d.SequenceAck(t, e.SequenceID)
	w.finished(t, id)
	// A row without seq and payload, as lenient writers leave them.
	bare := "row-" + testenv.Unique()
	w.insert(t, map[string]any{"id": bare, "target_user_id": u, "push_type": 1, "status": "PENDING"})
	e = d.Envelope(t)
	assert.Equal(t, bare, e.ID)
	assert.Equal(t, "null", string(e.Payload))
	// Not to be delivered: deleted, expired, of a kind that nobody knows.
	now := time.Now()
	w.insert(t, map[string]any{"id": "row-" + testenv.Unique(), "target_user_id": u, "push_type": 1, "status": "PENDING", "deleted_at": sqlTime(now)})
	w.insert(t, map[string]any{
		"id": "row-" + testenv.Unique(), "target_user_id": u, "push_type": 2, "status": "PENDING", "payload": `{"type":"t","data":1}`,
		"command_request_id": testenv.Unique(), "expired_at": sqlTime(now.Add(-time.Second)),
	})
	last := "row-" + testenv.Unique()
	w.insert(t, map[string]any{"id": last, "target_user_id": u, "push_type": 1, "status": "DELIVERING", "payload": `2`})
	assert.Equal(t, last, d.Envelope(t).ID)
}

func testTransaction(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	w.nothingStored(t, u, d)
	ids := map[bool]string{}
	for _, commit := range []bool{false, true} {
		tx, err := w.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		ids[commit], err = w.client.SendReliableTx(t.Context(), tx, u, commit)
		require.NoError(t, err)
		if commit {
			require.NoError(t, tx.Commit())
		} else {
			require.NoError(t, tx.Rollback())
		}
	}
	e := d.Envelope(t)
	require.Equal(t, ids[true], e.ID)
	d.SequenceAck(t, e.SequenceID)
	w.finished(t, e.ID)
	_, err := w.client.Message(t.Context(), ids[false])
	require.ErrorIs(t, err, gateway.ErrMessageNotFound)
}

func testSequenceAckBounds(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	var ids []string
	for i := range 3 {
		ids = append(ids, w.reliable(t, u, i))
		d.Envelope(t)
	}
	for _, seq := range []string{"0", "4", "18446744073709551615"} {
		d.SendText(t, `{"type":"sequenceAck","sequenceId":`+seq+`}`)
	}
	d.SequenceAck(t, 2)
	w.finished(t, ids[1])
	d.SequenceAck(t, 1)
	assert.NotEqual(t, gateway.StatusFinished, w.message(t, ids[2]).Status)
	d.SequenceAck(t, 3)
	w.finished(t, ids[2])
}

func testReliablePayloads(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := user()
	d := h.connect(t, u, devicetest.JSON)
	for _, c := range []struct {
		payload any
		want    string
		kind    string
	}{
		{json.RawMessage(`{"a":[1.50,"<é>"]}`), `{"a":[1.50,"<é>"]}`, ""},
		{gateway.Text("hé\"llo"), `"hé\"llo"`, "text"},
		{gateway.Binary{0, 255}, `"AP8="`, "binary"},
		{nil, `null`, ""},
	} {
		for _, away := range []bool{false, true} {
			receiver := d
			if away {
				other := user()
				w.reliable(t, other, c.payload)
				receiver = h.connect(t, other, devicetest.JSON)
			} else {
				w.reliable(t, u, c.payload)
			}
			e := receiver.Envelope(t)
			assert.JSONEq(t, c.want, string(e.Payload))
			assert.Equal(t, c.kind, e.PayloadType)
		}
	}
}
