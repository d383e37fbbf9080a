package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// Defaults of MySQLOptions.
const (
	DefaultMaxOpenConns    = 16
	DefaultConnMaxLifetime = 5 * time.Minute
	defaultDialTimeout     = 5 * time.Second
)

// strictMode makes the server refuse what it would otherwise cut off.
const strictMode = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"

// MySQLOptions say how OpenMySQL connects.
type MySQLOptions struct {
	// Config names server, account, database and TLS. The copy that is used
	// differs from it where the store depends on it: character set utf8mb4,
	// time_zone '+00:00', a strict sql_mode, and parameters written into the
	// statement instead of preparing it, which saves a round trip and is safe
	// with this character set. Where Timeout is zero, dialling is limited to
	// five seconds.
	Config *mysql.Config
	// MaxOpenConns limits the connections. Default: 16.
	MaxOpenConns int
	// MaxIdleConns limits those that are kept while nothing needs them.
	// Default: MaxOpenConns.
	MaxIdleConns int
	// ConnMaxLifetime replaces connections of that age, so that load spreads
	// again after a failover. Default: 5 minutes.
	ConnMaxLifetime time.Duration
}

var mysqlDialect = &dialect{
	begin:     "START TRANSACTION",
	remote:    true,
	retryMost: time.Second,
	words: []string{
		"{columns}", mysqlColumns,
		"{id}", "CAST(CONVERT(id USING utf8mb4) AS BINARY)",
		"{user}", "CAST(CONVERT(target_user_id USING utf8mb4) AS BINARY)",
		"{request}", "CAST(CONVERT(command_request_id USING utf8mb4) AS BINARY)",
		"{primary}", "FORCE INDEX (PRIMARY)",
		"{lock}", " FOR UPDATE",
		"{share}", " LOCK IN SHARE MODE",
		"{partial}", "",
		"{skipTaken}", " ON DUPLICATE KEY UPDATE id = id",
		"{skipTakenTx}", "",
	},
	classify: classifyMySQL,
	migrate:  migrateMySQL, migrations: mysqlMigrations, columns: mysqlColumnsSQL, indexes: mysqlIndexesSQL,
	limits: mysqlLimits,
	places: mysqlPlaces, maxSeqs: mysqlMaxSeqs,
	insert:   insertTogether,
	prepares: true,
	insertTx: mysqlInsertTx,
}

const mysqlColumns = `id, sender_type, sender_id, target_user_id, push_type, seq, payload, status,
command_request_id, command_response, command_response_queue, nonce, CAST(expired_at AS CHAR) AS expired_at, retry_interval,
CAST(delivering_at AS CHAR) AS delivering_at, CAST(request_delivered_at AS CHAR) AS request_delivered_at,
CAST(finished_at AS CHAR) AS finished_at, CAST(created_at AS CHAR) AS created_at, CAST(updated_at AS CHAR) AS updated_at`

// OpenMySQL connects to MySQL or MariaDB. It tries once, so that a wrong
// address or password is reported at once; a connection that is lost later
// comes back by itself.
func OpenMySQL(ctx context.Context, opts MySQLOptions) (*Store, error) {
	if opts.Config == nil || opts.Config.DBName == "" {
		return nil, errors.New("store: open mysql: no database is named")
	}
	cfg := opts.Config.Clone()
	if err := cfg.Apply(mysql.Charset("utf8mb4", "")); err != nil {
		return nil, fmt.Errorf("store: open mysql: %w", err)
	}
	cfg.ParseTime = true
	cfg.Loc = time.UTC
	cfg.InterpolateParams = true
	cfg.ClientFoundRows = false
	cfg.RejectReadOnly = true // a primary that a failover demoted is left for the new one
	cfg.MaxAllowedPacket = 0  // each connection asks the server
	cfg.Params = maps.Clone(cfg.Params)
	if cfg.Params == nil {
		cfg.Params = make(map[string]string, 2)
	}
	cfg.Params["time_zone"] = "'+00:00'"
	cfg.Params["sql_mode"] = "'" + strictMode + "'"
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultDialTimeout
	}
	if cfg.Logger == nil || cfg.Logger == mysql.NewConfig().Logger {
		// Its default writes to standard error what the returned error says too.
		cfg.Logger = &mysql.NopLogger{}
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("store: open mysql: %w", err)
	}
	db := sql.OpenDB(connector)
	open := opts.MaxOpenConns
	if open <= 0 {
		open = DefaultMaxOpenConns
	}
	idle := opts.MaxIdleConns
	if idle <= 0 {
		idle = open
	}
	lifetime := opts.ConnMaxLifetime
	if lifetime <= 0 {
		lifetime = DefaultConnMaxLifetime
	}
	db.SetMaxOpenConns(open)
	db.SetMaxIdleConns(idle)
	db.SetConnMaxLifetime(lifetime)
	s, err := newMySQL(ctx, db, "mysql "+cfg.Addr)
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	s.owned = true
	return s, nil
}

// FromMySQL uses a pool that is handed over, and that Close does not close. Its
// connections must use the character set utf8mb4 and a strict sql_mode, and,
// where push_messages has columns of type TIMESTAMP, a time_zone of UTC; what is
// missing is named in the error. parseTime and loc do not matter.
// interpolateParams=true saves a round trip for each statement.
func FromMySQL(ctx context.Context, db *sql.DB) (*Store, error) {
	if db == nil {
		return nil, errors.New("store: open mysql: the pool is nil")
	}
	s, err := newMySQL(ctx, db, "mysql, pool of the application")
	if err != nil {
		return nil, err
	}
	if err := s.checkSession(ctx); err != nil {
		s.clock.stop()
		return nil, s.wrap("open", err)
	}
	return s, nil
}

