package main

import (
	"errors"
	"io"
	"maps"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/broker/rabbit"
	"github.com/message-gateway/gateway/internal/bus/redisbus"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/store/sqlstore"
	"github.com/message-gateway/gateway/node"
)

// only is the check with this name, which there must be.
func only(t *testing.T, checks []check, area, name string) check {
	t.Helper()
	for _, c := range checks {
		if c.Area == area && c.Name == name {
			return c
		}
	}
	require.Fail(t, "no such check", "%s %s in %v", area, name, checks)
	return check{}
}

func diagnose(t *testing.T, environ []string, args ...string) (diagnosis, int) {
	t.Helper()
	got := execute(t, environ, "", append([]string{"doctor", "--json"}, args...)...)
	d := decode[diagnosis](t, got.stdout)
	for _, c := range d.Checks {
		require.NotEmpty(t, c.Found, "%v", c)
		require.Equal(t, c.Level == levelOK, c.ToDo == "", "what is not ok says what to do: %v", c)
	}
	require.Equal(t, d.OK, d.Failures == 0)
	return d, got.code
}

func TestDoctorOnRealServices(t *testing.T) {
	t.Parallel()
	environ := realEnvironment(t)
	d, code := diagnose(t, environ)
	require.Equal(t, exitFailure, code)
	require.Equal(t, levelFailure, only(t, d.Checks, areaMySQL, "schema").Level)
	require.Contains(t, only(t, d.Checks, areaMySQL, "schema").ToDo, "gatewayd migrate")
	require.Equal(t, levelUnknown, only(t, d.Checks, areaMySQL, "rights").Level)

	require.Equal(t, exitOK, execute(t, environ, "", "migrate").code)
	d, code = diagnose(t, environ)
	require.Equal(t, exitOK, code, "%v", d.Checks)
	require.True(t, d.OK)
	for _, area := range []string{areaRedis, areaMySQL, areaRabbit} {
		require.Equal(t, levelOK, only(t, d.Checks, area, "reachable").Level)
		require.Equal(t, levelOK, only(t, d.Checks, area, "rights").Level)
	}
	for _, area := range []string{areaRedis, areaMySQL} {
		require.Equal(t, levelOK, only(t, d.Checks, area, "clock").Level)
	}
	require.NotZero(t, d.Warnings, "the key of the test says that it is a secret")
	_, code = diagnose(t, environ, "--strict")
	require.Equal(t, exitFailure, code)
	counts := decode[countsOutput](t, execute(t, environ, "", "status", "--json").stdout).Counts
	require.Zero(t, counts["FINISHED"], "nothing stays")

	// With a node, the queue is there.
	client := openClient(t, environ)
	serveDevices(t, client, node.Options{})
	d, _ = diagnose(t, environ)
	require.Contains(t, only(t, d.Checks, areaRabbit, "queue").Found, "1 consumers")
	require.NotContains(t, only(t, d.Checks, areaRabbit, "exchange").Found, "does not exist")
}

// quiet accepts connections and says nothing.
func quiet(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port
}

