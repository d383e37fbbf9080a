package storetest

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

func testInsert(t *testing.T, open func(t *testing.T) store.Store) {
	run(t, open, "EveryFieldSurvives", func(b *bench) {
		at := b.Now().Truncate(time.Second)
		want := &store.Message{
			ID: uuid.NewString(), SenderType: "client", SenderID: "bäckend 🚀", UserID: b.user,
			PushType: wire.Command, Seq: 1 << 40, Payload: json.RawMessage(`{"type": "T", "data": ["ü", "🚀", "\\\"'\u0000", 1.5, null]}`),
			Status: wire.Finished, RequestID: uuid.NewString(), Response: json.RawMessage(`"yes"`),
			ResponseQueue: "queue", Nonce: uuid.NewString(), ExpiresAt: at.Add(time.Hour), RetryInterval: 1500 * time.Millisecond,
			DeliveringAt: at.Add(time.Second), RequestDeliveredAt: at.Add(2 * time.Second), FinishedAt: at.Add(3 * time.Second),
			CreatedAt: at.Add(-time.Second), UpdatedAt: at,
		}
		given := *want
		b.insert(&given)
		require.Equal(b, *want, given, "what is set is left alone")
		got := b.get(want.ID)
		require.JSONEq(b, string(want.Payload), string(got.Payload))
		require.JSONEq(b, string(want.Response), string(got.Response))
		got.Payload, got.Response = want.Payload, want.Response
		require.Equal(b, want, got)
	})
	run(t, open, "ZeroValuesAreNull", func(b *bench) {
		m := &store.Message{ID: uuid.NewString(), UserID: b.user, PushType: wire.Reliable}
		before := b.Now()
		b.insert(m)
		b.sameTime(before, m.CreatedAt)
		require.Equal(b, m.CreatedAt, m.UpdatedAt)
		got := b.get(m.ID)
		b.sameTime(m.CreatedAt, got.CreatedAt)
		b.sameTime(m.UpdatedAt, got.UpdatedAt)
		require.Equal(b, wire.Pending, got.Status)
		require.NotEmpty(b, got.Nonce, "or a repetition could not know its row")
		require.Nil(b, got.Payload)
		require.Nil(b, got.Response)
		require.Zero(b, got.Seq)
		require.Zero(b, got.RetryInterval)
		require.True(b, got.ExpiresAt.IsZero() && got.DeliveringAt.IsZero() && got.FinishedAt.IsZero() && got.RequestDeliveredAt.IsZero())
		require.Empty(b, got.SenderType+got.SenderID+got.RequestID+got.ResponseQueue)
	})
	run(t, open, "Nothing", func(b *bench) {
		duplicates, err := b.Insert(b.Context(), nil)
		require.NoError(b, err)
		require.Empty(b, duplicates)
	})
	run(t, open, "ManyRows", func(b *bench) {
		var msgs []*store.Message
		for i := range 1500 {
			msgs = append(msgs, b.reliable(int64(i+1)))
		}
		b.insert(msgs...)
		got, err := b.Unfinished(b.Context(), b.user, store.Cursor{}, 2000)
		require.NoError(b, err)
		require.Equal(b, ids(msgs), ids(got))
	})
	run(t, open, "TakenIDsAreLeftOut", func(b *bench) {
		first, second := b.reliable(1), b.reliable(2)
		b.insert(first, second)
		again := b.reliable(3)
		again.ID = second.ID
		fresh := b.reliable(4)
		twin := b.reliable(5)
		twin.ID = fresh.ID
		duplicates, err := b.Insert(b.Context(), []*store.Message{again, fresh, twin})
		require.NoError(b, err)
		require.Equal(b, []int{0, 2}, duplicates)
		require.EqualValues(b, 2, b.get(second.ID).Seq)
		require.EqualValues(b, 4, b.get(fresh.ID).Seq)
	})
	run(t, open, "SameNonceIsNoDuplicate", func(b *bench) {
		stored, missing := b.reliable(1), b.reliable(2)
		b.insert(stored)
		other := b.reliable(3)
		b.insert(other)
		other = b.reliable(4)
		taken := b.reliable(5)
		b.insert(taken)
		other.ID = taken.ID
		duplicates, err := b.Insert(b.Context(), []*store.Message{stored, missing, other})
		require.NoError(b, err)
		require.Equal(b, []int{2}, duplicates, "only the row with another nonce")
		b.get(missing.ID)
	})
	run(t, open, "RejectedRowRejectsTheBatch", func(b *bench) {
		long := strings.Repeat("x", store.DefaultLimits.UserID+1)
		for name, spoil := range map[string]func(m *store.Message){
			"long id":   func(m *store.Message) { m.ID = long },
			"long user": func(m *store.Message) { m.UserID = long },
			"no json":   func(m *store.Message) { m.Payload = json.RawMessage(`{"a":`) },
		} {
			good, bad := b.reliable(1), b.reliable(2)
			spoil(bad)
			_, err := b.Insert(b.Context(), []*store.Message{good, bad})
			require.ErrorIs(b, err, store.ErrRejected, name)
			_, err = b.Get(b.Context(), good.ID)
			require.ErrorIs(b, err, store.ErrNotFound, name)

			// and where a taken id leads another way
			taken := b.reliable(3)
			b.insert(taken)
			again := *taken
			again.Nonce = uuid.NewString()
			_, err = b.Insert(b.Context(), []*store.Message{&again, good, bad})
			require.ErrorIs(b, err, store.ErrRejected, name)
			_, err = b.Get(b.Context(), good.ID)
			require.ErrorIs(b, err, store.ErrNotFound, name)
		}
	})
	run(t, open, "LongestValuesFit", func(b *bench) {
		limits, err := b.Limits(b.Context())
		require.NoError(b, err)
		m := b.reliable(1)
		m.ID = strings.Repeat("ü", limits.ID-32) + strings.ReplaceAll(uuid.NewString(), "-", "")
		m.UserID = b.user + strings.Repeat("🚀", limits.UserID-len(b.user))
		m.SenderID = strings.Repeat("x", limits.SenderID)
		b.insert(m)
		got := b.get(m.ID)
		require.Equal(b, m.UserID, got.UserID)
		require.Equal(b, m.SenderID, got.SenderID)
	})
	run(t, open, "ConcurrentlyWithTheSameIDs", func(b *bench) {
		const callers, rows = 16, 8
		names := make([]string, rows)
		for i := range names {
			names[i] = uuid.NewString()
		}
		var stored [rows]atomic.Int32
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				msgs := make([]*store.Message, rows)
				at := make([]int, rows)
				for i := range msgs {
					at[i] = (i*3 + c) % rows // each caller in an order of its own
					msgs[i] = b.reliable(int64(at[i] + 1))
					msgs[i].ID = names[at[i]]
				}
				duplicates, err := b.Insert(b.Context(), msgs)
				if err != nil {
					b.Errorf("insert: %v", err)
					return
				}
				for _, i := range duplicates {
					stored[at[i]].Add(-1)
				}
				for _, i := range at {
					stored[i].Add(1)
				}
			})
		}
		wg.Wait()
		for i := range stored {
			require.EqualValues(b, 1, stored[i].Load(), "row %d", i)
		}
		require.ElementsMatch(b, names, b.unfinished())
	})
	testInsertAll(t, open)
	testInsertTx(t, open)
}

