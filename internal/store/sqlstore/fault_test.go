package sqlstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// breaker makes connections that break, when armed, after the server carried a
// statement out and before the client learns of it.
type breaker struct {
	armed atomic.Pointer[[]byte]
	broke atomic.Int32
}

// arm breaks the next statement that contains the text.
func (b *breaker) arm(text string) {
	t := []byte(text)
	b.armed.Store(&t)
}

func (b *breaker) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	return &breaking{Conn: conn, breaker: b}, err
}

type breaking struct {
	net.Conn
	breaker *breaker
	doomed  atomic.Bool
}

func (c *breaking) Write(p []byte) (int, error) {
	if text := c.breaker.armed.Load(); text != nil && bytes.Contains(p, *text) && c.breaker.armed.CompareAndSwap(text, nil) {
		c.doomed.Store(true)
	}
	return c.Conn.Write(p)
}

func (c *breaking) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.doomed.Load() {
		c.breaker.broke.Add(1)
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

func openBreaking(t *testing.T) (*Store, *breaker) {
	cfg := testenv.MySQL(t)
	var b breaker
	cfg.DialFunc = b.dial
	s := openMySQL(t, MySQLOptions{Config: cfg})
	require.NoError(t, s.Migrate(t.Context()))
	return s, &b
}

func command(s *Store) *store.Message {
	return &store.Message{
		ID: uuid.NewString(), UserID: "u", PushType: wire.Command, Seq: 1, Payload: json.RawMessage(`{}`),
		RequestID: uuid.NewString(), ExpiresAt: s.Now().Add(time.Hour),
	}
}

func TestInsertAfterUnknownOutcome(t *testing.T) {
	s, b := openBreaking(t)
	ctx := t.Context()
	taken := command(s)
	_, err := s.Insert(ctx, []*store.Message{taken})
	require.NoError(t, err)
	again := command(s)
	again.ID = taken.ID
	for i, c := range []struct {
		text string
		msgs []*store.Message
		want []int
	}{
		{"INSERT INTO", []*store.Message{command(s), command(s)}, nil},
		{"COMMIT", []*store.Message{command(s), again, command(s)}, []int{1}},
	} {
		b.arm(c.text)
		duplicates, err := s.Insert(ctx, c.msgs)
		require.NoError(t, err)
		require.Equal(t, c.want, duplicates, "its own rows are no duplicates")
		require.EqualValues(t, i+1, b.broke.Load(), "the fault was injected")
	}
	var rows int
	require.NoError(t, s.r.GetContext(ctx, &rows, "SELECT COUNT(*) FROM push_messages"))
	require.Equal(t, 5, rows)
}

func TestAnswerAfterUnknownOutcome(t *testing.T) {
	s, b := openBreaking(t)
	ctx := t.Context()
	won, late, done := command(s), command(s), command(s)
	late.ExpiresAt = s.Now().Add(-time.Minute)
	done.Status, done.Response, done.FinishedAt = wire.Finished, json.RawMessage(`"same"`), s.Now()
	_, err := s.Insert(ctx, []*store.Message{won, late, done})
	require.NoError(t, err)
	at := s.Now()
	b.arm("COMMIT")
	outcomes, err := s.Answer(ctx, []store.Answer{
		{ID: won.ID, Response: json.RawMessage(`{"b": 1e2, "a": "ü"}`), At: at},
		{ID: late.ID, Response: json.RawMessage(`[1]`), At: at},
		{ID: done.ID, Response: json.RawMessage(`"same"`), At: done.FinishedAt},
		{ID: won.ID, Response: json.RawMessage(`{"b": 1e2, "a": "ü"}`), At: at},
	})
	require.NoError(t, err)
	require.EqualValues(t, 1, b.broke.Load())
	require.Equal(t, []store.AnswerOutcome{store.AnswerWon, store.AnswerLate, store.AnswerIgnored, store.AnswerIgnored}, outcomes,
		"its own answers count, and only those")

	// The connection breaks before COMMIT: a second answer to one command makes
	// it a transaction.
	locked := command(s)
	_, err = s.Insert(ctx, []*store.Message{locked})
	require.NoError(t, err)
	b.arm("FOR UPDATE")
	a := store.Answer{ID: locked.ID, Response: json.RawMessage(`1`), At: at}
	outcomes, err = s.Answer(ctx, []store.Answer{a, a})
	require.NoError(t, err)
	require.Equal(t, []store.AnswerOutcome{store.AnswerWon, store.AnswerIgnored}, outcomes)
	require.EqualValues(t, 2, b.broke.Load())

	// One UPDATE, whose outcome is unknown: it has happened, or another answer
	// came before it.
	one, two, taken := command(s), command(s), command(s)
	taken.Status, taken.Response, taken.FinishedAt = wire.Finished, json.RawMessage(`"other"`), at
	_, err = s.Insert(ctx, []*store.Message{one, two, taken})
	require.NoError(t, err)
	b.arm("UPDATE push_messages")
	outcomes, err = s.Answer(ctx, []store.Answer{
		{ID: one.ID, Response: json.RawMessage(`1`), At: at},
		{ID: two.ID, Response: json.RawMessage(`2`), At: at},
		{ID: taken.ID, Response: json.RawMessage(`3`), At: at},
	})
	require.NoError(t, err)
	require.EqualValues(t, 3, b.broke.Load())
	require.Equal(t, []store.AnswerOutcome{store.AnswerWon, store.AnswerWon, store.AnswerIgnored}, outcomes)
}

func TestHoldsOnlyItsOwnAnswer(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 600_000_000, time.UTC)
	a := store.Answer{ID: "x", Response: json.RawMessage(`{"a":1}`), At: at}
	row := store.Message{ID: "x", Status: wire.Finished, Response: json.RawMessage(`{"a": 1}`), FinishedAt: at}
	require.True(t, holds(&row, a, store.AnswerWon))
	rounded := row
	rounded.FinishedAt = at.Round(time.Second)
	require.True(t, holds(&rounded, a, store.AnswerWon))
	another := row
	another.Response = json.RawMessage(`{"a":2}`)
	require.False(t, holds(&another, a, store.AnswerWon))
	for _, by := range []time.Duration{2 * time.Second, 100 * time.Millisecond} {
		later := row
		later.FinishedAt = at.Add(by)
		require.False(t, holds(&later, a, store.AnswerWon))
	}
	require.False(t, holds(&row, a, store.AnswerLate))
	unanswered := row
	unanswered.Response = nil
	require.False(t, holds(&unanswered, a, store.AnswerWon))
}

