package sqlstore

import (
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/pressly/goose/v3"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// contractColumns are the columns that statements of this package name.
var contractColumns = []string{
	"id", "sender_type", "sender_id", "target_user_id", "push_type", "seq", "payload", "status",
	"command_request_id", "command_response", "command_response_queue", "nonce", "expired_at", "retry_interval",
	"delivering_at", "request_delivered_at", "finished_at", "created_at", "updated_at", "deleted_at",
}

// wantedIndexes are the columns that an index has to start with.
var wantedIndexes = []string{"target_user_id,status,seq", "status,finished_at,expired_at"}

// Statements that read the schema; their parameter is the table.
const (
	mysqlColumnsSQL = `SELECT LOWER(column_name), COALESCE(collation_name, '') FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = ?`
	mysqlIndexesSQL = `SELECT GROUP_CONCAT(CONCAT(IFNULL(LOWER(column_name), '?'), IFNULL(sub_part, '')) ORDER BY seq_in_index)
FROM information_schema.statistics
WHERE table_schema = DATABASE() AND table_name = ? AND index_type = 'BTREE' GROUP BY index_name`
	sqliteColumnsSQL = `SELECT LOWER(name), '' FROM pragma_table_info(?)`
	sqliteIndexesSQL = `SELECT GROUP_CONCAT(name) FROM (SELECT l.name AS idx, i.name AS name
FROM pragma_index_list(?) l, pragma_index_info(l.name) i ORDER BY l.name, i.seqno) GROUP BY idx`
	versionsSQL = `SELECT version_id FROM ` + versionTable + ` WHERE is_applied = 1 AND version_id > 0 ORDER BY version_id`
)

// Schema says what is there of the schema. It changes nothing.
func (s *Store) Schema(ctx context.Context) (found store.Schema, err error) {
	err = s.retry(ctx, "read schema", func(ctx context.Context) error {
		found, err = s.readSchema(ctx)
		return err
	})
	return found, err
}

func (s *Store) readSchema(ctx context.Context) (store.Schema, error) {
	var found store.Schema
	columns, err := readColumns(ctx, s.r, s.dialect.columns, wire.Table)
	if err != nil {
		return found, err
	}
	versions, err := readColumns(ctx, s.r, s.dialect.columns, versionTable)
	if err != nil {
		return found, err
	}
	if len(versions) > 0 {
		if err := s.r.SelectContext(ctx, &found.Versions, versionsSQL); err != nil {
			return found, err
		}
	}
	found.Pending = pendingMigrations(s.dialect.migrations, found.Versions)
	if len(columns) == 0 {
		return found, nil
	}
	found.Exists, found.Foreign = true, len(found.Versions) == 0
	for _, column := range contractColumns {
		collation, ok := columns[column]
		if !ok {
			found.MissingColumns = append(found.MissingColumns, column)
		}
		if strings.HasSuffix(collation, "_ci") && (column == "id" || column == "target_user_id") {
			found.IgnoringCase = append(found.IgnoringCase, column)
		}
	}
	var indexes []string
	if err := s.r.SelectContext(ctx, &indexes, s.dialect.indexes, wire.Table); err != nil {
		return found, err
	}
	for _, wanted := range wantedIndexes {
		if !slices.ContainsFunc(indexes, func(i string) bool { return i == wanted || strings.HasPrefix(i, wanted+",") }) {
			found.MissingIndexes = append(found.MissingIndexes, wanted)
		}
	}
	return found, nil
}

// readColumns reads the columns of a table and their collations; none if there
// is no such table.
func readColumns(ctx context.Context, db *sqlx.DB, query, table string) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, query, table)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	columns := map[string]string{}
	for rows.Next() {
		var name, collation string
		if err := rows.Scan(&name, &collation); err != nil {
			return nil, err
		}
		columns[name] = collation
	}
	return columns, rows.Err()
}

// pendingMigrations are the versions of the embedded files that were not applied.
func pendingMigrations(dir string, applied []int64) []int64 {
	files, _ := fs.Glob(migrations, path.Join(dir, "*.sql")) // its only error is a bad pattern
	var pending []int64
	for _, file := range files {
		version, err := goose.NumericComponent(file)
		if err == nil && !slices.Contains(applied, version) {
			pending = append(pending, version)
		}
	}
	return pending
}
