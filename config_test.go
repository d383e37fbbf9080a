package gateway_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

// problems are the names of what New finds wrong.
func problems(t testing.TB, err error) []string {
	t.Helper()
	var bad *gateway.ConfigError
	require.ErrorAs(t, err, &bad)
	names := make([]string, len(bad.Problems))
	for i, p := range bad.Problems {
		names[i] = p.Name
		assert.NotEmpty(t, p.Problem)
		assert.Contains(t, err.Error(), p.Name+": "+p.Problem)
	}
	return names
}

func TestConfigBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("k", 32)
	for name, c := range map[string]struct {
		spoil func(*gateway.Config)
		want  []string
	}{
		"no redis":                   {func(c *gateway.Config) { c.Redis.Addrs = nil }, []string{"MSG_REDIS_HOST"}},
		"redis without port":         {func(c *gateway.Config) { c.Redis.Addrs = []string{"h"} }, []string{"MSG_REDIS_HOST"}},
		"redis without host":         {func(c *gateway.Config) { c.Redis.Addrs = []string{":6379"} }, []string{"MSG_REDIS_HOST"}},
		"redis port 0":               {func(c *gateway.Config) { c.Redis.Addrs = []string{"h:0"} }, []string{"MSG_REDIS_HOST"}},
		"redis port 65536":           {func(c *gateway.Config) { c.Redis.Addrs = []string{"h:65536"} }, []string{"MSG_REDIS_HOST"}},
		"redis port name":            {func(c *gateway.Config) { c.Redis.Addrs = []string{"h:redis"} }, []string{"MSG_REDIS_HOST"}},
		"redis db":                   {func(c *gateway.Config) { c.Redis.DB = -1 }, []string{"MSG_REDIS_DB"}},
		"redis cluster db":           {func(c *gateway.Config) { c.Redis.Cluster, c.Redis.DB = true, 1 }, []string{"MSG_REDIS_DB"}},
		"redis cluster and sentinel": {func(c *gateway.Config) { c.Redis.Cluster, c.Redis.SentinelMaster = true, "m" }, []string{"MSG_REDIS_CLUSTER"}},
		"redis addresses":            {func(c *gateway.Config) { c.Redis.Addrs = []string{"a:1", "b:1"} }, []string{"MSG_REDIS_ADDRS"}},
		"redis pool":                 {func(c *gateway.Config) { c.Redis.PoolSize = -1 }, []string{"MSG_REDIS_POOL_SIZE"}},
		"no mysql":                   {func(c *gateway.Config) { c.MySQL = gateway.MySQLConfig{} }, []string{"MSG_MYSQL_HOST", "MSG_MYSQL_USER", "MSG_MYSQL_DB"}},
		"mysql pool":                 {func(c *gateway.Config) { c.MySQL.MaxOpenConns = -1 }, []string{"MSG_MYSQL_MAX_OPEN_CONNS"}},
		"no rabbitmq": {
			func(c *gateway.Config) { c.RabbitMQ = gateway.RabbitMQConfig{} },
			[]string{"MSG_RABBITMQ_HOST", "MSG_RABBITMQ_USERNAME", "MSG_RABBITMQ_PASSWORD"},
		},
		"one of two rabbitmqs":  {func(c *gateway.Config) { c.RabbitMQ.Addrs = []string{"a:1", "b"} }, []string{"MSG_RABBITMQ_HOST"}},
		"short key":             {func(c *gateway.Config) { c.AccessKey = long[1:] }, []string{"MSG_ACCESS_KEY"}},
		"short second key":      {func(c *gateway.Config) { c.AccessKey, c.SecondaryAccessKey = long, long[1:] }, []string{"MSG_ACCESS_KEY_SECONDARY"}},
		"only the second key":   {func(c *gateway.Config) { c.SecondaryAccessKey = long }, []string{"MSG_ACCESS_KEY"}},
		"endpoint scheme":       {func(c *gateway.Config) { c.Endpoints = []string{"https://ok", "wss://h"} }, []string{"MSG_ENDPOINT"}},
		"endpoint query":        {func(c *gateway.Config) { c.Endpoints = []string{"https://h?x=1"} }, []string{"MSG_ENDPOINT"}},
		"endpoint password":     {func(c *gateway.Config) { c.Endpoints = []string{"https://u:p@h"} }, []string{"MSG_ENDPOINT"}},
		"endpoint host":         {func(c *gateway.Config) { c.Endpoints = []string{"push.example.com"} }, []string{"MSG_ENDPOINT"}},
		"hub":                   {func(c *gateway.Config) { c.Hub = "1st" }, []string{"MSG_HUB"}},
		"payload":               {func(c *gateway.Config) { c.MaxPayload = -1 }, []string{"MSG_MAX_PAYLOAD"}},
		"connect timeout":       {func(c *gateway.Config) { c.ConnectTimeout = -1 }, []string{"MSG_CONNECT_TIMEOUT"}},
		"drain timeout":         {func(c *gateway.Config) { c.DrainTimeout = -1 }, []string{"MSG_DRAIN_TIMEOUT"}},
		"everything at once":    {func(c *gateway.Config) { *c = gateway.Config{Hub: " ", MaxPayload: -1} }, nil},
		"url instead of a host": {func(c *gateway.Config) { c.Redis.Addrs = []string{"redis://:" + secret + "@h:6379"} }, []string{"MSG_REDIS_HOST"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := configAt("h:1", "h:1", "h:1")
			c.spoil(&cfg)
			_, err := gateway.New(t.Context(), cfg)
			got := problems(t, err)
			if c.want == nil {
				require.Len(t, got, 9)
				return
			}
			require.Equal(t, c.want, got)
			noSecret(t, err.Error())
		})
	}
}