// TestKilledConnections kills what the store uses, between and during calls.
func TestKilledConnections(t *testing.T) {
	cfg := testenv.MySQL(t)
	s := openMySQL(t, MySQLOptions{Config: cfg, MaxOpenConns: 4})
	require.NoError(t, s.Migrate(t.Context()))
	admin := sqlx.NewDb(openPool(t, cfg), "mysql")
	ctx := t.Context()
	kill := func() (killed int) {
		var ids []int64
		require.NoError(t, admin.SelectContext(ctx, &ids,
			"SELECT id FROM information_schema.processlist WHERE db = ? AND id <> CONNECTION_ID()", cfg.DBName))
		for _, id := range ids {
			if _, err := admin.ExecContext(ctx, fmt.Sprintf("KILL CONNECTION %d", id)); err == nil {
				killed++
			}
		}
		return killed
	}
	first := command(s)
	_, err := s.Insert(ctx, []*store.Message{first})
	require.NoError(t, err)
	require.Positive(t, kill())
	_, err = s.Get(ctx, first.ID)
	require.NoError(t, err, "between calls")

	const writers, rounds = 4, 40
	var wg sync.WaitGroup
	progress := make(chan struct{}, 2*writers*rounds)
	for range writers {
		wg.Go(func() {
			for range rounds {
				progress <- struct{}{}
				m := command(s)
				duplicates, err := s.Insert(ctx, []*store.Message{m})
				if err != nil || len(duplicates) > 0 {
					t.Errorf("insert: %v, duplicates %v", err, duplicates)
					return
				}
				outcomes, err := s.Answer(ctx, []store.Answer{{ID: m.ID, Response: json.RawMessage(`1`), At: s.Now()}})
				if err != nil || outcomes[0] != store.AnswerWon {
					t.Errorf("answer: %v, %v", err, outcomes)
					return
				}
			}
		})
	}
	go func() {
		wg.Wait()
		close(progress)
	}()
	killed, steps := 0, 0
	for range progress {
		if steps++; steps%writers == 0 {
			killed += kill()
		}
	}
	require.Positive(t, killed, "during calls")
}

