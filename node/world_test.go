package node_test

import (
	"bytes"
	"context"
	"database/sql"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
	"github.com/message-gateway/gateway/node"
)

const (
	accessKey    = "an access key of the node's tests, 0123456789"
	secondaryKey = "the other access key of the tests, 0123456789"
)

// world is one set of backends, shared by the cases of a suite: each has users
// of its own.
type world struct {
	cfg    gateway.Config
	client *gateway.Client
	// db reaches push_messages beside the gateway.
	db *sql.DB
	// names are those on Redis and RabbitMQ; amqpURL is empty when embedded.
	names   wire.Names
	amqpURL string
	redis   *redis.Client
}

func (w *world) real() bool { return w.amqpURL != "" }

// newEmbedded is a world without services.
func newEmbedded(t testing.TB) *world {
	t.Helper()
	testenv.Count(t, testenv.Embedded)
	dir := t.TempDir()
	w := &world{cfg: gateway.Embedded(dir)}
	w.cfg.AccessKey, w.cfg.SecondaryAccessKey = accessKey, secondaryKey
	w.client = w.open(t)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "gateway.db")+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	w.db = db
	return w
}

// newReal is a world of its own on Redis, MySQL and RabbitMQ.
func newReal(t testing.TB) *world {
	t.Helper()
	redisAddr, amqpURL, dsn := testenv.Redis(t), testenv.RabbitMQ(t), testenv.MySQL(t)
	testenv.Count(t, testenv.Real)
	amqpConfig, err := amqp.ParseURI(amqpURL)
	require.NoError(t, err)
	prefix := "gwtest-" + testenv.Unique() + "."
	w := &world{amqpURL: amqpURL, names: wire.Names{RedisPrefix: prefix, RabbitPrefix: prefix}}
	w.cfg = gateway.Config{
		Redis: gateway.RedisConfig{Addrs: []string{redisAddr}, KeyPrefix: prefix},
		MySQL: gateway.MySQLConfig{Addr: dsn.Addr, User: dsn.User, Password: dsn.Passwd, DB: dsn.DBName},
		RabbitMQ: gateway.RabbitMQConfig{
			Addrs: []string{hostPort(amqpConfig)}, User: amqpConfig.Username, Password: amqpConfig.Password,
			VHost: amqpConfig.Vhost, NamePrefix: prefix,
		},
		AccessKey: accessKey, SecondaryAccessKey: secondaryKey,
	}
	w.redis = redis.NewClient(&redis.Options{Addr: redisAddr})
	t.Cleanup(func() { w.removeReal(t) })
	w.client = w.open(t)
	require.NoError(t, w.client.Migrate(t.Context()))
	connector, err := mysql.NewConnector(dsn)
	require.NoError(t, err)
	w.db = sql.OpenDB(connector)
	t.Cleanup(func() { require.NoError(t, w.db.Close()) })
	return w
}

func hostPort(u amqp.URI) string {
	return (&url.URL{Host: net.JoinHostPort(u.Host, itoa(u.Port))}).Host
}

// removeReal removes what the tests left on the servers.
func (w *world) removeReal(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	keys, err := w.redis.Keys(ctx, w.names.RedisPrefix+"*").Result()
	assert.NoError(t, err)
	if len(keys) > 0 {
		assert.NoError(t, w.redis.Del(ctx, keys...).Err())
	}
	assert.NoError(t, w.redis.Close())
	conn, err := amqp.Dial(w.amqpURL)
	if !assert.NoError(t, err) {
		return
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if !assert.NoError(t, err) {
		return
	}
	_, err = ch.QueueDelete(w.names.NotificationQueue(), false, false, false)
	assert.NoError(t, err)
	assert.NoError(t, ch.ExchangeDelete(w.names.Exchange(), false, false))
}

// open is one more client on the backends, as another process has it.
func (w *world) open(t testing.TB) *gateway.Client {
	t.Helper()
	return openClient(t, w.cfg)
}

func openClient(t testing.TB, cfg gateway.Config, opts ...gateway.Option) *gateway.Client {
	t.Helper()
	opts = append([]gateway.Option{gateway.WithLogger(logger(t))}, opts...)
	client, err := gateway.New(t.Context(), cfg, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return client
}

// logger keeps what is logged, and shows it if the test fails.
func logger(t testing.TB) *slog.Logger {
	var buf lockedBuffer
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(buf.String())
		}
	})
	return slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// host is a node behind an HTTP server.
type host struct {
	*node.Node
	world  *world
	client *gateway.Client
	server *httptest.Server
}

