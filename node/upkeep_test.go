package node_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/node"
)

// The janitor works on all rows, so its tests have worlds of their own.

func TestJanitorEmbedded(t *testing.T) {
	t.Parallel()
	testJanitor(t, newEmbedded(t))
}

func TestJanitorReal(t *testing.T) {
	t.Parallel()
	testJanitor(t, newReal(t))
}

func testJanitor(t *testing.T, w *world) {
	// Two nodes: one of them has the lock, and another takes over.
	opts := node.Options{SweepInterval: 50 * time.Millisecond, Retention: time.Second}
	first, second := w.node(t, opts), w.node(t, opts)
	u := user()
	// A command for a user who never comes, by a caller who does not wait.
	res, err := w.client.SendCommand(t.Context(), u, "x", 1, gateway.NoWait(), gateway.WithTimeout(500*time.Millisecond))
	require.NoError(t, err)
	w.hasStatus(t, res.MessageID, gateway.StatusTimedOut)
	pending := w.reliable(t, u, 1)
	other := user()
	d := second.connect(t, other, devicetest.Reliable)
	done := w.reliable(t, other, 1)
	d.Envelope(t)
	d.SequenceAck(t, 1)
	w.gone(t, res.MessageID)
	w.gone(t, done)
	require.Equal(t, gateway.StatusPending, w.message(t, pending).Status, "what waits is never removed")
	first.stop()
	done = w.reliable(t, other, 2)
	d.Envelope(t)
	d.SequenceAck(t, 2)
	w.gone(t, done)
}

// gone waits until a row is removed.
func (w *world) gone(t *testing.T, id string) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := w.client.Message(t.Context(), id)
		return errors.Is(err, gateway.ErrMessageNotFound)
	}, devicetest.Patience, 10*time.Millisecond)
}

func TestRetentionOff(t *testing.T) {
	t.Parallel()
	w := newEmbedded(t)
	w.node(t, node.Options{SweepInterval: 20 * time.Millisecond, Retention: -1})
	old := "row-" + testenv.Unique()
	w.insert(t, map[string]any{
		"id": old, "target_user_id": user(), "push_type": 1, "status": "FINISHED", "payload": "1",
		"finished_at": sqlTime(time.Now().Add(-365 * 24 * time.Hour)), "updated_at": sqlTime(time.Now().Add(-365 * 24 * time.Hour)),
	})
	// The janitor times commands out before it would purge: two rounds of it.
	for range 2 {
		res, err := w.client.SendCommand(t.Context(), user(), "x", 1, gateway.NoWait(), gateway.WithTimeout(500*time.Millisecond))
		require.NoError(t, err)
		w.hasStatus(t, res.MessageID, gateway.StatusTimedOut)
	}
	require.Equal(t, gateway.StatusFinished, w.message(t, old).Status)
}