func newMySQL(ctx context.Context, db *sql.DB, name string) (*Store, error) {
	x := sqlx.NewDb(db, "mysql")
	s := &Store{dialect: mysqlDialect, w: x, r: x, name: name}
	s.closing, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	var database sql.NullString
	err := x.QueryRowContext(ctx, "SELECT DATABASE(), @@max_allowed_packet").Scan(&database, &s.maxPacket)
	if err != nil {
		return nil, s.wrap("open", err)
	}
	if !database.Valid {
		return nil, s.wrap("open", errors.New("the connection names no database"))
	}
	s.database = database.String
	s.name += "/" + database.String
	s.q = render(s.dialect, quoteIdentifier(s.database)+"."+wire.Table)
	s.long.head, s.long.row = s.q.insert, insertRowSQL
	s.short.head, s.short.row = s.q.insertShort, insertShortRowSQL
	if s.clock, err = startClock(ctx, s.serverTime); err != nil {
		return nil, s.wrap("open", err)
	}
	return s, nil
}

func (s *Store) serverTime(ctx context.Context) (time.Time, error) {
	var text sql.NullString
	if err := s.w.QueryRowContext(ctx, "SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)").Scan(&text); err != nil {
		return time.Time{}, err
	}
	return parseTime("UTC_TIMESTAMP", text)
}

func quoteIdentifier(name string) string {
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}

// sessionSQL reads what of a foreign session changes the meaning of a
// statement. A winter and a summer instant tell UTC from a zone that happens to
// be at UTC now.
const sessionSQL = `SELECT @@SESSION.sql_mode, @@SESSION.time_zone, @@character_set_client,
CAST(FROM_UNIXTIME(1736942400) AS CHAR) LIKE '2025-01-15 12:00:00%' AND CAST(FROM_UNIXTIME(1752580800) AS CHAR) LIKE '2025-07-15 12:00:00%'`

type session struct {
	mode, zone, charset string
	utc                 bool
}

func (s *session) strict() bool { return strings.Contains(s.mode, "STRICT_") }
func (s *session) utf8() bool   { return strings.HasPrefix(s.charset, "utf8") }

func readSession(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
},
) (session, error) {
	var r session
	err := q.QueryRowContext(ctx, sessionSQL).Scan(&r.mode, &r.zone, &r.charset, &r.utc)
	return r, err
}

const timestampColumnsSQL = `SELECT COUNT(*) FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'push_messages' AND data_type = 'timestamp'`

func (s *Store) checkSession(ctx context.Context) error {
	r, err := readSession(ctx, s.w)
	if err != nil {
		return err
	}
	if !r.utf8() {
		return fmt.Errorf("the pool's character set is %s: add charset=utf8mb4 to its DSN", r.charset)
	}
	if !r.strict() {
		return fmt.Errorf("the pool's sql_mode %q would cut values off: add sql_mode=%%27%s%%27 to its DSN", r.mode, strictMode)
	}
	if r.utc {
		return nil
	}
	var timestamps int
	if err := s.w.QueryRowContext(ctx, timestampColumnsSQL).Scan(&timestamps); err != nil {
		return err
	}
	if timestamps > 0 {
		return fmt.Errorf("the pool's time_zone is %s, and push_messages has TIMESTAMP columns: "+
			"add time_zone=%%27%%2B00:00%%27 to its DSN", r.zone)
	}
	return nil
}

const limitsSQL = `SELECT LOWER(column_name), character_maximum_length FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = 'push_messages' AND column_name IN ('id', 'target_user_id', 'sender_id')`

func mysqlLimits(ctx context.Context, s *Store) (store.Limits, error) {
	rows, err := s.r.QueryContext(ctx, limitsSQL)
	if err != nil {
		return store.Limits{}, err
	}
	defer func() { _ = rows.Close() }()
	var l store.Limits
	found := false
	for rows.Next() {
		var column string
		var most sql.NullInt64
		if err := rows.Scan(&column, &most); err != nil {
			return store.Limits{}, err
		}
		found = true
		n := int(min(most.Int64, int64(s.maxPacket)))
		switch column {
		case "id":
			l.ID = n
		case "target_user_id":
			l.UserID = n
		case "sender_id":
			l.SenderID = n
		}
	}
	if err := rows.Err(); err != nil {
		return store.Limits{}, err
	}
	if !found {
		return store.Limits{}, store.ErrNoTable
	}
	return l, nil
}

const (
	setSessionSQL     = `SET @gateway_time_zone = @@SESSION.time_zone, @gateway_sql_mode = @@SESSION.sql_mode, SESSION time_zone = '+00:00', SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',STRICT_TRANS_TABLES')`
	restoreSessionSQL = `SET SESSION time_zone = @gateway_time_zone, SESSION sql_mode = @gateway_sql_mode`
)

// mysqlInsertTx runs an INSERT in a session that the application set up: for
// this one statement it is made strict and put on UTC where it is not.
func mysqlInsertTx(ctx context.Context, _ *Store, tx *sql.Tx, query string, args []any) (res sql.Result, err error) {
	r, err := readSession(ctx, tx)
	if err != nil {
		return nil, err
	}
	if !r.utf8() {
		return nil, fmt.Errorf("the transaction's character set is %s: add charset=utf8mb4 to its DSN", r.charset)
	}
	if !r.strict() || !r.utc {
		if _, err := tx.ExecContext(ctx, setSessionSQL); err != nil {
			return nil, err
		}
		defer func() {
			// After a lost connection there is nothing to restore; the
			// first error says so.
			if _, restore := tx.ExecContext(ctx, restoreSessionSQL); err == nil {
				err = restore
			}
		}()
	}
	return tx.ExecContext(ctx, query, args...)
}
