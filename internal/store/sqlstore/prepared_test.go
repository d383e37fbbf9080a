package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

func rowsOf(n int, payload string) []*store.Message {
	msgs := make([]*store.Message, n)
	for i := range msgs {
		msgs[i] = &store.Message{
			ID: uuid.NewString(), UserID: fmt.Sprintf("bäckend 🚀 %d", i), PushType: wire.Reliable, Seq: int64(i),
			SenderType: []string{"", "server"}[i%2], Payload: json.RawMessage(payload),
		}
	}
	return msgs
}

// insertAll stores messages and reads them back.
func insertAll(t *testing.T, s *Store, msgs []*store.Message) {
	t.Helper()
	duplicates, err := s.Insert(t.Context(), msgs)
	require.NoError(t, err)
	require.Empty(t, duplicates)
	ids := make([]string, len(msgs))
	want := make(map[string]*store.Message, len(msgs))
	for i, m := range msgs {
		ids[i], want[m.ID] = m.ID, m
	}
	got, err := s.GetMany(t.Context(), ids)
	require.NoError(t, err)
	require.Len(t, got, len(msgs))
	for _, m := range got {
		require.Equal(t, want[m.ID], m)
	}
}

func TestInsertSize(t *testing.T) {
	s := &Store{dialect: mysqlDialect}
	for waiting, want := range map[int]int{1: 1, 7: 7, 8: 8, 9: 8, 31: 16, 32: 32, 100: 96, 128: 128, 129: 128, 5000: 128} {
		require.Equal(t, want, s.InsertSize(waiting), "of %d", waiting)
	}
	require.Equal(t, 100, (&Store{dialect: sqliteDialect}).InsertSize(100))
}

// statements counts what the only connection of s has prepared and executed.
func statements(t *testing.T, s *Store) (prepared, executed int) {
	t.Helper()
	for name, n := range map[string]*int{"Com_stmt_prepare": &prepared, "Com_stmt_execute": &executed} {
		require.NoError(t, s.w.QueryRowxContext(t.Context(), "SHOW SESSION STATUS LIKE '"+name+"'").Scan(new(string), n))
	}
	return prepared, executed
}

// TestPreparedInsert: rows come out as they went in, whichever way they went; each
// form of the INSERT is prepared once, and goes on when the table changes.
func TestPreparedInsert(t *testing.T) {
	s := openMySQL(t, MySQLOptions{Config: testenv.MySQL(t), MaxOpenConns: 1})
	require.NoError(t, s.Migrate(t.Context()))
	preparedBefore, executedBefore := statements(t, s)
	payloads := []string{`{"a": "ü 🚀 \" \\ ' ? \u0000"}`, `"` + strings.Repeat("🚀", preparedText/4-1) + `"`, `"` + strings.Repeat("🚀", preparedText/4) + `"`}
	for i := range 3 {
		for _, payload := range payloads {
			for _, n := range []int{1, 8, 9, 128} {
				insertAll(t, s, rowsOf(n, payload))
			}
		}
		if i == 1 {
			prepared, executed := statements(t, s)
			require.Equal(t, 2, prepared-preparedBefore, "of 8 and of 128 rows")
			require.Equal(t, 8, executed-executedBefore, "and not where a text is long")
			_, err := s.w.ExecContext(t.Context(), "ALTER TABLE push_messages ADD COLUMN extra INT NULL FIRST")
			require.NoError(t, err)
		}
	}
	_, executedBefore = statements(t, s) // the server counts its own, after the change of the table, too

	command := rowsOf(8, `1`)
	for _, m := range command {
		m.PushType, m.RequestID = wire.Command, uuid.NewString()
	}
	insertAll(t, s, command)
	again := rowsOf(8, `2`)
	again[5].ID = command[0].ID
	duplicates, err := s.Insert(t.Context(), again)
	require.NoError(t, err)
	require.Equal(t, []int{5}, duplicates)
	_, executed := statements(t, s)
	require.Equal(t, 2, executed-executedBefore)
}

// choosy is a server that refuses prepared statements.
type choosy struct {
	driver.Connector
	prepare, exec           error
	prepares, execs, closed atomic.Int32
}