// Each thing that can be wrong with a service: doctor names the service, says
// what to do, still looks at the others, and shows no secret.
func TestDoctorNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	environ := realEnvironment(t)
	require.Equal(t, exitOK, execute(t, environ, "", "migrate").code)
	hang := quiet(t)
	for name, test := range map[string]struct {
		change      []string
		area, check string
		level       level
		todo        string
	}{
		"redis down":           {[]string{"MSG_REDIS_PORT=1"}, areaRedis, "reachable", levelFailure, "start Redis"},
		"redis hangs":          {[]string{"MSG_REDIS_PORT=" + hang}, areaRedis, "reachable", levelFailure, "firewalls"},
		"redis name":           {[]string{"MSG_REDIS_HOST=no-such-host.invalid"}, areaRedis, "reachable", levelFailure, "MSG_REDIS_HOST"},
		"redis password":       {[]string{"MSG_REDIS_USER=nobody", "MSG_REDIS_PASSWORD=" + testPassword}, areaRedis, "reachable", levelFailure, "MSG_REDIS_PASSWORD"},
		"redis is no cluster":  {[]string{"MSG_REDIS_CLUSTER=true"}, areaRedis, "reachable", levelFailure, "MSG_REDIS_CLUSTER"},
		"mysql down":           {[]string{"MSG_MYSQL_PORT=1"}, areaMySQL, "reachable", levelFailure, "start MySQL"},
		"mysql hangs":          {[]string{"MSG_MYSQL_PORT=" + hang}, areaMySQL, "reachable", levelFailure, "firewalls"},
		"mysql password":       {[]string{"MSG_MYSQL_USER=nobody", "MSG_MYSQL_PASSWORD=" + testPassword}, areaMySQL, "reachable", levelFailure, "MSG_MYSQL_PASSWORD"},
		"mysql database":       {[]string{"MSG_MYSQL_DB=gw_missing"}, areaMySQL, "reachable", levelFailure, "CREATE DATABASE `gw_missing`"},
		"mysql small packets":  {[]string{"MSG_MAX_PAYLOAD=1073741824"}, areaMySQL, "packet size", levelFailure, "max_allowed_packet"},
		"rabbitmq down":        {[]string{"MSG_RABBITMQ_PORT=1"}, areaRabbit, "reachable", levelFailure, "start RabbitMQ"},
		"rabbitmq hangs":       {[]string{"MSG_RABBITMQ_PORT=" + hang}, areaRabbit, "reachable", levelFailure, "firewalls"},
		"rabbitmq password":    {[]string{"MSG_RABBITMQ_USERNAME=nobody", "MSG_RABBITMQ_PASSWORD=" + testPassword}, areaRabbit, "reachable", levelFailure, "MSG_RABBITMQ_PASSWORD"},
		"rabbitmq vhost":       {[]string{"MSG_RABBITMQ_VHOST=gw_missing"}, areaRabbit, "reachable", levelFailure, "add_vhost gw_missing"},
		"rabbitmq without TLS": {[]string{"MSG_RABBITMQ_TLS=true"}, areaRabbit, "reachable", levelFailure, "MSG_RABBITMQ_TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, code := diagnose(t, append(environ[:len(environ):len(environ)], test.change...), "--timeout", "2s")
			require.Equal(t, exitFailure, code)
			got := only(t, d.Checks, test.area, test.check)
			require.Equal(t, test.level, got.Level)
			require.Contains(t, got.ToDo, test.todo, "%v", got)
			for _, area := range []string{areaRedis, areaMySQL, areaRabbit} {
				if area != test.area {
					require.Equal(t, levelOK, only(t, d.Checks, area, "reachable").Level, "the others are looked at")
				}
			}
		})
	}
}

// Mistakes in the configuration are findings like others, for people, too.
func TestDoctorOnABadConfiguration(t *testing.T) {
	t.Parallel()
	got := execute(t, []string{"MSG_MYSQL_PASSWORD=" + testPassword, "MSG_ACCESS_KEY=short"}, "", "doctor")
	require.Equal(t, exitFailure, got.code)
	for _, text := range []string{"FAIL MSG_REDIS_HOST: is required", "FAIL MSG_ACCESS_KEY: must have at least 32 bytes", "-> mend the configuration first"} {
		require.Contains(t, got.stdout, text)
	}
	d, _ := diagnose(t, []string{"MSG_EMBEDDED_DIR=" + t.TempDir()})
	require.Contains(t, only(t, d.Checks, areaConfig, "MSG_ACCESS_KEY").ToDo, "openssl rand -hex 32")
	require.Equal(t, levelOK, only(t, d.Checks, "embedded", "folder").Level)
}

func TestKeysThatCanBeGuessed(t *testing.T) {
	t.Parallel()
	for key, weak := range map[string]bool{
		"change-me-to-a-secret-of-32-bytes-or-more":   true,
		strings.Repeat("ab", 20):                      true,
		"f3b1c9d27e8a4605b1d7c2e9f8a36470d5c1b2e3":    false,
		"q7vK2mZ9xW4bT8nR1cY6hJ3sL5dF0gPa":            false,
		"MyPassWord-f3b1c9d27e8a4605b1d7c2e9f8a36470": true,
	} {
		require.Equal(t, weak, weakness(key) != "", key)
	}
	f := &findings{}
	examineEndpoints(f, "https://a.example.com,http://b.example.com")
	require.Equal(t, levelWarning, f.checks[0].Level)
	f = &findings{}
	examineEndpoints(f, "https://a.example.com,http://localhost:8080,http://127.0.0.1")
	require.Equal(t, levelOK, f.checks[0].Level)
}

