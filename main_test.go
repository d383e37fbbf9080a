package gateway_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/embedded"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// silent takes the lines that go-redis writes about servers that are not there.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// suite closes what the tests share before leaks are looked for.
type suite struct{ *testing.M }

func (s suite) Run() int {
	code := s.M.Run()
	admin.close()
	return code
}

func TestMain(m *testing.M) {
	redis.SetLogger(silent{})
	goleak.VerifyTestMain(suite{m})
}

// backend is what one test may use: everything in it has names of its own.
type backend struct {
	cfg   gateway.Config
	names wire.Names
	mysql *mysql.Config // nil for the embedded backend
	owner testing.TB    // the test that all of this ends with

	once     sync.Once
	migrated sync.Once
	pool     *sql.DB
}

// eachBackend runs test over the embedded backend and over Redis, MySQL and
// RabbitMQ.
func eachBackend(t *testing.T, test func(t *testing.T, b *backend)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, embeddedBackend(t))
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		test(t, realBackend(t))
	})
}

func embeddedBackend(t testing.TB) *backend {
	t.Helper()
	testenv.Count(t, testenv.Embedded)
	return &backend{cfg: gateway.Embedded(t.TempDir()), owner: t}
}

func realBackend(t testing.TB) *backend {
	t.Helper()
	redisAddr, rabbitURL, db := testenv.Redis(t), testenv.RabbitMQ(t), testenv.MySQL(t)
	testenv.Count(t, testenv.Real)
	uri, err := amqp.ParseURI(rabbitURL)
	require.NoError(t, err)
	unique := testenv.Unique()
	b := &backend{
		names: wire.Names{RedisPrefix: "t" + unique + ":", RabbitPrefix: "t" + unique + "."},
		mysql: db, owner: t,
	}
	b.cfg = gateway.Config{
		Redis: gateway.RedisConfig{Addrs: []string{redisAddr}, KeyPrefix: b.names.RedisPrefix, PoolSize: 8},
		MySQL: gateway.MySQLConfig{Addr: db.Addr, User: db.User, Password: db.Passwd, DB: db.DBName, MaxOpenConns: 8},
		RabbitMQ: gateway.RabbitMQConfig{
			Addrs: []string{net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port))},
			User:  uri.Username, Password: uri.Password, VHost: uri.Vhost, NamePrefix: b.names.RabbitPrefix,
		},
		ConnectTimeout: 30 * time.Second,
	}
	t.Cleanup(func() {
		ch := admin.channel(t, rabbitURL)
		defer func() { _ = ch.Close() }()
		assert.NoError(t, ch.ExchangeDelete(b.names.Exchange(), false, false))
		_, err := ch.QueueDelete(b.names.NotificationQueue(), false, false, false)
		assert.NoError(t, err)
		rdb := redis.NewClient(&redis.Options{Addr: redisAddr})
		defer func() { _ = rdb.Close() }()
		forgetCounters(t, rdb, b.names)
	})
	return b
}

// forgetCounters does to the keys of one test what a Redis that lost its data
// does to all.
func forgetCounters(t testing.TB, rdb *redis.Client, names wire.Names) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	keys := rdb.Scan(ctx, 0, names.RedisPrefix+"*", 1000).Iterator()
	for keys.Next(ctx) {
		assert.NoError(t, rdb.Del(ctx, keys.Val()).Err())
	}
	assert.NoError(t, keys.Err())
}

// admin is the connection to RabbitMQ that the tests share.
var admin adminConn

type adminConn struct {
	mu   sync.Mutex
	conn *amqp.Connection
}

func (a *adminConn) channel(t testing.TB, url string) *amqp.Channel {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil {
		conn, err := amqp.Dial(url)
		require.NoError(t, err)
		a.conn = conn
	}
	ch, err := a.conn.Channel()
	require.NoError(t, err)
	return ch
}

func (a *adminConn) close() {
	if a.conn != nil {
		_ = a.conn.Close()
	}
}