// others makes messages that are not m, nor the deleted one, and have their ids.
func (b *bench) others(m, deleted *store.Message) map[string]*store.Message {
	user, kind, again := b.reliable(9), b.command(9, time.Hour), b.reliable(9)
	user.ID, kind.ID, again.ID = m.ID, m.ID, deleted.ID
	user.UserID += "'s friend"
	return map[string]*store.Message{"of another user": user, "of another kind": kind, "of a deleted one": again}
}

func testInsertAll(t *testing.T, open func(t *testing.T) store.Store) {
	run(t, open, "AllLeavesOutTheSame", func(b *bench) {
		stored, again, fresh := b.reliable(1), b.reliable(2), b.reliable(3)
		b.insert(stored)
		again.ID = stored.ID
		duplicates, err := b.InsertAll(b.Context(), []*store.Message{fresh, again, stored})
		require.NoError(b, err)
		require.Equal(b, []int{1}, duplicates, "the last has the same nonce")
		require.Equal(b, []string{stored.ID, fresh.ID}, b.unfinished())
	})
	run(t, open, "AllOrNone", func(b *bench) {
		stored, deleted := b.reliable(1), b.reliable(2)
		b.insert(stored, deleted)
		b.remove(deleted.ID)
		for name, other := range b.others(stored, deleted) {
			_, err := b.InsertAll(b.Context(), []*store.Message{b.reliable(3), other, b.reliable(4)})
			var taken *store.TakenError
			require.ErrorAs(b, err, &taken, name)
			require.Equal(b, store.TakenError{Index: 1, ID: other.ID}, *taken)
			require.Equal(b, []string{stored.ID}, b.unfinished(), name)
		}
	})
}

