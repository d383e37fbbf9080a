package storetest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// strange are endings of ids that a careless statement would trip over.
var strange = []string{
	`'; DROP TABLE x; --`, `"quoted"`, "`back`", `back\slash\`, `\'`, "nul\x00char", "🚀é", "%_?", "?{id}",
	"new\nline", "tab\t", "--", "/*", ":name", "@var", "$1", "\u2028",
}

func testIDs(t *testing.T, open func(t *testing.T) store.Store) {
	run(t, open, "Hostile", func(b *bench) {
		for _, end := range strange {
			m := b.command(7, time.Hour)
			user := b.user + end
			m.ID, m.UserID, m.SenderID, m.RequestID = uuid.NewString()[:8]+end, user, end, uuid.NewString()[:8]+end
			b.insert(m)
			got := b.get(m.ID)
			require.Equal(b, []string{m.ID, m.UserID, m.SenderID, m.RequestID}, []string{got.ID, got.UserID, got.SenderID, got.RequestID})
			many, err := b.GetMany(b.Context(), []string{m.ID})
			require.NoError(b, err)
			require.Equal(b, []string{m.ID}, ids(many))
			found, err := b.FindCommand(b.Context(), user, m.RequestID)
			require.NoError(b, err)
			require.Equal(b, m.ID, found.ID)
			rows, err := b.Unfinished(b.Context(), user, store.Cursor{}, 10)
			require.NoError(b, err)
			require.Equal(b, []string{m.ID}, ids(rows))
			rows, err = b.Unfinished(b.Context(), user, store.Cursor{Seq: 7, ID: m.ID}, 10)
			require.NoError(b, err)
			require.Empty(b, rows)
			refs, err := b.UnfinishedRefs(b.Context(), []string{user}, store.Ref{}, 10)
			require.NoError(b, err)
			require.Equal(b, []store.Ref{{ID: m.ID, UserID: user}}, refs)
			refs, err = b.UnfinishedRefs(b.Context(), []string{user}, refs[0], 10)
			require.NoError(b, err)
			require.Empty(b, refs)
			seqs, err := b.MaxSeqs(b.Context(), []string{user})
			require.NoError(b, err)
			require.Equal(b, map[string]int64{user: 7}, seqs)
			history, err := b.History(b.Context(), user, 0, 10, true)
			require.NoError(b, err)
			require.Equal(b, []string{m.ID}, ids(history))
			b.settle(m.ID, b.Now(), time.Time{})
			require.Equal(b, wire.Delivering, b.get(m.ID).Status)
			b.settle(m.ID, b.Now(), b.Now())
			require.Equal(b, wire.RequestDelivered, b.get(m.ID).Status)
			require.NoError(b, b.SetResponseQueue(b.Context(), m.ID, end))
			require.Equal(b, end, b.get(m.ID).ResponseQueue)
			require.Equal(b, store.AnswerWon, b.answer(m.ID, `"\u0000 '; DROP"`, b.Now()))
			require.NoError(b, b.TimeOut(b.Context(), []string{m.ID}))
			require.Equal(b, wire.Finished, b.get(m.ID).Status)
		}
	})
	run(t, open, "SimilarUsers", func(b *bench) {
		// Equal to a collation that ignores case, accents or trailing
		// spaces, but not equal.
		users := []string{b.user + "bob", b.user + "Bob", b.user + "BOB", b.user + "bob ", b.user + "bób"}
		want := make(map[string][]string)
		highest := make(map[string]int64)
		enough := func(b *bench, seqs map[string]int64, users ...string) {
			require.Len(b, seqs, len(users))
			for _, user := range users {
				require.GreaterOrEqual(b, seqs[user], highest[user], user)
				require.LessOrEqual(b, seqs[user], int64(9), "no higher than that of one who is taken for the same")
			}
		}
		for seq := range int64(5) {
			for i, user := range users {
				m := b.command(seq+1+int64(i), time.Hour)
				m.UserID = user
				b.insert(m)
				want[user] = append(want[user], m.ID)
				highest[user] = m.Seq
			}
		}
		for _, user := range users {
			require.Equal(b, want[user], b.pages(user, 2))
			history, err := b.History(b.Context(), user, 0, 100, false)
			require.NoError(b, err)
			require.Equal(b, want[user], ids(history))
			seqs, err := b.MaxSeqs(b.Context(), []string{user})
			require.NoError(b, err)
			enough(b, seqs, user)
		}
		seqs, err := b.MaxSeqs(b.Context(), users)
		require.NoError(b, err)
		enough(b, seqs, users...)
		require.Len(b, b.refPages(users, 2), 25)
		require.Len(b, b.refPages(users[1:2], 2), 5)
		nobody, err := b.MaxSeqs(b.Context(), []string{b.user + "bobby"})
		require.NoError(b, err)
		require.Empty(b, nobody)
		m := b.get(want[users[0]][0])
		_, err = b.FindCommand(b.Context(), users[1], m.RequestID)
		require.ErrorIs(b, err, store.ErrNotFound)
		_, err = b.FindCommand(b.Context(), users[0], strings.ToUpper(m.RequestID))
		require.ErrorIs(b, err, store.ErrNotFound)
	})
	run(t, open, "SimilarIDs", func(b *bench) {
		m := b.command(1, time.Hour)
		m.ID = "id-" + m.ID[3:]
		b.insert(m)
		for _, other := range []string{strings.ToUpper(m.ID), m.ID + " ", "íd" + m.ID[2:]} {
			_, err := b.Get(b.Context(), other)
			require.ErrorIs(b, err, store.ErrNotFound)
			many, err := b.GetMany(b.Context(), []string{other})
			require.NoError(b, err)
			require.Empty(b, many)
			b.settle(other, b.Now(), b.Now())
			require.Equal(b, store.AnswerIgnored, b.answer(other, `1`, b.Now()))
			require.NoError(b, b.SetResponseQueue(b.Context(), other, "queue"))
			require.NoError(b, b.TimeOut(b.Context(), []string{other}))
			got := b.get(m.ID)
			require.Equal(b, wire.Pending, got.Status)
			require.Empty(b, got.ResponseQueue)
		}
		// A similar id may count as taken, but is never mistaken for the row.
		for _, other := range []string{strings.ToUpper(m.ID), m.ID + " "} {
			twin := b.reliable(2)
			twin.ID = other
			duplicates, err := b.Insert(b.Context(), []*store.Message{twin})
			require.NoError(b, err)
			_, err = b.Get(b.Context(), other)
			if len(duplicates) == 0 {
				require.NoError(b, err)
			} else {
				require.ErrorIs(b, err, store.ErrNotFound)
			}
		}
		require.EqualValues(b, 1, b.get(m.ID).Seq)
	})
}

// pages reads all unfinished rows of a user, some at a time.
func (b *bench) pages(user string, size int) []string {
	b.Helper()
	all := []string{}
	var after store.Cursor
	for {
		msgs, err := b.Unfinished(b.Context(), user, after, size)
		require.NoError(b, err)
		for _, m := range msgs {
			require.Equal(b, user, m.UserID)
		}
		all = append(all, ids(msgs)...)
		if len(msgs) < size {
			return all
		}
		last := msgs[len(msgs)-1]
		after = store.Cursor{Seq: last.Seq, ID: last.ID}
	}
}

// refPages does so with UnfinishedRefs, and checks its order.
func (b *bench) refPages(users []string, size int) []store.Ref {
	b.Helper()
	var all []store.Ref
	var after store.Ref
	for {
		refs, err := b.UnfinishedRefs(b.Context(), users, after, size)
		require.NoError(b, err)
		for _, r := range refs {
			require.Contains(b, users, r.UserID)
			require.True(b, r.UserID > after.UserID || r.UserID == after.UserID && r.ID > after.ID)
			after = r
		}
		all = append(all, refs...)
		if len(refs) < size {
			return all
		}
	}
}