// open opens a client that is closed with the test, and creates the table.
func (b *backend) open(t testing.TB, opts ...gateway.Option) *gateway.Client {
	t.Helper()
	opts = append([]gateway.Option{gateway.WithLogger(slog.New(slog.NewTextHandler(t.Output(), nil)))}, opts...)
	c, err := gateway.New(within(t, 30*time.Second), b.cfg, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	b.migrated.Do(func() { require.NoError(t, c.Migrate(within(t, 30*time.Second))) })
	return c
}

// db is an application's own pool on the database that holds push_messages.
// The embedded one exists once a client is open.
func (b *backend) db(t testing.TB) *sql.DB {
	t.Helper()
	b.once.Do(func() {
		var err error
		if b.mysql == nil {
			b.pool, err = sql.Open("sqlite", "file:"+filepath.Join(b.cfg.EmbeddedDir, embedded.File)+"?_pragma=busy_timeout(10000)")
		} else {
			cfg := b.mysql.Clone()
			cfg.ParseTime, cfg.Loc = true, time.UTC
			cfg.Params = map[string]string{"time_zone": "'+00:00'"}
			b.pool, err = sql.Open("mysql", cfg.FormatDSN())
		}
		require.NoError(t, err)
		b.owner.Cleanup(func() { assert.NoError(b.owner, b.pool.Close()) })
	})
	return b.pool
}

// rows counts the rows of a user.
func (b *backend) rows(t testing.TB, userID string) (n int) {
	t.Helper()
	row := b.db(t).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM push_messages WHERE target_user_id = ?", userID)
	require.NoError(t, row.Scan(&n))
	return n
}

// draw advances a user's counter and returns it: 1 shows that it was untouched.
func draw(t testing.TB, c *gateway.Client, userID string) int64 {
	t.Helper()
	seqs, err := core.Of(c).Bus.NextSeqs(t.Context(), []bus.SeqRequest{{UserID: userID}})
	require.NoError(t, err)
	return seqs[0]
}

// within is a context that ends in good time.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// user is a user id that no other test has.
func user() string { return "user_" + testenv.Unique() }

// device plays a node with one device of a user: it is subscribed to the
// user's channels, keeps the hints and realtime payloads that come in, and
// answers commands in the way that nodes do.
type device struct {
	hints    chan *wire.Hint
	realtime chan []byte
}

// connect returns a device that is online. answer makes the response to a
// command; a nil response, or a nil answer, answers nothing.
func connect(t testing.TB, c *gateway.Client, userID string, answer func(*wire.Hint) json.RawMessage) *device {
	t.Helper()
	k := core.Of(c)
	d := &device{hints: make(chan *wire.Hint, 1000), realtime: make(chan []byte, 1000)}
	answers := make(chan func(), 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for work := range answers {
			work()
		}
	}()
	listener := k.Bus.Listen(func(channel string, payload []byte) {
		if channel == k.Names.Realtime(userID) {
			d.realtime <- append([]byte(nil), payload...)
			return
		}
		hint, err := wire.DecodeHint(payload)
		if !assert.NoError(t, err) {
			return
		}
		if answer != nil && hint.Type == wire.Command {
			answers <- func() { respond(t, c, hint, answer(hint)) }
		}
		d.hints <- hint
	}, func() {})
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		close(answers)
		<-done
	})
	ctx := within(t, 10*time.Second)
	require.NoError(t, listener.Subscribe(ctx, false, k.Names.Realtime(userID)))
	require.NoError(t, listener.Subscribe(ctx, true, k.Names.Deliver(userID)))
	return d
}

// respond stores the response of a device and tells who waits.
func respond(t testing.TB, c *gateway.Client, hint *wire.Hint, response json.RawMessage) {
	t.Helper()
	if response == nil {
		return
	}
	k, ctx := core.Of(c), context.WithoutCancel(t.Context())
	_, err := k.Store.Answer(ctx, []store.Answer{{ID: hint.ID, Response: response, At: k.Store.Now()}})
	assert.NoError(t, err)
	if hint.ResponseQueue != "" {
		assert.NoError(t, k.Broker.Reply(ctx, hint.ResponseQueue, broker.Answer{CorrelationID: hint.RequestID, Body: response}))
	}
}

// next takes what comes next, in good time.
func next[T any](t testing.TB, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

func second[T any](_ T, err error) error { return err }

// fallback is v, or d where v is empty; "-" stands for empty.
func fallback(v, d string) string {
	switch v {
	case "":
		return d
	case "-":
		return ""
	default:
		return v
	}
}
