package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

func testRead(t *testing.T, open func(t *testing.T) store.Store) {
	run(t, open, "Get", func(b *bench) {
		_, err := b.Get(b.Context(), uuid.NewString())
		require.ErrorIs(b, err, store.ErrNotFound)
		one, two := b.reliable(1), b.reliable(2)
		b.insert(one, two)
		msgs, err := b.GetMany(b.Context(), []string{two.ID, uuid.NewString(), one.ID, one.ID})
		require.NoError(b, err)
		require.ElementsMatch(b, []string{one.ID, two.ID}, ids(msgs))
		msgs, err = b.GetMany(b.Context(), nil)
		require.NoError(b, err)
		require.Empty(b, msgs)
		var unknown []string
		for range 1000 {
			unknown = append(unknown, uuid.NewString())
		}
		msgs, err = b.GetMany(b.Context(), append(unknown, two.ID))
		require.NoError(b, err)
		require.Equal(b, []string{two.ID}, ids(msgs))
	})
	run(t, open, "UnfinishedIsInOrder", func(b *bench) {
		var want []*store.Message
		for _, seq := range []int64{0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 9} {
			m := b.reliable(seq)
			m.Status = []wire.Status{wire.Pending, wire.Delivering}[len(want)%2]
			want = append(want, m)
		}
		finished, timedOut := b.reliable(4), b.command(5, time.Hour)
		finished.Status, timedOut.Status = wire.Finished, wire.TimedOut
		expired, waiting := b.command(6, -time.Minute), b.command(10, time.Hour)
		waiting.Status = wire.RequestDelivered
		want = append(want, waiting)
		shuffled := append(slices.Clone(want), finished, timedOut, expired)
		slices.Reverse(shuffled)
		b.insert(shuffled...)
		slices.SortFunc(want, func(x, y *store.Message) int {
			if x.Seq != y.Seq {
				return int(x.Seq - y.Seq)
			}
			if x.ID < y.ID {
				return -1
			}
			return 1
		})
		for size := 1; size <= len(want)+1; size++ {
			require.Equal(b, ids(want), b.pages(b.user, size), "pages of %d", size)
		}
		none, err := b.Unfinished(b.Context(), b.user, store.Cursor{}, 0)
		require.NoError(b, err)
		require.Empty(b, none)
	})
	run(t, open, "UnfinishedRefs", func(b *bench) {
		var users []string
		want := make(map[store.Ref]bool)
		for i := range 250 {
			user := "refs_" + testenv.Unique()
			users = append(users, user, user)
			for range i % 4 {
				m := b.reliable(1)
				m.UserID = user
				b.insert(m)
				want[store.Ref{ID: m.ID, UserID: user}] = true
			}
		}
		stranger := b.reliable(1)
		b.insert(stranger)
		expired, done := b.command(1, -time.Second), b.reliable(1)
		expired.UserID, done.UserID, done.Status = users[0], users[0], wire.Finished
		b.insert(expired, done)
		for _, size := range []int{7, 1000} {
			refs := b.refPages(users, size)
			require.Len(b, refs, len(want))
			for _, r := range refs {
				require.True(b, want[r])
			}
		}
		none, err := b.UnfinishedRefs(b.Context(), nil, store.Ref{}, 10)
		require.NoError(b, err)
		require.Empty(b, none)
	})
	run(t, open, "MaxSeqs", func(b *bench) {
		other, silent := b.user+"_other", b.user+"_silent"
		last, foreign, mute := b.reliable(41), b.reliable(7), b.reliable(0)
		last.Status = wire.Finished
		foreign.UserID, mute.UserID = other, silent
		b.insert(b.reliable(3), last, b.reliable(5), foreign, mute)
		users := []string{b.user, other, silent, b.user + "_nobody", b.user}
		for range 300 {
			users = append(users, uuid.NewString())
		}
		seqs, err := b.MaxSeqs(b.Context(), users)
		require.NoError(b, err)
		require.Equal(b, map[string]int64{b.user: 41, other: 7}, seqs)
		seqs, err = b.MaxSeqs(b.Context(), nil)
		require.NoError(b, err)
		require.Empty(b, seqs)
	})
	run(t, open, "FindCommand", func(b *bench) {
		m := b.command(1, time.Hour)
		reliable := b.reliable(2)
		reliable.RequestID = uuid.NewString()
		b.insert(m, reliable)
		find := func(user, request string) error {
			_, err := b.FindCommand(b.Context(), user, request)
			return err
		}
		require.NoError(b, find(b.user, m.RequestID))
		require.ErrorIs(b, find(b.user+"x", m.RequestID), store.ErrNotFound)
		require.ErrorIs(b, find(b.user, reliable.RequestID), store.ErrNotFound)
		require.ErrorIs(b, find(b.user, ""), store.ErrNotFound)
		require.NoError(b, b.TimeOut(b.Context(), []string{m.ID}))
		require.NoError(b, find(b.user, m.RequestID), "a late answer finds it")
		m = b.command(3, time.Hour)
		b.insert(m)
		require.Equal(b, store.AnswerWon, b.answer(m.ID, `1`, b.Now()))
		require.ErrorIs(b, find(b.user, m.RequestID), store.ErrNotFound)
	})
	run(t, open, "History", func(b *bench) {
		var msgs []*store.Message
		for seq := range int64(10) {
			m := b.reliable(seq + 1)
			m.Status = []wire.Status{wire.Pending, wire.Finished, wire.TimedOut}[seq%3]
			msgs = append(msgs, m)
		}
		b.insert(append(slices.Clone(msgs), b.reliable(0))...)
		read := func(from int64, limit int, backwards bool) []string {
			page, err := b.History(b.Context(), b.user, from, limit, backwards)
			require.NoError(b, err)
			return ids(page)
		}
		all := ids(msgs)
		require.Equal(b, all[:4], read(0, 4, false))
		require.Equal(b, all[4:8], read(4, 4, false))
		require.Equal(b, all[8:], read(8, 4, false))
		require.Empty(b, read(10, 4, false))
		back := slices.Clone(all)
		slices.Reverse(back)
		require.Equal(b, back[:4], read(0, 4, true))
		require.Equal(b, back[4:8], read(7, 4, true))
		require.Equal(b, back[8:], read(3, 4, true))
		require.Equal(b, back, read(0, 100, true))
		require.Empty(b, read(1, 4, true))
		require.Empty(b, read(0, 0, true))
	})
	run(t, open, "HistoryKeepsEqualSeqsTogether", func(b *bench) {
		for _, seq := range []int64{1, 2, 2, 2, 3} {
			b.insert(b.reliable(seq))
		}
		for _, backwards := range []bool{false, true} {
			read, from := 0, int64(0)
			for {
				page, err := b.History(b.Context(), b.user, from, 3, backwards)
				require.NoError(b, err)
				if len(page) == 0 {
					break
				}
				read += len(page)
				from = page[len(page)-1].Seq
			}
			require.Equal(b, 5, read)
		}
	})
	run(t, open, "DeletedRowsAreInvisible", func(b *bench) {
		kept, m := b.reliable(1), b.command(2, time.Hour)
		b.insert(kept, m)
		b.remove(m.ID)
		_, err := b.Get(b.Context(), m.ID)
		require.ErrorIs(b, err, store.ErrNotFound)
		_, err = b.FindCommand(b.Context(), b.user, m.RequestID)
		require.ErrorIs(b, err, store.ErrNotFound)
		require.Equal(b, []string{kept.ID}, b.unfinished())
		require.Len(b, b.refPages([]string{b.user}, 10), 1)
		for _, backwards := range []bool{false, true} {
			history, err := b.History(b.Context(), b.user, 0, 10, backwards)
			require.NoError(b, err)
			require.Equal(b, []string{kept.ID}, ids(history))
		}
		b.settle(m.ID, b.Now(), b.Now())
		require.NoError(b, b.TimeOut(b.Context(), []string{m.ID}))
		require.NoError(b, b.SetResponseQueue(b.Context(), m.ID, "queue"))
		require.Equal(b, store.AnswerIgnored, b.answer(m.ID, `1`, b.Now()))
		b.exec("UPDATE push_messages SET deleted_at = NULL WHERE id = ?", m.ID)
		got := b.get(m.ID)
		require.Equal(b, wire.Pending, got.Status)
		require.Empty(b, got.ResponseQueue)
		require.Nil(b, got.Response)
		b.remove(m.ID)
		seqs, err := b.MaxSeqs(b.Context(), []string{b.user})
		require.NoError(b, err)
		require.EqualValues(b, 2, seqs[b.user], "its number was given out all the same")
	})
	run(t, open, "NullIsNoResponse", func(b *bench) {
		// What the ORM of the original writes for "no response yet".
		m := b.command(1, time.Hour)
		m.Response = []byte("null")
		b.insert(m)
		require.Nil(b, b.get(m.ID).Response)
		require.Equal(b, store.AnswerWon, b.answer(m.ID, `null`, b.Now()))
		require.JSONEq(b, "null", string(b.get(m.ID).Response))
	})
	run(t, open, "Now", func(b *bench) {
		require.NoError(b, b.Ping(b.Context()))
		now := b.Now()
		require.Equal(b, time.UTC, now.Location())
		require.Zero(b, now.Nanosecond()%1000)
		require.False(b, b.Now().Before(now.Add(-time.Second)))
	})
}
