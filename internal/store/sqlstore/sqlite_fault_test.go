package sqlstore

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
)

func TestSQLiteIsDurable(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	path := filepath.Join(t.TempDir(), "a dir?#%", "store.db")
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
	s := openSQLite(t, path)
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "wal_autocheckpoint": "4000"} {
		var got string
		require.NoError(t, s.w.GetContext(t.Context(), &got, "PRAGMA "+pragma))
		require.Equal(t, want, got)
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	m := command(s)
	_, err = s.Insert(t.Context(), []*store.Message{m})
	require.NoError(t, err)
	// A copy of the files as they are now is what a crash would leave.
	crashed := filepath.Join(t.TempDir(), "store.db")
	for _, suffix := range []string{"", "-wal"} {
		data, err := os.ReadFile(path + suffix)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(crashed+suffix, data, 0o600))
	}
	got, err := openSQLite(t, crashed).Get(t.Context(), m.ID)
	require.NoError(t, err)
	require.Equal(t, m.ExpiresAt, got.ExpiresAt)
	require.NoError(t, s.Close())
	_, err = openSQLite(t, path).Get(t.Context(), m.ID)
	require.NoError(t, err)
}

func TestSQLiteBusy(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	path := filepath.Join(t.TempDir(), "store.db")
	s := openSQLite(t, path)
	db, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	m := command(s)
	_, err = s.Insert(ctx, []*store.Message{m})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "database is locked")
	stored := make(chan error, 1)
	go func() {
		_, err := s.Insert(t.Context(), []*store.Message{m})
		stored <- err
	}()
	require.NoError(t, tx.Commit())
	require.NoError(t, <-stored)
	for _, path := range []string{"", ":memory:", "file:x.db"} {
		_, err := OpenSQLite(t.Context(), path)
		require.ErrorContains(t, err, "not the path of a file")
	}
}