// TestLimitOfTheAccount has a pool that may open more connections than the
// account: who gets none waits for one, and does not fail.
func TestLimitOfTheAccount(t *testing.T) {
	cfg := testenv.MySQL(t)
	s := openMySQL(t, MySQLOptions{Config: cfg})
	require.NoError(t, s.Migrate(t.Context()))
	admin := openPool(t, cfg)
	account := "limited_" + testenv.Unique()
	for _, statement := range []string{
		"CREATE USER " + account + "@'%' IDENTIFIED BY 'limited' WITH MAX_USER_CONNECTIONS 2",
		"CREATE USER " + account + "@localhost IDENTIFIED BY 'limited' WITH MAX_USER_CONNECTIONS 2",
		"GRANT ALL ON " + cfg.DBName + ".* TO " + account + "@'%'",
		"GRANT ALL ON " + cfg.DBName + ".* TO " + account + "@localhost",
	} {
		_, err := admin.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	t.Cleanup(func() {
		_, err := admin.ExecContext(context.WithoutCancel(t.Context()), "DROP USER "+account+"@'%', "+account+"@localhost")
		assert.NoError(t, err)
	})
	limited := cfg.Clone()
	limited.User, limited.Passwd = account, "limited"
	s = openMySQL(t, MySQLOptions{Config: limited, MaxOpenConns: 12})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			for range 20 {
				_, err := s.Insert(ctx, []*store.Message{command(s)})
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
}

func TestErrorsNameTheServerAndNoPassword(t *testing.T) {
	const secret = "hunter2-secret"
	cfg := testenv.MySQL(t)
	wrong := cfg.Clone()
	wrong.User, wrong.Passwd = "nobody_"+testenv.Unique(), secret
	_, err := OpenMySQL(t.Context(), MySQLOptions{Config: wrong})
	require.ErrorContains(t, err, "Access denied")
	require.ErrorContains(t, err, cfg.Addr)
	require.NotContains(t, err.Error(), secret)

	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a port that nobody listens on
	require.NoError(t, err)
	unreachable := cfg.Clone()
	unreachable.Addr, unreachable.Passwd = listener.Addr().String(), secret
	require.NoError(t, listener.Close())
	_, err = OpenMySQL(t.Context(), MySQLOptions{Config: unreachable})
	require.ErrorContains(t, err, unreachable.Addr)
	require.NotContains(t, err.Error(), secret)

	_, err = OpenMySQL(t.Context(), MySQLOptions{})
	require.ErrorContains(t, err, "no database is named")
}

// TestServerGoesAway checks that a call ends with its context, and says what
// it waited for, and that the store works again when the server is back.
func TestServerGoesAway(t *testing.T) {
	cfg := testenv.MySQL(t)
	var down atomic.Bool
	var mu sync.Mutex
	var open []net.Conn
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if down.Load() {
			return nil, &net.OpError{Op: "dial", Net: network, Err: os.ErrDeadlineExceeded}
		}
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		mu.Lock()
		defer mu.Unlock()
		open = append(open, conn)
		return conn, err
	}
	s := openMySQL(t, MySQLOptions{Config: cfg})
	require.NoError(t, s.Migrate(t.Context()))
	down.Store(true)
	mu.Lock()
	for _, conn := range open {
		_ = conn.Close()
	}
	mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	m := command(s)
	_, err := s.Insert(ctx, []*store.Message{m})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, cfg.Addr)
	require.ErrorContains(t, err, "the last attempt failed with: dial")
	down.Store(false)
	_, err = s.Insert(t.Context(), []*store.Message{m})
	require.NoError(t, err)
}

// TestCloseOfBrokenConnections: what became of idle connections meanwhile is no
// failure to close.
func TestCloseOfBrokenConnections(t *testing.T) {
	cfg := testenv.MySQL(t)
	var open []net.Conn
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		open = append(open, conn)
		return conn, err
	}
	s, err := OpenMySQL(t.Context(), MySQLOptions{Config: cfg, MaxOpenConns: 1})
	require.NoError(t, err)
	for _, conn := range open {
		_ = conn.Close()
	}
	require.NoError(t, s.Close())
}

func TestClosedStore(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	s := openSQLite(t, filepath.Join(t.TempDir(), "store.db"))
	require.NoError(t, s.Close())
	_, err := s.Get(t.Context(), "x")
	require.ErrorIs(t, err, store.ErrClosed)
}

func TestNowIsTheServersClock(t *testing.T) {
	ahead := time.Hour
	c, err := startClock(t.Context(), func(context.Context) (time.Time, error) { return time.Now().Add(ahead), nil })
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(ahead), c.now(), time.Minute)
	c.stop()
	_, err = startClock(t.Context(), func(context.Context) (time.Time, error) { return time.Time{}, net.ErrClosed })
	require.ErrorIs(t, err, net.ErrClosed)
}