func (c *choosy) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &choosyConn{conn.(driverConn), c}, nil
}

type choosyConn struct {
	driverConn
	c *choosy
}

func (c *choosyConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.c.prepares.Add(1)
	if c.c.prepare != nil {
		return nil, c.c.prepare
	}
	statement, err := c.driverConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &choosyStatement{statement.(fullStatement), c.c}, nil
}

type fullStatement interface {
	driver.Stmt
	driver.StmtExecContext
}

type choosyStatement struct {
	fullStatement
	c *choosy
}

func (s *choosyStatement) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.c.execs.Add(1)
	if s.c.exec != nil {
		return nil, s.c.exec
	}
	return s.fullStatement.ExecContext(ctx, args)
}

func (s *choosyStatement) Close() error {
	s.c.closed.Add(1)
	return s.fullStatement.Close()
}

// TestPreparedInsertRefused: what a server will not prepare is sent as text, and
// it is not asked again for each message.
func TestPreparedInsertRefused(t *testing.T) {
	for name, c := range map[string]*choosy{
		"at the limit": {prepare: &mysql.MySQLError{Number: 1461, Message: "Can't create more than max_prepared_stmt_count statements"}},
		"forgotten":    {exec: &mysql.MySQLError{Number: 1243, Message: "Unknown prepared statement handler"}},
		"accepted":     {},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testenv.MySQL(t)
			cfg.InterpolateParams = true
			connector, err := mysql.NewConnector(cfg)
			require.NoError(t, err)
			c.Connector = connector
			db := sql.OpenDB(c)
			t.Cleanup(func() { require.NoError(t, db.Close()) })
			s, err := FromMySQL(t.Context(), db)
			require.NoError(t, err)
			require.NoError(t, s.Migrate(t.Context()))
			c.prepares.Store(0)
			c.execs.Store(0)
			for range 3 {
				insertAll(t, s, rowsOf(16, `{}`))
			}
			if c.prepare != nil || c.exec != nil {
				require.EqualValues(t, 1, c.prepares.Load())
				require.LessOrEqual(t, c.execs.Load(), int32(1))
				s.refused.Store(nil) // the pause is over
				insertAll(t, s, rowsOf(16, `{}`))
				require.EqualValues(t, 2, max(c.prepares.Load(), c.execs.Load()), "it asks once more")
			} else {
				require.EqualValues(t, 3, c.execs.Load())
			}
			closed := c.closed.Load()
			require.NoError(t, s.Close())
			if c.prepare == nil {
				require.Greater(t, c.closed.Load(), closed, "connections of the application keep no statements")
			}
			require.NoError(t, db.PingContext(t.Context()))
		})
	}
}

// TestPreparedInsertAfterUnknownOutcome: the connection breaks after the rows are
// stored and before that is known.
func TestPreparedInsertAfterUnknownOutcome(t *testing.T) {
	s, b := openBreaking(t)
	insertAll(t, s, rowsOf(8, `{}`))
	msgs := rowsOf(8, `{}`)
	b.arm(msgs[3].ID)
	insertAll(t, s, msgs)
	require.EqualValues(t, 1, b.broke.Load(), "the fault was injected")
	var rows int
	require.NoError(t, s.r.GetContext(t.Context(), &rows, "SELECT COUNT(*) FROM push_messages"))
	require.Equal(t, 16, rows)
}

// A store that is closed while it prepares leaves no statement on the pool, which
// is the application's.
func TestCloseWhilePreparing(t *testing.T) {
	db := openPool(t, testenv.MySQL(t))
	for i := range 20 {
		s, err := FromMySQL(t.Context(), db)
		require.NoError(t, err)
		if i == 0 {
			require.NoError(t, s.Migrate(t.Context()))
		}
		var inserts sync.WaitGroup
		for range 4 {
			inserts.Go(func() { _, _ = s.Insert(t.Context(), rowsOf(8, `1`)) })
		}
		require.NoError(t, s.Close())
		inserts.Wait()
		for k := range s.short.prepared.statements {
			require.Nil(t, s.short.prepared.statements[k].Load())
		}
	}
}
