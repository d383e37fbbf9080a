package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

func testExpiry(t *testing.T, open func(t *testing.T) store.Store) {
	run(t, open, "TimeOut", func(b *bench) {
		reliable := b.reliable(1)
		names := []string{reliable.ID, "no such row"}
		var commands []*store.Message
		for i, state := range []wire.Status{wire.Pending, wire.Delivering, wire.RequestDelivered, wire.Finished, wire.TimedOut} {
			m := b.command(int64(i+2), time.Hour)
			m.Status = state
			commands = append(commands, m)
			names = append(names, m.ID, m.ID)
		}
		b.insert(append(commands, reliable)...)
		require.NoError(b, b.TimeOut(b.Context(), names))
		require.NoError(b, b.TimeOut(b.Context(), nil))
		require.Equal(b, wire.Pending, b.get(reliable.ID).Status)
		for i, m := range commands {
			want := wire.TimedOut
			if i == 3 {
				want = wire.Finished
			}
			require.Equal(b, want, b.get(m.ID).Status)
		}
	})
}

// testPurge runs alone: it changes rows of all users.
func testPurge(t *testing.T, open func(t *testing.T) store.Store) {
	t.Run("TimeOutExpired", func(t *testing.T) {
		b := &bench{Store: open(t), T: t, user: "expired"}
		var expired []*store.Message
		for i := range 5 {
			m := b.command(int64(i+1), -time.Hour)
			m.Status = []wire.Status{wire.Pending, wire.Delivering, wire.RequestDelivered}[i%3]
			expired = append(expired, m)
		}
		alive, reliable, eternal := b.command(6, time.Hour), b.reliable(7), b.command(8, time.Hour)
		eternal.ExpiresAt = time.Time{}
		reliable.ExpiresAt = b.Now().Add(-time.Hour)
		b.insert(append(expired, alive, reliable, eternal)...)
		total := 0
		for {
			n, err := b.TimeOutExpired(b.Context(), 3)
			require.NoError(b, err)
			require.LessOrEqual(b, n, 3)
			if n == 0 {
				break
			}
			total += n
		}
		require.GreaterOrEqual(b, total, len(expired))
		for _, m := range expired {
			require.Equal(b, wire.TimedOut, b.get(m.ID).Status)
		}
		for _, m := range []*store.Message{alive, reliable, eternal} {
			require.Equal(b, wire.Pending, b.get(m.ID).Status)
		}
	})
	t.Run("Purge", func(t *testing.T) {
		b := &bench{Store: open(t), T: t, user: "purged"}
		// A time before which no other test has rows.
		day := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
		var old []*store.Message
		for i := range 6 {
			finished, timedOut := b.reliable(int64(i)), b.command(int64(i), time.Hour)
			finished.Status, finished.FinishedAt = wire.Finished, day.Add(-time.Minute)
			timedOut.Status, timedOut.ExpiresAt = wire.TimedOut, day.Add(-time.Minute)
			old = append(old, finished, timedOut)
		}
		// Rows of other writers without the time of their end.
		untimed, unlimited := b.reliable(20), b.command(21, time.Hour)
		untimed.Status, untimed.UpdatedAt = wire.Finished, day.Add(-time.Minute)
		unlimited.Status, unlimited.UpdatedAt, unlimited.ExpiresAt = wire.TimedOut, day.Add(-time.Minute), time.Time{}
		old = append(old, untimed, unlimited)
		young, late := b.reliable(30), b.command(31, time.Hour)
		young.Status, young.FinishedAt = wire.Finished, day.Add(time.Minute)
		late.Status, late.ExpiresAt = wire.TimedOut, day.Add(time.Minute)
		pending, waiting := b.reliable(32), b.command(33, time.Hour)
		pending.CreatedAt, pending.UpdatedAt = day.Add(-time.Hour), day.Add(-time.Hour)
		waiting.ExpiresAt = day.Add(-time.Hour)
		kept := []*store.Message{young, late, pending, waiting}
		b.insert(append(old, kept...)...)
		for limit, want := range map[int]int{5: 5, len(old): len(old), 1000: len(old)} {
			n, err := b.Purgeable(b.Context(), day, limit)
			require.NoError(b, err)
			require.Equal(b, want, n)
		}
		counts, err := b.Count(b.Context(), 7)
		require.NoError(b, err)
		require.Len(b, counts, 5)
		require.Equal(b, 7, counts[wire.Finished], "7 of the 8 rows that are there, or of more")
		require.Equal(b, 7, counts[wire.TimedOut])
		require.GreaterOrEqual(b, counts[wire.Pending], 2)

		total := 0
		for {
			n, err := b.Purge(b.Context(), day, 5)
			require.NoError(b, err)
			require.LessOrEqual(b, n, 5)
			if n == 0 {
				break
			}
			total += n
		}
		require.Equal(b, len(old), total)
		left, err := b.GetMany(b.Context(), append(ids(old), ids(kept)...))
		require.NoError(b, err)
		require.ElementsMatch(b, ids(kept), ids(left))
	})
}

