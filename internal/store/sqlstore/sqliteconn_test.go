package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
)

// onConn runs use with the connection that writes.
func onConn(t *testing.T, s *Store, use func(c *sqliteConn)) {
	t.Helper()
	pooled, err := s.w.Connx(t.Context())
	require.NoError(t, err)
	require.NoError(t, pooled.Raw(func(raw any) error {
		use(raw.(*sqliteConn))
		return nil
	}))
	require.NoError(t, pooled.Close())
}

func commands(s *Store, n int) []*store.Message {
	msgs := make([]*store.Message, n)
	for i := range msgs {
		msgs[i] = command(s)
	}
	return msgs
}

func countRows(t *testing.T, s *Store) (n int) {
	t.Helper()
	require.NoError(t, s.r.GetContext(t.Context(), &n, "SELECT COUNT(*) FROM push_messages"))
	return n
}

// A row that is refused takes the others of its batch with it, and the
// connection and its statements are as good as before.
func TestSQLiteInsertIsAllOrNone(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	s := openSQLite(t, filepath.Join(t.TempDir(), "store.db"))
	ctx := t.Context()
	var before *sqliteConn
	onConn(t, s, func(c *sqliteConn) { before = c })
	for range 2 {
		msgs := commands(s, 3)
		msgs[2].Payload = []byte("no JSON")
		_, err := s.Insert(ctx, msgs)
		require.ErrorIs(t, err, store.ErrRejected)
		_, err = s.Insert(ctx, msgs[2:])
		require.ErrorIs(t, err, store.ErrRejected)
		require.Zero(t, countRows(t, s))
	}
	_, err := s.Insert(ctx, commands(s, 3))
	require.NoError(t, err)
	require.Equal(t, 3, countRows(t, s))
	onConn(t, s, func(c *sqliteConn) {
		require.Same(t, before, c)
		require.Len(t, c.compiled, 4, "BEGIN, INSERT, COMMIT, ROLLBACK")
		for _, arg := range c.args[:cap(c.args)] {
			require.Nil(t, arg.Value, "no text of a row is kept")
		}
	})

	ended, cancel := context.WithCancel(ctx)
	onConn(t, s, func(c *sqliteConn) {
		require.NoError(t, c.exec("BEGIN IMMEDIATE", nil))
		require.NoError(t, c.insert(ended, s, commands(s, 2)))
		cancel()
		require.ErrorIs(t, c.insert(ended, s, commands(s, 2)), context.Canceled)
		require.NoError(t, c.exec("ROLLBACK", nil))
	})
	require.Equal(t, 3, countRows(t, s))
}

// A transaction that can neither be committed nor rolled back ends with its
// connection.
func TestSQLiteInsertReplacesAConnection(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	s := openSQLite(t, filepath.Join(t.TempDir(), "store.db"))
	ctx := t.Context()
	_, err := s.w.ExecContext(ctx, "CREATE TABLE parents (id TEXT PRIMARY KEY)")
	require.NoError(t, err)
	_, err = s.w.ExecContext(ctx, `CREATE TABLE children (id TEXT REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)`)
	require.NoError(t, err)
	_, err = s.w.ExecContext(ctx, `CREATE TRIGGER orphan AFTER INSERT ON push_messages BEGIN INSERT INTO children VALUES (NEW.id); END`)
	require.NoError(t, err)
	var before *sqliteConn
	onConn(t, s, func(c *sqliteConn) {
		before = c
		require.NoError(t, c.exec("PRAGMA foreign_keys = ON", nil))
	})
	_, err = s.Insert(ctx, commands(s, 2))
	require.ErrorIs(t, err, errUnknownOutcome)
	require.Empty(t, before.compiled, "its statements are closed")
	require.Zero(t, countRows(t, s), "and its transaction is over")
	_, err = s.Insert(ctx, commands(s, 2))
	require.NoError(t, err, "another connection does not look at foreign keys")
	require.Equal(t, 2, countRows(t, s))
}

// A statement that is not closed would keep the file open, and its log.
func TestSQLiteCloseClosesStatements(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	path := filepath.Join(t.TempDir(), "store.db")
	s := openSQLite(t, path)
	_, err := s.Insert(t.Context(), commands(s, 2))
	require.NoError(t, err)
	_, err = os.Stat(path + "-wal")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = os.Stat(path + "-wal")
	require.ErrorIs(t, err, os.ErrNotExist)
	open, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, os.ErrNotExist) {
		return // only Linux tells, and the log above has told already
	}
	require.NoError(t, err)
	for _, fd := range open {
		target, err := os.Readlink("/proc/self/fd/" + fd.Name())
		require.False(t, err == nil && strings.HasPrefix(target, path), target)
	}
}

// An interrupted connection is replaced, and the new one compiles its own
// statements.
func TestSQLiteInsertAfterAnInterrupt(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	s := openSQLite(t, filepath.Join(t.TempDir(), "store.db"))
	_, err := s.Insert(t.Context(), commands(s, 2))
	require.NoError(t, err)
	require.ErrorIs(t, endlessly(t, s.w.DB), context.Canceled)
	_, err = s.Insert(t.Context(), commands(s, 2))
	require.NoError(t, err)
	require.Equal(t, 4, countRows(t, s))
}

// endlessly runs a statement that only an interrupt ends.
func endlessly(t *testing.T, db *sql.DB) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	go func() {
		<-started
		cancel()
	}()
	conn, err := db.Conn(ctx)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	close(started)
	var n int
	return conn.QueryRowContext(ctx, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT COUNT(*) FROM n").Scan(&n)
}
