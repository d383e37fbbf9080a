package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"modernc.org/sqlite"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// sqliteReaders is the size of the pool that reads. Readers see the last
// commit and never wait for the writer.
const sqliteReaders = 4

var sqliteDialect = &dialect{
	// The write lock is taken at the start: a transaction that begins with a
	// read and then writes could not wait for it.
	begin: "BEGIN IMMEDIATE",
	// Whoever holds the lock is in this machine and soon done with it.
	retryMost: 25 * time.Millisecond,
	words: []string{
		"{columns}", sqliteColumns,
		"{id}", "id",
		"{user}", "target_user_id",
		"{request}", "command_request_id",
		"{primary}", "",
		"{lock}", "",
		"{share}", "",
		"{partial}", " AND " + unfinishedStates,
		"{skipTaken}", " ON CONFLICT (id) DO NOTHING",
		"{skipTakenTx}", " ON CONFLICT (id) DO NOTHING",
	},
	classify: classifySQLite,
	migrate:  migrateSQLite, migrations: sqliteMigrations, columns: sqliteColumnsSQL, indexes: sqliteIndexesSQL,
	limits: func(context.Context, *Store) (store.Limits, error) {
		return store.DefaultLimits, nil
	},
	places: sqlitePlaces, maxSeqs: sqliteMaxSeqs,
	insert: insertEach,
	insertTx: func(ctx context.Context, _ *Store, tx *sql.Tx, query string, args []any) (sql.Result, error) {
		return tx.ExecContext(ctx, query, args...)
	},
}

const sqliteColumns = `id, sender_type, sender_id, target_user_id, push_type, seq, payload, status,
command_request_id, command_response, command_response_queue, nonce, expired_at, retry_interval,
delivering_at, request_delivered_at, finished_at, created_at, updated_at`

// OpenSQLite opens or creates a database file, readable by its owner only. It
// keeps a write-ahead log beside the file and waits for the disk at every
// commit (synchronous=FULL), so that what was stored survives a power failure.
//
// Other connections may write to the same file. While one holds the write lock,
// calls wait for it until their context ends.
func OpenSQLite(ctx context.Context, path string) (*Store, error) {
	if path == "" || strings.HasPrefix(path, ":") || strings.HasPrefix(path, "file:") {
		return nil, fmt.Errorf("store: open sqlite: %q is not the path of a file", path)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("store: open sqlite: %w", err)
	}
	// SQLite would create it for everyone to read; its log takes over the mode.
	f, err := os.OpenFile(abs, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the caller names the file
	if err != nil {
		return nil, fmt.Errorf("store: open sqlite: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("store: open sqlite: %w", err)
	}
	w, err := openSQLitePool(abs, "", 1)
	if err != nil {
		return nil, fmt.Errorf("store: open sqlite: %w", err)
	}
	r, err := openSQLitePool(abs, "&_pragma=query_only(1)", sqliteReaders)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("store: open sqlite: %w", err), w.Close())
	}
	s := &Store{
		dialect: sqliteDialect, w: w, r: r, owned: true,
		name: "sqlite " + abs, clock: localClock(), maxPacket: sqliteMaxPacket,
	}
	s.closing, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.q = render(s.dialect, wire.Table)
	s.long.head, s.long.row = s.q.insert, insertRowSQL
	s.short.head, s.short.row = s.q.insertShort, insertShortRowSQL
	// The first connection turns the file to WAL, which can meet a lock.
	err = s.retry(ctx, "open", func(ctx context.Context) error { return w.PingContext(ctx) })
	if err == nil {
		err = s.retry(ctx, "open", func(ctx context.Context) error { return r.PingContext(ctx) })
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// SQLitePragmas are the settings of a connection, as parameters of the driver's.
// Commits wait for the disk. The log grows to 16 MB before a commit also copies
// it into the file, instead of 4: most pages are then copied once where they had
// changed often.
const SQLitePragmas = "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(4000)"

// sqliteMaxPacket limits what one statement carries; the format's own limit
// for a row is a thousand million bytes.
const sqliteMaxPacket = 64 << 20

// openSQLitePool makes a pool. The busy timeout is short because the store
// waits itself, and can then say what it waited for.
func openSQLitePool(path, more string, conns int) (*sqlx.DB, error) {
	slashed := filepath.ToSlash(path)
	if !strings.HasPrefix(slashed, "/") {
		slashed = "/" + slashed // a drive letter
	}
	u := url.URL{Scheme: "file", Path: slashed}
	connector, err := sqlite.NewConnector(u.String() +
		"?_pragma=busy_timeout(50)&" + SQLitePragmas + more)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(sqliteConnector{connector})
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return sqlx.NewDb(db, "sqlite"), nil
}