// node starts a node with a client of its own, as another process has it.
func (w *world) node(t testing.TB, opts node.Options) *host {
	t.Helper()
	return w.nodeOn(t, w.open(t), opts)
}

func (w *world) nodeOn(t testing.TB, client *gateway.Client, opts node.Options) *host {
	t.Helper()
	if opts.HandoverTimeout == 0 {
		opts.HandoverTimeout = time.Millisecond // other tests' nodes take nothing over
	}
	n, err := node.New(client, opts)
	require.NoError(t, err)
	h := &host{Node: n, world: w, client: client, server: httptest.NewServer(n)}
	t.Cleanup(h.stop)
	return h
}

// stop is how every node ends at last. Tests of Shutdown look closer.
func (h *host) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), devicetest.Patience)
	defer cancel()
	_ = h.Shutdown(ctx)
	h.server.Close()
}

// url is where a device of the user connects.
func (h *host) url(t testing.TB, userID string, opts ...gateway.TokenOption) string {
	t.Helper()
	access, err := h.client.ClientAccessToken(t.Context(), userID, append([]gateway.TokenOption{gateway.WithEndpoint(h.server.URL)}, opts...)...)
	require.NoError(t, err)
	return access.URL
}

// connect connects a device of the user.
func (h *host) connect(t testing.TB, userID, subprotocol string) *devicetest.Device {
	t.Helper()
	return devicetest.Connect(t, devicetest.Options{URL: h.url(t, userID), Subprotocol: subprotocol})
}

// wsURL is a URL on the node without token.
func (h *host) wsURL(path string) string {
	return strings.Replace(h.server.URL, "http", "ws", 1) + path
}

// user returns an id that no other test has.
func user() string { return "user_" + testenv.Unique() }

// message reads a stored message.
func (w *world) message(t testing.TB, id string) *gateway.Message {
	t.Helper()
	m, err := w.client.Message(t.Context(), id)
	require.NoError(t, err)
	return m
}

// hasStatus waits until a message has a status, and returns it.
func (w *world) hasStatus(t testing.TB, id string, status gateway.Status) *gateway.Message {
	t.Helper()
	deadline := time.Now().Add(devicetest.Patience)
	for {
		m := w.message(t, id)
		if m.Status == status {
			return m
		}
		if time.Now().After(deadline) {
			t.Fatalf("message %s is %s, want %s", id, m.Status, status)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// reliable sends a reliable message.
func (w *world) reliable(t testing.TB, userID string, payload any, opts ...gateway.SendOption) string {
	t.Helper()
	id, err := w.client.SendReliable(t.Context(), userID, payload, opts...)
	require.NoError(t, err)
	return id
}

// realtime sends a realtime message.
func (w *world) realtime(t testing.TB, userID string, payload any) {
	t.Helper()
	require.NoError(t, w.client.SendRealtime(t.Context(), userID, payload))
}

// command is a SendCommand under way.
type command struct {
	result *gateway.CommandResult
	err    error
	done   chan struct{}
}

func (w *world) command(t testing.TB, userID string, data any, opts ...gateway.SendOption) *command {
	t.Helper()
	return sendCommand(t, w.client, userID, data, opts...)
}

func sendCommand(t testing.TB, client *gateway.Client, userID string, data any, opts ...gateway.SendOption) *command {
	t.Helper()
	c := &command{done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(context.Background(), 2*devicetest.Patience)
	t.Cleanup(func() {
		cancel()
		<-c.done
	})
	go func() {
		defer close(c.done)
		c.result, c.err = client.SendCommand(ctx, userID, "test:command", data, opts...)
	}()
	return c
}

// wait returns what became of the command.
func (c *command) wait(t testing.TB) (*gateway.CommandResult, error) {
	t.Helper()
	select {
	case <-c.done:
		return c.result, c.err
	case <-time.After(2 * devicetest.Patience):
		t.Fatal("the command does not end")
		return nil, nil
	}
}

// insert writes a row as an SDK of another make does, and tells nobody.
func (w *world) insert(t testing.TB, columns map[string]any) {
	t.Helper()
	var names, marks []string
	var args []any
	for name, value := range columns {
		names, marks, args = append(names, name), append(marks, "?"), append(args, value)
	}
	_, err := w.db.ExecContext(t.Context(),
		"INSERT INTO push_messages ("+strings.Join(names, ",")+") VALUES ("+strings.Join(marks, ",")+")", args...)
	require.NoError(t, err)
}

// sqlTime is how times stand in the table.
func sqlTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000000") }
