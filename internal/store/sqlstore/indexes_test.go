package sqlstore

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// TestStatementsUseIndexes explains every statement over a table in which a
// careless one would read everything.
func TestStatementsUseIndexes(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) *Store{
		"mysql": func(t *testing.T) *Store {
			s := openMySQL(t, MySQLOptions{Config: testenv.MySQL(t)})
			require.NoError(t, s.Migrate(t.Context()))
			return s
		},
		"sqlite": func(t *testing.T) *Store { return openSQLite(t, filepath.Join(t.TempDir(), "store.db")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			fill(t, s, 20_000) // enough rows of each state for a server to prefer leaps over reading all
			if name == "mysql" {
				_, err := s.w.ExecContext(t.Context(), "ANALYZE TABLE push_messages")
				require.NoError(t, err)
			} else {
				testenv.Count(t, testenv.Embedded)
			}
			at, user, id := formatTime(s.Now().Add(-time.Hour)), "user_1", uuid.NewString()
			part := []any{user, user, "PENDING", at}
			highest, waiting, every, request := mysqlMaxSeqsSQL(2), "user_status_seq", "user_status_seq", "user_status_seq"
			if name == "sqlite" {
				highest = sqliteMaxSeqsSQL(2)
				waiting, every, request = "user_unfinished", "user_ended", "user_request"
			}
			unfinished := func(behind ...any) []any {
				var args []any
				for range 3 {
					args = append(append(append(args, part...), behind...), 10)
				}
				return append(args, 10)
			}
			history := func(seq int) []any {
				return append(slices.Repeat([]any{user, user, seq, 10}, len(s.dialect.places)), 10)
			}
			for _, c := range []struct {
				name, query string
				index       string
				args        []any
			}{
				{"get", s.q.get, "", []any{[]string{id}, []string{id}}},
				{"find command", s.q.findCommand, request, []any{user, user, id}},
				{"highest seq", highest, every, []any{user, "user_2"}},
				{"unfinished", s.q.unfinishedFirst, waiting, unfinished()},
				{"unfinished behind a seq", s.q.unfinishedSeq, waiting, unfinished(5, 5, id)},
				{"unfinished behind no seq", s.q.unfinishedNull, waiting, unfinished(id)},
				{"refs", s.q.unfinishedRefs, waiting, []any{[]string{user, "user_2"}, []string{user, "user_2"}, at, user, user, id, 10}},
				{"history", s.q.history, every, history(3)},
				{"history back", s.q.historyBack, every, history(30)},
				{"expired", s.q.expired, "status_finished_expired", []any{at, 10}},
				{"purgeable", s.q.purgeable, "status_finished_expired", []any{at, 10, at, 10, at, 10, at, 10, at, 10, 10}},
				{"time out", s.q.timeOut, "", []any{at, []string{id}, []string{id}}},
				{"delivered", strings.ReplaceAll(s.q.delivered, "{each}", "?"), "", []any{at, at, []string{id}, []string{id}}},
				{"answer", strings.ReplaceAll(s.q.answerFirst, "{each}", "?"), "", []any{at, at, at, "1", at, []string{id}, []string{id}, at}},
				{"purge", s.q.purge, "", []any{[]string{id}}},
			} {
				query, args, err := expand(c.query, c.args...)
				require.NoError(t, err, c.name)
				plan := explain(t, s, query, args)
				text := fmt.Sprint(plan)
				require.NotRegexp(t, fullScan, text, "%s: %s", c.name, text)
				if c.index != "" {
					require.Contains(t, text, "idx_push_messages_"+c.index, c.name)
				}
				if name != "sqlite" {
					if c.name == "highest seq" {
						require.Contains(t, text, "Using index for group-by", "an entry for each state, not every row")
					}
					continue
				}
				if strings.HasPrefix(c.name, "unfinished") {
					require.NotContains(t, strings.Join(plan[:4], " "), "TEMP B-TREE", "each state is read in order")
				}
				if strings.HasPrefix(c.name, "history") || c.name == "highest seq" {
					require.Equal(t, 3, strings.Count(text, waiting), "one place of each unfinished state: %s", text)
					require.Equal(t, 1, strings.Count(text, every), text)
					require.NotRegexp(t, `idx_push_messages_\w+ \([^)]*\) USE TEMP B-TREE`, text, "each place is read in order, up to the limit")
				}
			}
		})
	}
}

// fullScan is how either server says that it reads all of push_messages.
var fullScan = regexp.MustCompile(`table=push_messages [^|]*type=(ALL|index) |SCAN push_messages`)

func explain(t *testing.T, s *Store, query string, args []any) []string {
	t.Helper()
	word := "EXPLAIN "
	if s.dialect == sqliteDialect {
		word = "EXPLAIN QUERY PLAN "
	}
	rows, err := s.w.QueryxContext(t.Context(), word+query, args...)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	var plan []string
	for rows.Next() {
		columns := make(map[string]any)
		require.NoError(t, rows.MapScan(columns))
		if detail, ok := columns["detail"]; ok {
			plan = append(plan, fmt.Sprint(detail))
			continue
		}
		plan = append(plan, fmt.Sprintf("table=%s type=%s key=%s rows=%s extra=%s |",
			columns["table"], columns["type"], columns["key"], columns["rows"], columns["Extra"]))
	}
	require.NoError(t, rows.Err())
	return plan
}

// fill stores rows of 40 users in all states.
func fill(t testing.TB, s *Store, n int) {
	t.Helper()
	msgs := make([]*store.Message, n)
	states := []wire.Status{wire.Finished, wire.Finished, wire.Finished, wire.TimedOut, wire.Pending, wire.Delivering, wire.RequestDelivered}
	for i := range msgs {
		m := &store.Message{
			ID: uuid.NewString(), UserID: fmt.Sprintf("user_%d", i%40), PushType: wire.Command, Seq: int64(i + 1),
			Status: states[i%len(states)], Payload: json.RawMessage(`{}`), ExpiresAt: s.Now().Add(time.Duration(i) * time.Second),
		}
		if m.Status == wire.Finished {
			m.FinishedAt = s.Now().Add(time.Duration(i) * time.Second)
		}
		msgs[i] = m
	}
	duplicates, err := s.Insert(t.Context(), msgs)
	require.NoError(t, err)
	require.Empty(t, duplicates)
}