func testInsertTx(t *testing.T, open func(t *testing.T) store.Store) {
	run(t, open, "TxCommits", func(b *bench) {
		m := b.reliable(1)
		tx, err := b.db().BeginTx(b.Context(), nil)
		require.NoError(b, err)
		dup, err := b.InsertTx(b.Context(), tx, m)
		require.NoError(b, err)
		require.False(b, dup)
		_, err = b.Get(b.Context(), m.ID)
		require.ErrorIs(b, err, store.ErrNotFound, "before the commit nobody sees it")
		dup, err = b.InsertTx(b.Context(), tx, m)
		require.NoError(b, err)
		require.False(b, dup, "the same nonce")
		require.NoError(b, tx.Commit())
		require.Equal(b, []string{m.ID}, b.unfinished())
	})
	run(t, open, "TxRollsBack", func(b *bench) {
		m := b.reliable(1)
		tx, err := b.db().BeginTx(b.Context(), nil)
		require.NoError(b, err)
		_, err = b.InsertTx(b.Context(), tx, m)
		require.NoError(b, err)
		require.NoError(b, tx.Rollback())
		require.Empty(b, b.unfinished())
	})
	run(t, open, "TxGoesOnAfterDuplicate", func(b *bench) {
		taken, again, fresh := b.reliable(1), b.reliable(2), b.reliable(3)
		b.insert(taken)
		again.ID = taken.ID
		inTx := func() error {
			tx, err := b.db().BeginTx(b.Context(), nil)
			require.NoError(b, err)
			defer func() { _ = tx.Rollback() }()
			dup, err := b.InsertTx(b.Context(), tx, again)
			if err != nil {
				return err
			}
			require.True(b, dup)
			dup, err = b.InsertTx(b.Context(), tx, fresh)
			if err != nil {
				return err
			}
			require.False(b, dup)
			return tx.Commit()
		}
		err := inTx()
		for range 10 {
			// As any transaction on MySQL, this one may deadlock, here with
			// other tests; to repeat it is the application's part.
			if err == nil || !strings.Contains(err.Error(), "Deadlock") {
				break
			}
			err = inTx()
		}
		require.NoError(b, err)
		require.EqualValues(b, 1, b.get(taken.ID).Seq)
		require.Equal(b, []string{taken.ID, fresh.ID}, b.unfinished())
	})
	run(t, open, "TxRefusesTakenIDs", func(b *bench) {
		deleted, m := b.reliable(1), b.reliable(2)
		b.insert(deleted)
		b.remove(deleted.ID)
		tx, err := b.db().BeginTx(b.Context(), nil)
		require.NoError(b, err)
		defer func() { _ = tx.Rollback() }()
		_, err = b.InsertTx(b.Context(), tx, m)
		require.NoError(b, err)
		again := *m
		again.Nonce = uuid.NewString()
		dup, err := b.InsertTx(b.Context(), tx, &again)
		require.NoError(b, err)
		require.True(b, dup, "the same, written in this transaction")
		for name, other := range b.others(m, deleted) {
			_, err = b.InsertTx(b.Context(), tx, other)
			var taken *store.TakenError
			require.ErrorAs(b, err, &taken, name)
			require.Equal(b, other.ID, taken.ID)
		}
		require.NoError(b, tx.Commit())
		require.Equal(b, []string{m.ID}, b.unfinished())
	})
	run(t, open, "TxRejects", func(b *bench) {
		m := b.reliable(1)
		m.UserID = strings.Repeat("x", store.DefaultLimits.UserID+1)
		tx, err := b.db().BeginTx(b.Context(), nil)
		require.NoError(b, err)
		_, err = b.InsertTx(b.Context(), tx, m)
		require.ErrorIs(b, err, store.ErrRejected)
		require.NoError(b, tx.Rollback())
	})
}