func testContexts(t *testing.T, open func(t *testing.T) store.Store) {
	// each names every method with a context.
	each := func(b *bench) map[string]func(ctx context.Context) error {
		m := b.command(1, time.Hour)
		b.insert(m)
		return map[string]func(ctx context.Context) error{
			"Ping": b.Ping,
			"Insert": func(ctx context.Context) error {
				_, err := b.Insert(ctx, []*store.Message{b.reliable(2)})
				return err
			},
			"Get":     func(ctx context.Context) error { _, err := b.Get(ctx, m.ID); return err },
			"GetMany": func(ctx context.Context) error { _, err := b.GetMany(ctx, []string{m.ID}); return err },
			"FindCommand": func(ctx context.Context) error {
				_, err := b.FindCommand(ctx, b.user, m.RequestID)
				return err
			},
			"MaxSeqs": func(ctx context.Context) error { _, err := b.MaxSeqs(ctx, []string{b.user}); return err },
			"Unfinished": func(ctx context.Context) error {
				_, err := b.Unfinished(ctx, b.user, store.Cursor{}, 1)
				return err
			},
			"UnfinishedRefs": func(ctx context.Context) error {
				_, err := b.UnfinishedRefs(ctx, []string{b.user}, store.Ref{}, 1)
				return err
			},
			"History": func(ctx context.Context) error { _, err := b.History(ctx, b.user, 0, 1, false); return err },
			"Settle": func(ctx context.Context) error {
				return b.Settle(ctx, []store.Settlement{{ID: m.ID, DeliveredAt: b.Now()}})
			},
			"Answer": func(ctx context.Context) error {
				_, err := b.Answer(ctx, []store.Answer{{ID: m.ID, Response: []byte(`1`), At: b.Now()}})
				return err
			},
			"SetResponseQueue": func(ctx context.Context) error { return b.SetResponseQueue(ctx, m.ID, "q") },
			"TimeOut":          func(ctx context.Context) error { return b.TimeOut(ctx, []string{m.ID}) },
			"TimeOutExpired":   func(ctx context.Context) error { _, err := b.TimeOutExpired(ctx, 1); return err },
			"Purgeable":        func(ctx context.Context) error { _, err := b.Purgeable(ctx, time.Unix(0, 0), 1); return err },
			"Count":            func(ctx context.Context) error { _, err := b.Count(ctx, 1); return err },
			"Schema":           func(ctx context.Context) error { _, err := b.Schema(ctx); return err },
			"Purge":            func(ctx context.Context) error { _, err := b.Purge(ctx, time.Unix(0, 0), 1); return err },
		}
	}
	run(t, open, "Cancelled", func(b *bench) {
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		for name, call := range each(b) {
			require.ErrorIs(b, call(ctx), context.Canceled, name)
		}
	})
	run(t, open, "DeadlineWhileBlocked", func(b *bench) {
		m := b.command(1, time.Hour)
		b.insert(m)
		// A transaction of somebody else holds the row, and in SQLite the file.
		tx, err := b.db().BeginTx(b.Context(), nil)
		require.NoError(b, err)
		_, err = tx.ExecContext(b.Context(), "UPDATE push_messages SET sender_id = 'blocked' WHERE id = ?", m.ID)
		require.NoError(b, err)
		again := b.reliable(2)
		again.ID = m.ID
		for name, call := range map[string]func(ctx context.Context) error{
			"Insert": func(ctx context.Context) error {
				_, err := b.Insert(ctx, []*store.Message{again})
				return err
			},
			"Settle": func(ctx context.Context) error {
				return b.Settle(ctx, []store.Settlement{{ID: m.ID, DeliveredAt: b.Now()}})
			},
			"Answer": func(ctx context.Context) error {
				_, err := b.Answer(ctx, []store.Answer{{ID: m.ID, Response: []byte(`1`), At: b.Now()}})
				return err
			},
			"TimeOut": func(ctx context.Context) error { return b.TimeOut(ctx, []string{m.ID}) },
		} {
			ctx, cancel := context.WithTimeout(b.Context(), 300*time.Millisecond)
			start := time.Now()
			require.ErrorIs(b, call(ctx), context.DeadlineExceeded, name)
			require.Less(b, time.Since(start), 5*time.Second, name)
			cancel()
		}
		require.Equal(b, []string{m.ID}, b.unfinished(), "readers do not wait")
		require.NoError(b, tx.Rollback())
		// A server may still carry out a statement that nobody waits for, so
		// the state is one of those that were asked for.
		b.settle(m.ID, b.Now(), time.Time{})
		require.NotEqual(b, wire.Pending, b.get(m.ID).Status)
	})
}
