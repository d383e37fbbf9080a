package gateway_test

import (
	"context"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv"
)

const secret = "s3cr3t/of@nobody%"

// closedPort is an address where nothing listens.
func closedPort(t testing.TB) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return ln.Addr().String()
}

// blackHole is an address that accepts connections and never answers.
func blackHole(t testing.TB) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	accepted := make(chan net.Conn, 100)
	go func() {
		defer close(accepted)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		for conn := range accepted {
			_ = conn.Close()
		}
	})
	return ln.Addr().String()
}

func configAt(redis, mysql, rabbit string) gateway.Config {
	return gateway.Config{
		Redis:    gateway.RedisConfig{Addrs: []string{redis}, Password: secret},
		MySQL:    gateway.MySQLConfig{Addr: mysql, User: "app", Password: secret, DB: "messages"},
		RabbitMQ: gateway.RabbitMQConfig{Addrs: []string{rabbit}, User: "app", Password: secret},
	}
}

// noSecret fails if text holds the password in any of the forms in which it
// could be written.
func noSecret(t testing.TB, text string) {
	t.Helper()
	for _, form := range []string{secret, url.PathEscape(secret), url.QueryEscape(secret), url.UserPassword("", secret).String()} {
		assert.NotContains(t, text, strings.TrimPrefix(form, ":"))
	}
	assert.NotContains(t, text, "s3cr3t")
}

func TestNewNamesEveryBackendThatIsDown(t *testing.T) {
	t.Parallel()
	redis, mysql, rabbit := closedPort(t), closedPort(t), closedPort(t)
	began := time.Now()
	c, err := gateway.New(within(t, 20*time.Second), configAt(redis, mysql, rabbit))
	require.Error(t, err)
	require.Nil(t, c)
	assert.Less(t, time.Since(began), 15*time.Second)
	for _, want := range []string{"redis at " + redis, "mysql at " + mysql, "rabbitmq at " + rabbit, "gateway: new client"} {
		assert.ErrorContains(t, err, want)
	}
	noSecret(t, err.Error())
}

func TestNewEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, bound := range map[string]func(*gateway.Config) context.Context{
		"ctx": func(*gateway.Config) context.Context { return within(t, 300*time.Millisecond) },
		"ConnectTimeout": func(cfg *gateway.Config) context.Context {
			cfg.ConnectTimeout = 300 * time.Millisecond
			return t.Context()
		},
	} {
		redis, mysql, rabbit := blackHole(t), blackHole(t), blackHole(t)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := configAt(redis, mysql, rabbit)
			ctx := bound(&cfg)
			began := time.Now()
			_, err := gateway.New(ctx, cfg)
			require.Error(t, err)
			assert.Less(t, time.Since(began), 5*time.Second)
			for _, addr := range []string{redis, mysql, rabbit} {
				assert.ErrorContains(t, err, addr)
			}
			require.ErrorIs(t, err, context.DeadlineExceeded)
			noSecret(t, err.Error())
		})
	}
}

func TestNewNamesTheOneBackendThatIsDown(t *testing.T) {
	t.Parallel()
	addr := closedPort(t)
	for name, spoil := range map[string]func(*gateway.Config){
		"redis":    func(cfg *gateway.Config) { cfg.Redis.Addrs = []string{addr} },
		"mysql":    func(cfg *gateway.Config) { cfg.MySQL.Addr = addr },
		"rabbitmq": func(cfg *gateway.Config) { cfg.RabbitMQ.Addrs = []string{addr} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := realBackend(t)
			spoil(&b.cfg)
			_, err := gateway.New(within(t, 20*time.Second), b.cfg)
			require.ErrorContains(t, err, name+" at "+addr)
			for _, other := range []string{"redis at ", "mysql at ", "rabbitmq at "} {
				if !strings.HasPrefix(other, name+" ") {
					assert.NotContains(t, err.Error(), other)
				}
			}
		})
	}
}

func TestNewWithAWrongPassword(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*gateway.Config){
		"redis":    func(cfg *gateway.Config) { cfg.Redis.User, cfg.Redis.Password = "nobody", secret },
		"mysql":    func(cfg *gateway.Config) { cfg.MySQL.User, cfg.MySQL.Password = "nobody", secret },
		"rabbitmq": func(cfg *gateway.Config) { cfg.RabbitMQ.Password = secret },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := realBackend(t)
			spoil(&b.cfg)
			began := time.Now()
			_, err := gateway.New(within(t, 20*time.Second), b.cfg)
			require.ErrorContains(t, err, name+" at ")
			assert.Less(t, time.Since(began), 15*time.Second)
			noSecret(t, err.Error())
		})
	}
}

func TestNewRefusesNilContextAndBadConfig(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	var none context.Context
	_, err := gateway.New(none, gateway.Embedded(""))
	require.ErrorIs(t, err, gateway.ErrNilContext)
	var bad *gateway.ConfigError
	_, err = gateway.New(t.Context(), gateway.Config{})
	require.ErrorAs(t, err, &bad)
	require.NotEmpty(t, bad.Problems)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = gateway.New(ended, configAt(closedPort(t), closedPort(t), closedPort(t)))
	require.ErrorIs(t, err, context.Canceled)
}

func TestPingNamesWhatIsDown(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	proxies := map[string]*proxy{}
	for name, addr := range map[string]*string{
		"redis": &b.cfg.Redis.Addrs[0], "mysql": &b.cfg.MySQL.Addr, "rabbitmq": &b.cfg.RabbitMQ.Addrs[0],
	} {
		proxies[name] = newProxy(t, *addr)
		*addr = proxies[name].addr()
	}
	c := b.open(t)
	require.NoError(t, c.Ping(within(t, 10*time.Second)))
	proxies["redis"].cut()
	proxies["rabbitmq"].cut()
	require.Eventually(t, func() bool {
		err := c.Ping(within(t, 5*time.Second))
		return err != nil && strings.Contains(err.Error(), "redis at "+proxies["redis"].addr()) &&
			strings.Contains(err.Error(), "rabbitmq at "+proxies["rabbitmq"].addr()) && !strings.Contains(err.Error(), "mysql")
	}, 20*time.Second, 10*time.Millisecond)
	proxies["redis"].restore()
	proxies["rabbitmq"].restore()
	require.Eventually(t, func() bool { return c.Ping(within(t, 5*time.Second)) == nil }, 20*time.Second, 20*time.Millisecond)
	proxies["mysql"].cut()
	err := c.Ping(within(t, 5*time.Second))
	require.ErrorContains(t, err, "mysql at "+proxies["mysql"].addr())
	require.NotErrorIs(t, err, gateway.ErrClosed)
	proxies["mysql"].restore()
	var joined interface{ Unwrap() []error }
	require.ErrorAs(t, err, &joined)
	require.Len(t, joined.Unwrap(), 1)
}