func TestEmbeddedNeedsNothing(t *testing.T) {
	t.Parallel()
	b := embeddedBackend(t)
	b.cfg.Redis.DB = -1 // not used
	c := b.open(t)
	require.NoError(t, c.Ping(within(t, 10*time.Second)))
	require.Equal(t, "embedded in "+b.cfg.EmbeddedDir, b.cfg.String())
	require.Equal(t, "embedded (temporary)", gateway.Embedded("").String())
	b.cfg.AccessKey = "short"
	_, err := gateway.New(t.Context(), b.cfg)
	require.Equal(t, []string{"MSG_ACCESS_KEY"}, problems(t, err))
}

func TestConfigShowsNoSecret(t *testing.T) {
	t.Parallel()
	cfg := configAt("r:1", "m:1", "q:1")
	cfg.AccessKey, cfg.SecondaryAccessKey = strings.Repeat(secret, 3), strings.Repeat(secret, 4)
	cfg.Redis.SentinelPassword = secret
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("start", "config", cfg, "pointer", &cfg, "redis", cfg.Redis, "mysql", cfg.MySQL, "rabbitmq", cfg.RabbitMQ)
	}
	texts := []string{log.String()}
	for _, v := range []any{cfg, &cfg, cfg.Redis, &cfg.Redis, cfg.MySQL, &cfg.MySQL, cfg.RabbitMQ, &cfg.RabbitMQ, struct{ Config gateway.Config }{cfg}} {
		texts = append(texts, fmt.Sprint(v), fmt.Sprintf("%v %+v %#v %s", v, v, v, v))
	}
	for _, text := range texts {
		noSecret(t, text)
		require.NotEmpty(t, text)
	}
	require.Equal(t, "redis r:1, mysql m:1/messages, rabbitmq q:1", cfg.String())
}

func TestNilOptionValuesMeanTheDefault(t *testing.T) {
	t.Parallel()
	b := embeddedBackend(t)
	c := b.open(t, gateway.WithLogger(nil), gateway.WithMeterProvider(nil), gateway.WithRedis(nil), gateway.WithMySQL(nil))
	_, err := c.SendReliable(within(t, 10*time.Second), user(), 1)
	require.NoError(t, err)
}
