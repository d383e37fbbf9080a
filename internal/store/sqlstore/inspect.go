package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// Facts are what is known of a MySQL or MariaDB server and of the table in it.
type Facts struct {
	// Err says why nothing else is known, and Code is the server's number of
	// that error, 0 if there is none.
	Err  error
	Code uint16
	// Variables has some of SHOW GLOBAL VARIABLES, by name, and the status
	// Threads_connected.
	Variables map[string]string
	// Ahead is how far the clock of the server is ahead of this machine's, to
	// within RoundTrip.
	Ahead, RoundTrip time.Duration
	// Schema is what is there of the table; SchemaErr says why that is unknown.
	Schema    store.Schema
	SchemaErr error
	// UseErr says what the account may not do with the table.
	UseErr error
}

const inspectSQL = `SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'version_comment', 'innodb_flush_log_at_trx_commit',
'sync_binlog', 'log_bin', 'max_allowed_packet', 'transaction_isolation', 'tx_isolation', 'time_zone', 'system_time_zone',
'read_only', 'max_connections')`

const connectedSQL = `SHOW GLOBAL STATUS WHERE Variable_name = 'Threads_connected'`

// Inspect looks at the server of o, and tries what a store does with the table
// in a transaction that is rolled back.
func Inspect(ctx context.Context, o MySQLOptions) Facts {
	s, err := OpenMySQL(ctx, o)
	if err != nil {
		facts := Facts{Err: err}
		var server *mysql.MySQLError
		if errors.As(err, &server) {
			facts.Code = server.Number
		}
		return facts
	}
	defer func() { _ = s.Close() }()
	facts := Facts{Variables: map[string]string{}}
	for _, query := range []string{inspectSQL, connectedSQL} {
		if facts.Err = s.readVariables(ctx, query, facts.Variables); facts.Err != nil {
			return facts
		}
	}
	before := time.Now()
	clock, err := s.serverTime(ctx)
	if err != nil {
		facts.Err = s.wrap("inspect", err)
		return facts
	}
	facts.RoundTrip = time.Since(before)
	facts.Ahead = clock.Sub(before.Add(facts.RoundTrip / 2))
	facts.Schema, facts.SchemaErr = s.Schema(ctx)
	if facts.SchemaErr == nil && facts.Schema.Ready() {
		facts.UseErr = s.use(ctx)
	}
	return facts
}

func (s *Store) readVariables(ctx context.Context, query string, into map[string]string) error {
	rows, err := s.r.QueryContext(ctx, query)
	if err != nil {
		return s.wrap("inspect", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		var value sql.NullString
		if err := rows.Scan(&name, &value); err != nil {
			return s.wrap("inspect", err)
		}
		into[name] = value.String
	}
	if err := rows.Err(); err != nil {
		return s.wrap("inspect", err)
	}
	return nil
}

// errUndone rolls the transaction of use back.
var errUndone = errors.New("undone on purpose")

// use inserts, reads, changes and deletes a row, and takes it all back.
func (s *Store) use(ctx context.Context) error {
	id := "gateway-doctor-" + uuid.NewString()
	now := formatTime(s.Now())
	err := s.inTx(ctx, func(conn *sqlx.Conn) error {
		if _, err := conn.ExecContext(ctx, s.q.insertShort+insertShortRowSQL,
			id, nil, nil, id, int(wire.Reliable), nil, nil, string(wire.Finished), id, now, now); err != nil {
			return err
		}
		var n int
		if err := conn.GetContext(ctx, &n, "SELECT COUNT(*) FROM "+wire.Table+" WHERE id = ?", id); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "UPDATE "+wire.Table+" SET updated_at = ? WHERE id = ?", now, id); err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, "DELETE FROM "+wire.Table+" WHERE id = ?", id); err != nil {
			return err
		}
		return errUndone
	})
	if errors.Is(err, errUndone) {
		return nil
	}
	return s.wrap("use the table", err)
}
