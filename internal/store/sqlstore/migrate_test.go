package sqlstore

import (
	"context"
	"database/sql"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/store/storetest"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// foreignTables are what the original SDK may have created.
var foreignTables = map[string]string{
	"ORM, ignoring case, whole seconds": `CREATE TABLE push_messages (
		id VARCHAR(36) NOT NULL, sender_type VARCHAR(64), sender_id VARCHAR(255), target_user_id VARCHAR(255) NOT NULL,
		push_type INTEGER NOT NULL, seq BIGINT, payload JSON, status VARCHAR(64) NOT NULL, command_request_id VARCHAR(64),
		command_response JSON, command_response_queue VARCHAR(255), nonce VARCHAR(64), expired_at DATETIME, retry_interval INTEGER,
		delivering_at DATETIME, request_delivered_at DATETIME, finished_at DATETIME,
		created_at DATETIME NOT NULL, updated_at DATETIME NOT NULL, deleted_at DATETIME,
		PRIMARY KEY (id)) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci`,
	"TIMESTAMP, other order, more columns": `CREATE TABLE push_messages (
		tenant VARCHAR(20) NULL, created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
		updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, deleted_at TIMESTAMP NULL,
		target_user_id VARCHAR(255) NOT NULL, status VARCHAR(20) NOT NULL DEFAULT 'PENDING', seq BIGINT NULL, push_type INT NOT NULL,
		payload JSON NULL, sender_id VARCHAR(255) NULL, sender_type VARCHAR(255) NULL, nonce VARCHAR(36) NULL,
		command_request_id VARCHAR(36) NULL, command_response JSON NULL, command_response_queue VARCHAR(255) NULL,
		expired_at TIMESTAMP NULL, retry_interval INT NULL, delivering_at TIMESTAMP NULL, request_delivered_at TIMESTAMP NULL,
		finished_at TIMESTAMP NULL, note TEXT NULL, id VARCHAR(64) NOT NULL PRIMARY KEY,
		KEY other_name (target_user_id, status, seq)) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci`,
}

func TestForeignTable(t *testing.T) {
	for name, ddl := range foreignTables {
		t.Run(name, func(t *testing.T) {
			cfg := testenv.MySQL(t)
			db := openPool(t, cfg)
			_, err := db.ExecContext(t.Context(), ddl)
			require.NoError(t, err)
			before := showCreate(t, db)
			s := openMySQL(t, MySQLOptions{Config: cfg})
			_, err = s.Insert(t.Context(), []*store.Message{{ID: "before", UserID: "u", PushType: wire.Reliable}})
			require.NoError(t, err, "it works without our indexes")

			require.NoError(t, s.Migrate(t.Context()))
			after := showCreate(t, db)
			var kept []string
			added := 0
			for _, line := range strings.Split(after, "\n") {
				if strings.Contains(line, "KEY `idx_push_messages_") {
					added++
					continue
				}
				kept = append(kept, strings.TrimSuffix(line, ","))
			}
			var want []string
			for _, line := range strings.Split(before, "\n") {
				want = append(want, strings.TrimSuffix(line, ","))
			}
			require.Equal(t, want, kept, "nothing but keys is added")
			require.Equal(t, 2-strings.Count(before, "other_name"), added, "and none that is there under another name")
			require.NoError(t, s.Migrate(t.Context()))
			require.Equal(t, after, showCreate(t, db))

			limits, err := s.Limits(t.Context())
			require.NoError(t, err)
			require.Equal(t, 255, limits.UserID)
			app := application{s, db}
			storetest.Run(t, func(*testing.T) store.Store { return app })
		})
	}
}

// Schema tells an empty database, tables of other SDKs, and one that was
// migrated apart, and changes none of them.
func TestSchema(t *testing.T) {
	schema := func(s *Store) store.Schema {
		found, err := s.Schema(t.Context())
		require.NoError(t, err)
		return found
	}
	cfg := testenv.MySQL(t)
	db := openPool(t, cfg)
	s := openMySQL(t, MySQLOptions{Config: cfg})
	require.Equal(t, store.Schema{Pending: []int64{1, 2, 3}}, schema(s))
	require.False(t, schema(s).Ready())
	for name, want := range map[string]store.Schema{
		"ORM, ignoring case, whole seconds": {
			Exists: true, Foreign: true, Pending: []int64{1, 2, 3}, MissingIndexes: wantedIndexes, IgnoringCase: []string{"id", "target_user_id"},
		},
		"TIMESTAMP, other order, more columns": {
			Exists: true, Foreign: true, Pending: []int64{1, 2, 3}, MissingIndexes: wantedIndexes[1:], IgnoringCase: []string{"id", "target_user_id"},
		},
	} {
		_, err := db.ExecContext(t.Context(), foreignTables[name])
		require.NoError(t, err)
		before := showCreate(t, db)
		require.Equal(t, want, schema(s), name)
		require.True(t, schema(s).Ready())
		require.Equal(t, before, showCreate(t, db))
		_, err = db.ExecContext(t.Context(), "DROP TABLE push_messages")
		require.NoError(t, err)
	}
	_, err := db.ExecContext(t.Context(), "CREATE TABLE push_messages (id VARCHAR(64) PRIMARY KEY, status VARCHAR(32), finished_at DATETIME)")
	require.NoError(t, err)
	require.False(t, schema(s).Ready())
	require.Len(t, schema(s).MissingColumns, len(contractColumns)-3)
	_, err = db.ExecContext(t.Context(), "DROP TABLE push_messages")
	require.NoError(t, err)

	migrated := store.Schema{Exists: true, Versions: []int64{1, 2, 3}}
	require.NoError(t, s.Migrate(t.Context()))
	require.Equal(t, migrated, schema(s))

	lite, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "schema.db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, lite.Close()) }()
	require.Equal(t, store.Schema{Pending: []int64{1, 2, 3}}, schema(lite))
	require.NoError(t, lite.Migrate(t.Context()))
	require.Equal(t, migrated, schema(lite))
}

func TestMigrateMySQL(t *testing.T) {
	cfg := testenv.MySQL(t)
	s := openMySQL(t, MySQLOptions{Config: cfg})
	ctx := t.Context()

	_, err := s.Insert(ctx, []*store.Message{{ID: "x", UserID: "u", PushType: wire.Reliable}})
	require.ErrorIs(t, err, store.ErrNoTable)
	_, err = s.Get(ctx, "x")
	require.ErrorIs(t, err, store.ErrNoTable)
	_, err = s.Limits(ctx)
	require.ErrorIs(t, err, store.ErrNoTable)

	migrateConcurrently(t, func(t *testing.T) *Store { return openMySQL(t, MySQLOptions{Config: cfg}) })
	// A process that died while it created the version table left it empty.
	_, err = s.w.ExecContext(ctx, "DELETE FROM gateway_schema_version")
	require.NoError(t, err)
	created := showCreate(t, s.w.DB)
	require.Equal(t, 2, strings.Count(created, "KEY `idx_push_messages_"), created)
	require.NoError(t, s.Migrate(ctx))
	require.Equal(t, created, showCreate(t, s.w.DB))
	var applied int
	require.NoError(t, s.w.GetContext(ctx, &applied, "SELECT COUNT(*) FROM gateway_schema_version WHERE version_id = 1"))
	require.Equal(t, 1, applied)
	limits, err := s.Limits(ctx)
	require.NoError(t, err)
	require.Equal(t, store.DefaultLimits, limits)
}

func TestMigrateWithoutPrivilege(t *testing.T) {
	cfg := testenv.MySQL(t)
	admin := openPool(t, cfg)
	ctx := t.Context()
	user := "gw_" + testenv.Unique()
	for _, statement := range []string{
		foreignTables["ORM, ignoring case, whole seconds"],
		"CREATE USER " + user + " IDENTIFIED BY 'geheim'",
		"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE ON " + cfg.DBName + ".* TO " + user,
	} {
		_, err := admin.ExecContext(ctx, statement)
		require.NoError(t, err)
	}
	t.Cleanup(func() {
		_, err := admin.ExecContext(context.WithoutCancel(ctx), "DROP USER "+user)
		require.NoError(t, err)
	})
	own := cfg.Clone()
	own.User, own.Passwd = user, "geheim"
	s := openMySQL(t, MySQLOptions{Config: own})
	err := s.Migrate(ctx)
	require.ErrorContains(t, err, "lacks a privilege")
	require.ErrorContains(t, err, "INDEX")
	require.NotContains(t, err.Error(), "geheim")
	_, err = s.Insert(ctx, []*store.Message{{ID: "x", UserID: "u", PushType: wire.Reliable}})
	require.NoError(t, err)
}

func TestMigrateSQLite(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	path := filepath.Join(t.TempDir(), "store.db")
	s, err := OpenSQLite(t.Context(), path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	_, err = s.Insert(t.Context(), []*store.Message{{ID: "x", UserID: "u", PushType: wire.Reliable}})
	require.ErrorIs(t, err, store.ErrNoTable)
	migrateConcurrently(t, func(t *testing.T) *Store {
		s, err := OpenSQLite(t.Context(), path)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	})
	var applied int
	require.NoError(t, s.w.GetContext(t.Context(), &applied, "SELECT COUNT(*) FROM gateway_schema_version WHERE version_id = 1"))
	require.Equal(t, 1, applied)
}

// TestMigrateFromTheFirstVersion upgrades a table with rows that the first
// version has created, and one whose index an administrator has changed.
func TestMigrateFromTheFirstVersion(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) *Store{
		"mysql": func(t *testing.T) *Store {
			s := openMySQL(t, MySQLOptions{Config: testenv.MySQL(t)})
			require.NoError(t, s.Migrate(t.Context()))
			return s
		},
		"sqlite": func(t *testing.T) *Store {
			testenv.Count(t, testenv.Embedded)
			return openSQLite(t, filepath.Join(t.TempDir(), "store.db"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			ctx := t.Context()
			on := ""
			if name == "mysql" {
				on = " ON push_messages"
			}
			back := []string{
				"DELETE FROM gateway_schema_version WHERE version_id > 1",
				"DROP INDEX idx_push_messages_status_finished_expired" + on,
				"CREATE INDEX idx_push_messages_status_expired ON push_messages (status, expired_at)",
			}
			for _, columns := range []string{"(status, finished_at)", "(status, finished_at, push_type)"} {
				for _, statement := range append(slices.Clone(back), "CREATE INDEX idx_push_messages_status_finished ON push_messages "+columns) {
					_, err := s.w.ExecContext(ctx, statement)
					require.NoError(t, err, statement)
				}
				m := &store.Message{ID: uuid.NewString(), UserID: "u", PushType: wire.Reliable}
				_, err := s.Insert(ctx, []*store.Message{m})
				require.NoError(t, err)
				require.NoError(t, s.Migrate(ctx))
				require.NoError(t, s.Migrate(ctx))
				_, err = s.Get(ctx, m.ID)
				require.NoError(t, err)
				want := []string{"status_finished_expired", "user_status_seq"}
				if name == "sqlite" {
					want = []string{"status_finished_expired", "user_ended", "user_request", "user_unfinished"}
				}
				if name == "mysql" && columns != "(status, finished_at)" {
					want = slices.Insert(want, 0, "status_finished")
				}
				require.Equal(t, want, indexes(t, s))
			}
		})
	}
}

// TestMigrateFromTheSecondVersion upgrades a table with rows in every state and the
// indexes of before, and reads the rows through those of now.
func TestMigrateFromTheSecondVersion(t *testing.T) {
	t.Run("mysql", func(t *testing.T) {
		s := openMySQL(t, MySQLOptions{Config: testenv.MySQL(t)})
		require.NoError(t, s.Migrate(t.Context()))
		migrateFromTheSecondVersion(t, s, []string{"status_finished_expired", "user_status_seq"},
			"CREATE INDEX idx_push_messages_user_seq ON push_messages (target_user_id, seq)")
	})
	t.Run("sqlite", func(t *testing.T) {
		testenv.Count(t, testenv.Embedded)
		migrateFromTheSecondVersion(t, openSQLite(t, filepath.Join(t.TempDir(), "store.db")),
			[]string{"status_finished_expired", "user_ended", "user_request", "user_unfinished"},
			"DROP INDEX idx_push_messages_user_unfinished",
			"DROP INDEX idx_push_messages_user_ended",
			"DROP INDEX idx_push_messages_user_request",
			"CREATE INDEX idx_push_messages_user_status_seq ON push_messages (target_user_id, status, seq, id)",
			"CREATE INDEX idx_push_messages_user_seq ON push_messages (target_user_id, seq, id)")
	})
}

func migrateFromTheSecondVersion(t *testing.T, s *Store, want []string, back ...string) {
	t.Helper()
	ctx := t.Context()
	for _, statement := range append(back, "DELETE FROM gateway_schema_version WHERE version_id > 2") {
		_, err := s.w.ExecContext(ctx, statement)
		require.NoError(t, err, statement)
	}
	fill(t, s, 400)
	_, err := s.w.ExecContext(ctx, "UPDATE push_messages SET status = 'OF ANOTHER WRITER' WHERE seq = 42")
	require.NoError(t, err)
	require.NoError(t, s.Migrate(ctx))
	require.Equal(t, want, indexes(t, s))
	for _, backwards := range []bool{false, true} {
		page, err := s.History(ctx, "user_1", 0, 100, backwards)
		require.NoError(t, err)
		var seqs, want []int64
		for _, m := range page {
			seqs = append(seqs, m.Seq)
		}
		for seq := int64(2); seq <= 400; seq += 40 {
			want = append(want, seq)
		}
		if backwards {
			slices.Reverse(want)
		}
		require.Equal(t, want, seqs, "rows of every state, unknown ones too, are in order")
	}
	highest, err := s.MaxSeqs(ctx, []string{"user_1", "nobody", "user_39"})
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"user_1": 362, "user_39": 400}, highest)
	unfinished, err := s.Unfinished(ctx, "user_1", store.Cursor{}, 100)
	require.NoError(t, err)
	require.Len(t, unfinished, 4)
}

// indexes lists those whose names begin as ours do.
func indexes(t *testing.T, s *Store) (names []string) {
	t.Helper()
	query := "SELECT name FROM sqlite_master WHERE type = 'index'"
	if s.dialect == mysqlDialect {
		query = "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'push_messages'"
	}
	var all []string
	require.NoError(t, s.w.SelectContext(t.Context(), &all, query))
	for _, name := range all {
		if ours, ok := strings.CutPrefix(name, "idx_push_messages_"); ok {
			names = append(names, ours)
		}
	}
	slices.Sort(names)
	return names
}

func migrateConcurrently(t *testing.T, open func(t *testing.T) *Store) {
	t.Helper()
	const callers = 6
	failures := make(chan error, callers)
	for range callers {
		s := open(t)
		go func() { failures <- s.Migrate(t.Context()) }()
	}
	for range callers {
		require.NoError(t, <-failures)
	}
}

func showCreate(t *testing.T, db *sql.DB) string {
	t.Helper()
	var name, ddl string
	require.NoError(t, db.QueryRowContext(t.Context(), "SHOW CREATE TABLE push_messages").Scan(&name, &ddl))
	return ddl
}
