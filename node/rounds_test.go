package node_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/node"
)

// roundStore is a database that fails for whoever is asked for together with
// one user, and notes whom rounds ask for.
type roundStore struct {
	store.Store
	bad string

	mu       sync.Mutex
	withBad  map[string]bool
	lastSeen map[string]int // rounds over the user
}

func (s *roundStore) UnfinishedRefs(ctx context.Context, users []string, after store.Ref, limit int) ([]store.Ref, error) {
	s.mu.Lock()
	for _, u := range users {
		s.lastSeen[u]++
		if slices.Contains(users, s.bad) {
			s.withBad[u] = true
		}
	}
	s.mu.Unlock()
	if slices.Contains(users, s.bad) {
		return nil, errors.New("this query takes too long")
	}
	return s.Store.UnfinishedRefs(ctx, users, after, limit)
}

func (s *roundStore) rounds(u string) (n int, failing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastSeen[u], s.withBad[u]
}

func newRoundStore(w *world, t *testing.T, bad string) (*host, *roundStore) {
	t.Helper()
	client := w.open(t)
	k := core.Of(client)
	s := &roundStore{Store: k.Store, bad: bad, withBad: map[string]bool{}, lastSeen: map[string]int{}}
	k.Store = s // before anything of the node looks at it
	return w.nodeOn(t, client, node.Options{SweepInterval: sweep}), s
}

const sweep = 100 * time.Millisecond

// TestRoundGoesOnAfterAFailure: users whose rows cannot be read, or not in time,
// do not keep the round from the others.
func TestRoundGoesOnAfterAFailure(t *testing.T) {
	t.Parallel()
	w := newEmbedded(t)
	bad := user()
	h, s := newRoundStore(w, t, bad)
	h.connect(t, bad, devicetest.Reliable)
	const n = 30
	users, devices := make([]string, n), make([]*devicetest.Device, n)
	for i := range users {
		users[i] = user()
		devices[i] = h.connect(t, users[i], devicetest.Reliable)
	}
	require.Eventually(t, func() bool {
		rounds, _ := s.rounds(bad)
		return rounds > 0
	}, devicetest.Patience, sweep/10)
	reached := 0
	for i, u := range users {
		if _, failing := s.rounds(u); failing {
			continue // asked for together with the bad one
		}
		id := "row-" + testenv.Unique()
		w.insert(t, map[string]any{"id": id, "target_user_id": u, "push_type": 1, "payload": "1", "status": "PENDING"})
		require.Equal(t, id, devices[i].Envelope(t).ID)
		reached++
	}
	require.Positive(t, reached)
}

// TestRoundLeavesOutWhoReadsOn: who has a full window reads the rows anyway once
// it has room; a round that listed a long backlog each time would keep others
// waiting.
func TestRoundLeavesOutWhoReadsOn(t *testing.T) {
	t.Parallel()
	w := newEmbedded(t)
	h, s := newRoundStore(w, t, "")
	full, idle := user(), user()
	ids := w.store(t, full, 1200, "x")
	d := h.connect(t, full, devicetest.JSON)
	h.connect(t, idle, devicetest.JSON)
	const window = 500 // half of MaxQueue
	for range window {
		d.Envelope(t)
	}
	rounds := func(u string) int { n, _ := s.rounds(u); return n }
	before := rounds(idle)
	require.Eventually(t, func() bool { return rounds(idle) > before+1 }, devicetest.Patience, sweep/10)
	began, seen := rounds(idle), rounds(full)
	require.Eventually(t, func() bool { return rounds(idle) > began+2 }, devicetest.Patience, sweep/10)
	require.Equal(t, seen, rounds(full))
	// It goes on by itself, and is looked at again.
	d.Acknowledge(t, ids[:window]...)
	for range len(ids) - window {
		d.Acknowledge(t, d.Envelope(t).ID)
	}
	require.Eventually(t, func() bool { return rounds(full) > seen }, devicetest.Patience, sweep/10)
}
