package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// versionTable records which migrations were applied.
const versionTable = "gateway_schema_version"

//go:embed migrations
var migrations embed.FS

// The folders of the migrations.
const (
	mysqlMigrations  = "migrations/mysql"
	sqliteMigrations = "migrations/sqlite"
)

// Migrate creates what is missing of the schema: the table push_messages, or,
// where another SDK created it, only the indexes that it lacks. Processes that
// migrate at the same time wait for each other.
func (s *Store) Migrate(ctx context.Context) error {
	return s.retry(ctx, "migrate", func(ctx context.Context) error {
		err := s.dialect.migrate(ctx, s)
		if s.dialect.classify(err) == denied {
			return fmt.Errorf("the account lacks a privilege (CREATE for tables, INDEX for indexes of an existing push_messages): "+
				"grant it, or let another account migrate: %w", err)
		}
		return err
	})
}

func migrateMySQL(ctx context.Context, s *Store) error {
	return s.migrate(ctx, goose.DialectMySQL, mysqlMigrations, goose.WithSessionLocker(mysqlLocker{}))
}

func migrateSQLite(ctx context.Context, s *Store) error {
	// Without transactions of goose's own, all runs in that of the locker.
	return s.migrate(ctx, goose.DialectSQLite3, sqliteMigrations,
		goose.WithSessionLocker(sqliteLocker{}), goose.WithIsolateDDL(true))
}

func (s *Store) migrate(ctx context.Context, d goose.Dialect, dir string, opts ...goose.ProviderOption) error {
	files, err := fs.Sub(migrations, dir)
	if err != nil {
		return err
	}
	opts = append(opts, goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true))
	provider, err := goose.NewProvider(d, s.w.DB, files, opts...)
	if err != nil {
		return err
	}
	// Not Up: before it takes the lock it looks, and creates the version table,
	// in the middle of which another process then finds a table without rows.
	for _, source := range provider.ListSources() {
		_, err := provider.ApplyVersion(ctx, source.Version, true)
		if err != nil && !errors.Is(err, goose.ErrAlreadyApplied) {
			return err
		}
	}
	return nil
}

// mysqlLocker is a lock of the connection that is named after the database.
type mysqlLocker struct{}

var _ lock.SessionLocker = mysqlLocker{}

const (
	getLockSQL     = `SELECT GET_LOCK(CONCAT('gateway_migrate_', MD5(DATABASE())), 5)`
	releaseLockSQL = `DO RELEASE_LOCK(CONCAT('gateway_migrate_', MD5(DATABASE())))`
	unlockTimeout  = 5 * time.Second
)

// SessionLock asks in turns, so that a caller who gave up leaves the server's
// queue soon.
func (mysqlLocker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for {
		var got sql.NullInt64
		if err := conn.QueryRowContext(ctx, getLockSQL).Scan(&got); err != nil {
			return fmt.Errorf("lock migrations: %w", err)
		}
		if !got.Valid {
			return errors.New("lock migrations: the server refused the lock")
		}
		if got.Int64 == 1 {
			return nil
		}
	}
}

func (mysqlLocker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, unlockTimeout)
	defer cancel()
	_, err := conn.ExecContext(ctx, releaseLockSQL)
	return err
}

// sqliteLocker holds the write lock of the file, in one transaction around a
// migration. What ran before a failure is kept; migrations can run again.
type sqliteLocker struct{}

var _ lock.SessionLocker = sqliteLocker{}

func (sqliteLocker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, sqliteDialect.begin)
	return err
}

func (sqliteLocker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "COMMIT")
	return err
}
