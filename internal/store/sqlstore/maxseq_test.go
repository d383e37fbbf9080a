package sqlstore

import (
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// TestMaxSeqsOfEqualNames: where MySQL takes two names for equal, neither may get
// less than its own highest number, and one without rows nothing of a third.
func TestMaxSeqsOfEqualNames(t *testing.T) {
	for name, c := range map[string]struct {
		ddl  string
		want map[string]int64
	}{
		"ours, which compares bytes but for spaces at the end": {"", map[string]int64{"Bob": 3, "bob": 7, "x": 9, "x ": 9}},
		"a table that ignores case":                            {foreignTables["ORM, ignoring case, whole seconds"], map[string]int64{"Bob": 7, "bob": 7, "x": 9, "x ": 9}},
	} {
		t.Run(name, func(t *testing.T) {
			s := openMySQL(t, MySQLOptions{Config: testenv.MySQL(t)})
			ctx := t.Context()
			if c.ddl != "" {
				_, err := s.w.ExecContext(ctx, c.ddl)
				require.NoError(t, err)
			}
			require.NoError(t, s.Migrate(ctx))
			for _, m := range []*store.Message{
				{UserID: "Bob", Seq: 3, Status: wire.Finished}, {UserID: "Bob", Seq: 2}, {UserID: "bob", Seq: 7}, {UserID: "bob", Seq: 1, Status: wire.TimedOut},
				{UserID: "x", Seq: 4}, {UserID: "x ", Seq: 9}, {UserID: "null"},
			} {
				m.ID, m.PushType = uuid.NewString(), wire.Reliable
				_, err := s.Insert(ctx, []*store.Message{m})
				require.NoError(t, err)
			}
			for range 2 { // the second time it knows the table
				highest, err := s.MaxSeqs(ctx, []string{"Bob", "bob", "x", "x ", "null", "nobody"})
				require.NoError(t, err)
				require.Equal(t, c.want, highest)
			}
		})
	}
}

// A foreign table may hold user ids as bytes or numbers, which have no collation.
func TestMaxSeqsWithoutCollation(t *testing.T) {
	for _, kind := range []string{"VARBINARY(255)", "BIGINT"} {
		t.Run(kind, func(t *testing.T) {
			s := openMySQL(t, MySQLOptions{Config: testenv.MySQL(t)})
			ctx := t.Context()
			require.NoError(t, s.Migrate(ctx))
			_, err := s.w.ExecContext(ctx, "ALTER TABLE push_messages MODIFY target_user_id "+kind+" NOT NULL")
			require.NoError(t, err)
			_, err = s.Insert(ctx, []*store.Message{{ID: uuid.NewString(), UserID: "100", Seq: 3, PushType: wire.Reliable}})
			require.NoError(t, err)
			highest, err := s.MaxSeqs(ctx, []string{"100", "7"})
			require.NoError(t, err)
			require.Equal(t, map[string]int64{"100": 3}, highest)
		})
	}
}

// A user id that the column cannot hold is said to be at fault.
func TestMaxSeqsOfNamesThatTheColumnCannotHold(t *testing.T) {
	s := openMySQL(t, MySQLOptions{Config: testenv.MySQL(t)})
	ctx := t.Context()
	require.NoError(t, s.Migrate(ctx))
	_, err := s.w.ExecContext(ctx, "ALTER TABLE push_messages MODIFY target_user_id VARCHAR(255) CHARACTER SET latin1 COLLATE latin1_bin NOT NULL")
	require.NoError(t, err)
	_, err = s.MaxSeqs(ctx, []string{"100", "7", "日本"})
	require.ErrorIs(t, err, store.ErrRejected)
}
