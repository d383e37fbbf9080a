package sqlstore

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

var benchStores = map[string]func(b *testing.B) *Store{
	"mysql": func(b *testing.B) *Store {
		s := openMySQL(b, MySQLOptions{Config: testenv.MySQL(b)})
		require.NoError(b, s.Migrate(b.Context()))
		return s
	},
	"sqlite": func(b *testing.B) *Store { return openSQLite(b, filepath.Join(b.TempDir(), "store.db")) },
}

// BenchmarkInsert stores batches with the store, and beside it ("bare") the same
// columns with one INSERT whose text and arguments are ready. A row is one
// operation of neither: compare ns/row.
func BenchmarkInsert(b *testing.B) {
	for name, open := range benchStores {
		for _, rows := range []int{1, 127, 128} { // MySQL has 128 prepared, but not 127
			b.Run(fmt.Sprintf("%s/rows=%d/store", name, rows), func(b *testing.B) {
				s := open(b)
				msgs := benchMessages(rows)
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					renew(msgs)
					b.StartTimer()
					if _, err := s.Insert(b.Context(), msgs); err != nil {
						b.Fatal(err)
					}
				}
				perRow(b, rows)
			})
			b.Run(fmt.Sprintf("%s/rows=%d/bare", name, rows), func(b *testing.B) {
				s := open(b)
				msgs := benchMessages(rows)
				query := `INSERT INTO push_messages (id, sender_type, sender_id, target_user_id, push_type, seq, payload, status,
					nonce, created_at, updated_at) VALUES ` + strings.TrimSuffix(strings.Repeat("(?,?,?,?,?,?,?,?,?,?,?),", rows), ",")
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					renew(msgs)
					now := formatTime(s.Now())
					var args []any
					for _, m := range msgs {
						args = append(args, m.ID, m.SenderType, m.SenderID, m.UserID, int64(m.PushType), m.Seq, string(m.Payload), string(m.Status), m.Nonce, now, now)
					}
					b.StartTimer()
					if _, err := s.w.ExecContext(b.Context(), query, args...); err != nil {
						b.Fatal(err)
					}
				}
				perRow(b, rows)
			})
		}
	}
}

// BenchmarkRead reads what goes by a user's rows, of whom each has 250 in all
// states: the highest numbers of 40 users, and a page of 50 rows either way.
func BenchmarkRead(b *testing.B) {
	for name, open := range benchStores {
		s := open(b)
		fill(b, s, 10_000)
		users := make([]string, 40)
		for i := range users {
			users[i] = fmt.Sprintf("user_%d", i)
		}
		b.Run(name+"/highest", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if highest, err := s.MaxSeqs(b.Context(), users); err != nil || len(highest) != len(users) {
					b.Fatal(len(highest), err)
				}
			}
		})
		for _, backwards := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/history,backwards=%v", name, backwards), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if page, err := s.History(b.Context(), users[0], 5000, 50, backwards); err != nil || len(page) != 50 {
						b.Fatal(len(page), err)
					}
				}
			})
		}
	}
}

// BenchmarkSettle moves rows from PENDING to FINISHED.
func BenchmarkSettle(b *testing.B) {
	benchChange(b, wire.Reliable, func(b *testing.B, s *Store, msgs []*store.Message) {
		list := make([]store.Settlement, len(msgs))
		for i, m := range msgs {
			list[i] = store.Settlement{ID: m.ID, DeliveredAt: s.Now(), AcknowledgedAt: s.Now()}
		}
		b.StartTimer()
		if err := s.Settle(b.Context(), list); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkAnswer finishes commands with their first answer.
func BenchmarkAnswer(b *testing.B) {
	benchChange(b, wire.Command, func(b *testing.B, s *Store, msgs []*store.Message) {
		list := make([]store.Answer, len(msgs))
		for i, m := range msgs {
			list[i] = store.Answer{ID: m.ID, Response: json.RawMessage(`{"ok":true}`), At: s.Now()}
		}
		b.StartTimer()
		outcomes, err := s.Answer(b.Context(), list)
		if err != nil || outcomes[0] != store.AnswerWon {
			b.Fatal(outcomes, err)
		}
	})
}

// benchChange times change, over rows that were inserted just before. change
// starts the timer.
func benchChange(b *testing.B, kind wire.PushType, change func(b *testing.B, s *Store, msgs []*store.Message)) {
	for name, open := range benchStores {
		for _, rows := range []int{1, 256} {
			b.Run(fmt.Sprintf("%s/rows=%d", name, rows), func(b *testing.B) {
				s := open(b)
				msgs := benchMessages(rows)
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					renew(msgs)
					for _, m := range msgs {
						m.PushType = kind
					}
					if _, err := s.Insert(b.Context(), msgs); err != nil {
						b.Fatal(err)
					}
					change(b, s, msgs)
				}
				perRow(b, rows)
			})
		}
	}
}

func perRow(b *testing.B, rows int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
}

func benchMessages(n int) []*store.Message {
	msgs := make([]*store.Message, n)
	for i := range msgs {
		msgs[i] = &store.Message{
			SenderType: "server", SenderID: "backend_1", UserID: fmt.Sprintf("user_%d", i), PushType: wire.Reliable,
			Seq: int64(i + 1000), Payload: json.RawMessage(`{"title":"hello","body":"` + strings.Repeat("x", 100) + `"}`), Status: wire.Pending,
		}
	}
	return msgs
}

func renew(msgs []*store.Message) {
	for _, m := range msgs {
		m.ID, m.Nonce = uuid.Must(uuid.NewV7()).String(), uuid.NewString()
	}
}