func TestJudgements(t *testing.T) {
	t.Parallel()
	cfg := gateway.Config{Redis: gateway.RedisConfig{Addrs: []string{"r:6379"}}, MySQL: gateway.MySQLConfig{Addr: "m:3306", DB: "d"}}
	cluster := cfg
	cluster.Redis.Cluster = true
	changed := func(base map[string]string, pairs ...string) map[string]string {
		m := maps.Clone(base)
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	info := map[string]string{"redis_version": "7.2.4", "role": "master", "connected_clients": "10"}
	settings := map[string]string{
		"maxmemory": "0", "maxmemory-policy": "noeviction", "tcp-keepalive": "60", "maxclients": "10000",
		"client-output-buffer-limit": "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
	}
	redis := func(cfg gateway.Config, info, settings map[string]string, ahead time.Duration) []check {
		return judgeRedis(cfg, redisbus.Facts{Servers: []redisbus.ServerFacts{{
			Addr: "r:6379", Info: info, Settings: settings, SettingsErr: errors.New("refused"), Ahead: ahead, RoundTrip: time.Millisecond,
		}}})
	}
	variables := map[string]string{
		"version": "8.4.2", "innodb_flush_log_at_trx_commit": "1", "sync_binlog": "1", "log_bin": "ON", "max_allowed_packet": "67108864",
		"transaction_isolation": "REPEATABLE-READ", "time_zone": "SYSTEM", "system_time_zone": "UTC", "read_only": "OFF",
		"max_connections": "500", "Threads_connected": "10",
	}
	schema := store.Schema{Exists: true, Versions: []int64{1}}
	mysql := func(variables map[string]string, schema store.Schema, ahead time.Duration) []check {
		return judgeMySQL(cfg, sqlstore.Facts{Variables: variables, Schema: schema, Ahead: ahead, RoundTrip: time.Millisecond})
	}
	foreign := store.Schema{Exists: true, Foreign: true, Pending: []int64{1}}
	host := rabbit.HostFacts{Addr: "q:5672", Product: "RabbitMQ", Version: "4.1.0", Cluster: "a"}
	down := rabbit.HostFacts{Addr: "p:5672", Err: io.EOF}
	other := host
	other.Cluster = "b"
	queue := rabbit.QueueFacts{Name: "queue", Exists: true, Consumers: 1}
	mq := func(q rabbit.QueueFacts, hosts ...rabbit.HostFacts) []check {
		return judgeRabbitMQ(cfg, rabbit.Facts{Hosts: hosts, Exchange: rabbit.ExchangeFacts{Name: "x", Exists: true}, Queue: q})
	}
	for _, good := range [][]check{redis(cfg, info, settings, time.Second), mysql(variables, schema, -time.Second), mq(queue, host)} {
		for _, c := range good {
			require.Equal(t, levelOK, c.Level, "%v", c)
		}
	}
	files := func(limit uint64) []check {
		f := &findings{area: areaHost}
		judgeFiles(f, limit)
		return f.checks
	}
	for _, test := range []struct {
		checks     []check
		area, name string
		level      level
	}{
		{redis(cfg, changed(info, "redis_version", "5.0.7"), settings, 0), areaRedis, "version", levelWarning},
		{redis(cfg, changed(info, "redis_version", ""), settings, 0), areaRedis, "version", levelUnknown},
		{redis(cluster, changed(info, "redis_version", "6.2.1"), settings, 0), areaRedis, "version", levelFailure},
		{redis(cfg, changed(info, "cluster_enabled", "1"), settings, 0), areaRedis, "cluster", levelFailure},
		{redis(cfg, changed(info, "role", "slave"), settings, 0), areaRedis, "role", levelFailure},
		{redis(cfg, info, changed(settings, "maxmemory-policy", "allkeys-lru", "maxmemory", "1000"), 0), areaRedis, "eviction", levelFailure},
		{redis(cfg, info, changed(settings, "maxmemory-policy", "allkeys-lru"), 0), areaRedis, "eviction", levelWarning},
		{redis(cfg, info, changed(settings, "maxmemory-policy", "volatile-lru"), 0), areaRedis, "eviction", levelOK},
		{redis(cfg, info, changed(settings, "tcp-keepalive", "0"), 0), areaRedis, "keep-alive", levelWarning},
		{redis(cfg, info, changed(settings, "tcp-keepalive", "300"), 0), areaRedis, "keep-alive", levelWarning},
		{redis(cfg, info, changed(settings, "client-output-buffer-limit", "pubsub 0 0 0"), 0), areaRedis, "subscribers", levelWarning},
		{redis(cfg, info, changed(settings, "client-output-buffer-limit", "pubsub 1000 0 0"), 0), areaRedis, "subscribers", levelWarning},
		{redis(cfg, info, changed(settings, "client-output-buffer-limit", "?"), 0), areaRedis, "subscribers", levelUnknown},
		{redis(cfg, info, nil, 0), areaRedis, "settings", levelUnknown},
		{redis(cfg, info, changed(settings, "maxclients", "11"), 0), areaRedis, "clients", levelWarning},
		{redis(cfg, info, settings, -10*time.Second), areaRedis, "clock", levelWarning},
		{redis(cfg, info, settings, 10*time.Minute), areaRedis, "clock", levelFailure},
		{judgeRedis(cfg, redisbus.Facts{UseErr: errors.New("NOPERM")}), areaRedis, "rights", levelFailure},
		{mysql(changed(variables, "version", "5.7.44"), schema, 0), areaMySQL, "version", levelWarning},
		{mysql(changed(variables, "version", "10.3.1-MariaDB"), schema, 0), areaMySQL, "version", levelWarning},
		{mysql(changed(variables, "read_only", "ON"), schema, 0), areaMySQL, "role", levelFailure},
		{mysql(changed(variables, "innodb_flush_log_at_trx_commit", "2"), schema, 0), areaMySQL, "durability", levelWarning},
		{mysql(changed(variables, "sync_binlog", "0"), schema, 0), areaMySQL, "binary log", levelWarning},
		{mysql(changed(variables, "sync_binlog", "0", "log_bin", "OFF"), schema, 0), areaMySQL, "binary log", levelOK},
		{mysql(changed(variables, "max_allowed_packet", "1048576"), schema, 0), areaMySQL, "packet size", levelFailure},
		{mysql(changed(variables, "transaction_isolation", "SERIALIZABLE"), schema, 0), areaMySQL, "isolation", levelWarning},
		{mysql(changed(variables, "transaction_isolation", "READ-UNCOMMITTED"), schema, 0), areaMySQL, "isolation", levelWarning},
		{mysql(changed(variables, "Threads_connected", "490"), schema, 0), areaMySQL, "connections", levelWarning},
		{mysql(changed(variables, "time_zone", "+02:00"), schema, 0), areaMySQL, "time zone", levelOK},
		{mysql(changed(variables, "time_zone", "+02:00"), foreign, 0), areaMySQL, "time zone", levelWarning},
		{mysql(variables, schema, 5*time.Minute), areaMySQL, "clock", levelFailure},
		{mysql(variables, foreign, 0), areaMySQL, "schema", levelOK},
		{mysql(variables, store.Schema{Exists: true, MissingColumns: []string{"nonce"}}, 0), areaMySQL, "schema", levelFailure},
		{mysql(variables, store.Schema{Exists: true, MissingIndexes: []string{"target_user_id,status,seq"}}, 0), areaMySQL, "schema", levelWarning},
		{mysql(variables, store.Schema{Exists: true, Versions: []int64{1}, Pending: []int64{2}}, 0), areaMySQL, "schema", levelWarning},
		{mysql(variables, store.Schema{Exists: true, Versions: []int64{1}, IgnoringCase: []string{"id"}}, 0), areaMySQL, "ids", levelWarning},
		{mq(queue, down, host), areaRabbit, "reachable", levelWarning},
		{mq(queue, down, down), areaRabbit, "reachable", levelFailure},
		{mq(queue, host, other), areaRabbit, "cluster", levelFailure},
		{mq(rabbit.QueueFacts{Exists: true, Messages: 20_000}, host), areaRabbit, "queue", levelWarning},
		{mq(rabbit.QueueFacts{Exists: true, Messages: 20_000, Consumers: 2}, host), areaRabbit, "queue", levelWarning},
		{mq(rabbit.QueueFacts{Exists: true, Differ: errors.New("inequivalent")}, host), areaRabbit, "queue properties", levelWarning},
		{judgeRabbitMQ(cfg, rabbit.Facts{Err: errors.New("bad")}), areaRabbit, "configuration", levelFailure},
		{files(1024), areaHost, "open files", levelWarning},
		{files(0), areaHost, "open files", levelUnknown},
		{files(1 << 20), areaHost, "open files", levelOK},
	} {
		require.Equal(t, test.level, only(t, test.checks, test.area, test.name).Level, "%s %s", test.area, test.name)
	}
}
