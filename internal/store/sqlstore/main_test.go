package sqlstore

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/store/storetest"
	"github.com/message-gateway/gateway/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSQLite(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	storetest.Run(t, func(t *testing.T) store.Store {
		path := filepath.Join(t.TempDir(), "store.db")
		s := openSQLite(t, path)
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, db.Close()) })
		return application{s, db}
	})
}

func TestMySQL(t *testing.T) {
	cfg := testenv.MySQL(t)
	s := openMySQL(t, MySQLOptions{Config: cfg})
	require.NoError(t, s.Migrate(t.Context()))
	app := application{s, openPool(t, cfg)}
	storetest.Run(t, func(*testing.T) store.Store { return app })
}

// application is a store beside the pool of an application.
type application struct {
	*Store
	db *sql.DB
}

func (a application) DB() *sql.DB { return a.db }

// openPool opens a pool as an application would, with the driver's defaults.
func openPool(t testing.TB, cfg *mysql.Config) *sql.DB {
	t.Helper()
	connector, err := mysql.NewConnector(cfg)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func openSQLite(t testing.TB, path string) *Store {
	t.Helper()
	s, err := OpenSQLite(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

func openMySQL(t testing.TB, opts MySQLOptions) *Store {
	t.Helper()
	s, err := OpenMySQL(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}
