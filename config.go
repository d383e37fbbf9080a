package gateway

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config says where the backends are and how this installation is set up.
// LoadConfig fills it from the environment; the zero value plus the required
// fields is a working configuration. Zero means the default in every field.
type Config struct {
	// EmbeddedDir, if not empty, selects the embedded backend: no services,
	// one process, messages in an SQLite file in this folder. The fields
	// Redis, MySQL and RabbitMQ are then not used. Use Embedded to set it.
	// Default: empty.
	EmbeddedDir string

	// Redis is where realtime messages, hints and sequence counters go.
	Redis RedisConfig
	// MySQL is where reliable messages and commands are stored.
	MySQL MySQLConfig
	// RabbitMQ carries notifications for other gateways and answers.
	RabbitMQ RabbitMQConfig

	// AccessKey signs and checks client access tokens (HMAC-SHA256 over the
	// bytes of the string, as in Azure Web PubSub). Use at least 32 bytes.
	// Clients and nodes of one installation share it. Default: none, except
	// embedded, where each client makes a random one.
	AccessKey string
	// SecondaryAccessKey is accepted as well, so that keys can be rotated.
	// Default: none.
	SecondaryAccessKey string
	// Endpoints are the public base URLs under which devices reach the nodes,
	// such as https://push.example.com. The first one stands in new tokens; a
	// node accepts tokens for any of them, and for the host that the device
	// asked for. Default: none, tokens then need WithEndpoint.
	Endpoints []string
	// Hub is the hub whose connections the three sends reach. Default: default.
	Hub string
	// MaxPayload is the largest payload in bytes, after encoding as JSON.
	// Default: 1 MiB.
	MaxPayload int
	// Limits bound names, metadata, filters and lists. Default: those of Azure
	// Web PubSub.
	Limits Limits
	// ConnectTimeout bounds New where ctx has no earlier deadline. Default: 10 s.
	ConnectTimeout time.Duration
	// DrainTimeout bounds how long Close waits for running sends. Default: 5 s.
	DrainTimeout time.Duration
}

// RedisConfig locates Redis: one server, a Sentinel group, or a Cluster.
type RedisConfig struct {
	// Addrs are host:port pairs: one server; the Sentinels if SentinelMaster
	// is set; some nodes of the cluster if Cluster is set. Required.
	Addrs []string
	// SentinelMaster is the name of the master that the Sentinels watch.
	// Default: none.
	SentinelMaster string
	// SentinelUser and SentinelPassword authenticate to the Sentinels.
	// Default: none.
	SentinelUser, SentinelPassword string
	// Cluster says that Addrs belong to a Redis Cluster. Default: false.
	Cluster bool
	// User and Password authenticate. Default: none.
	User, Password string
	// DB is the database number. Default: 0.
	DB int
	// TLS, if not nil, is used for every connection. Default: no TLS.
	TLS *tls.Config
	// PoolSize is the number of connections, per server. Beside them are up to
	// five that publish and count, on a single server, and those that receive.
	// Default: 10 per CPU.
	PoolSize int
	// KeyPrefix is put before every key and channel. SDKs of other languages
	// do not know it: set it only to separate installations without them.
	// Default: none.
	KeyPrefix string
}

// MySQLConfig locates MySQL or MariaDB.
type MySQLConfig struct {
	// Addr is host:port. Required.
	Addr string
	// User and DB are required, Password may be empty.
	User, Password, DB string
	// TLS, if not nil, is used for every connection. Default: no TLS.
	TLS *tls.Config
	// MaxOpenConns bounds the pool. Default: 32.
	MaxOpenConns int
}

// RabbitMQConfig locates RabbitMQ.
type RabbitMQConfig struct {
	// Addrs are host:port pairs of one cluster, tried in turn. Required.
	Addrs []string
	// User and Password are required.
	User, Password string
	// VHost is the virtual host. Default: /.
	VHost string
	// TLS, if not nil, is used for every connection. Default: no TLS.
	TLS *tls.Config
	// NamePrefix is put before the names of exchanges and queues. SDKs of
	// other languages do not know it. Default: none.
	NamePrefix string
}

// Defaults of Config.
const (
	DefaultHub            = "default"
	DefaultMaxPayload     = 1 << 20
	DefaultConnectTimeout = 10 * time.Second
	DefaultDrainTimeout   = 5 * time.Second
	defaultMySQLConns     = 32
)

// minAccessKey is the shortest access key: .NET's JWT library, which official
// clients use, refuses shorter ones.
const minAccessKey = 32

// temporaryDir as EmbeddedDir asks for a folder that Close removes.
const temporaryDir = "temporary:"

// Embedded is a Config without services: everything happens in this process,
// and messages are kept in an SQLite file in dir, which is created. An empty
// dir means a temporary folder that Close removes. One process at a time can
// use a folder; clients of the same process share it.
func Embedded(dir string) Config {
	if dir == "" {
		dir = temporaryDir
	}
	return Config{EmbeddedDir: dir}
}

// withDefaults returns a copy with every default filled in.
func (c Config) withDefaults() Config {
	c.Hub = or(c.Hub, DefaultHub)
	c.MaxPayload = or(c.MaxPayload, DefaultMaxPayload)
	c.Limits = c.Limits.withDefaults()
	c.ConnectTimeout = or(c.ConnectTimeout, DefaultConnectTimeout)
	c.DrainTimeout = or(c.DrainTimeout, DefaultDrainTimeout)
	c.MySQL.MaxOpenConns = or(c.MySQL.MaxOpenConns, defaultMySQLConns)
	c.RabbitMQ.VHost = or(c.RabbitMQ.VHost, "/")
	return c
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// validate reports every mistake at once, under the names of the variables
// that LoadConfig reads.
func (c Config) validate(s *settings) error {
	var v problems
	if c.EmbeddedDir == "" {
		if s.redis == nil {
			v.addresses("MSG_REDIS_HOST", c.Redis.Addrs)
			v.check("MSG_REDIS_DB", c.Redis.DB >= 0, "must not be negative")
			v.check("MSG_REDIS_DB", !c.Redis.Cluster || c.Redis.DB == 0, "must be 0 for a cluster")
			v.check("MSG_REDIS_CLUSTER", !c.Redis.Cluster || c.Redis.SentinelMaster == "", "excludes MSG_REDIS_SENTINEL_MASTER")
			v.check("MSG_REDIS_ADDRS", len(c.Redis.Addrs) < 2 || c.Redis.Cluster || c.Redis.SentinelMaster != "",
				"several addresses need MSG_REDIS_CLUSTER=true or MSG_REDIS_SENTINEL_MASTER")
			v.check("MSG_REDIS_POOL_SIZE", c.Redis.PoolSize >= 0, "must not be negative")
		}
		if s.db == nil {
			v.addresses("MSG_MYSQL_HOST", nonEmpty(c.MySQL.Addr))
			v.check("MSG_MYSQL_USER", c.MySQL.User != "", "is required")
			v.check("MSG_MYSQL_DB", c.MySQL.DB != "", "is required")
			v.check("MSG_MYSQL_MAX_OPEN_CONNS", c.MySQL.MaxOpenConns >= 0, "must not be negative")
		}
		v.addresses("MSG_RABBITMQ_HOST", c.RabbitMQ.Addrs)
		v.check("MSG_RABBITMQ_USERNAME", c.RabbitMQ.User != "", "is required")
		v.check("MSG_RABBITMQ_PASSWORD", c.RabbitMQ.Password != "", "is required")
	}
	v.check("MSG_ACCESS_KEY", c.AccessKey == "" || len(c.AccessKey) >= minAccessKey, "must have at least 32 bytes")
	v.check("MSG_ACCESS_KEY_SECONDARY", c.SecondaryAccessKey == "" || len(c.SecondaryAccessKey) >= minAccessKey, "must have at least 32 bytes")
	v.check("MSG_ACCESS_KEY", c.AccessKey != "" || c.SecondaryAccessKey == "", "is required with MSG_ACCESS_KEY_SECONDARY")
	for _, e := range c.Endpoints {
		u, err := url.Parse(e)
		v.check("MSG_ENDPOINT", err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.RawQuery == "" && u.User == nil,
			"must be an http or https URL without query, such as https://push.example.com")
	}
	c.Limits.validate(&v)
	names := c.Limits.protocol()
	v.check("MSG_HUB", v.has("MSG_LIMIT_HUB_NAME") || names.ValidHub(c.Hub), fmt.Sprintf("must start with a letter and have at most %d letters, digits and any of _`,.[]", names.Hub))
	v.check("MSG_MAX_PAYLOAD", c.MaxPayload > 0, "must not be negative")
	v.check("MSG_CONNECT_TIMEOUT", c.ConnectTimeout > 0, "must not be negative")
	v.check("MSG_DRAIN_TIMEOUT", c.DrainTimeout > 0, "must not be negative")
	return v.err()
}

// problems gathers mistakes.
type problems []ConfigProblem

func (p *problems) add(name, problem string) {
	*p = append(*p, ConfigProblem{Name: name, Problem: problem})
}

func (p *problems) has(name string) bool {
	return slices.ContainsFunc(*p, func(known ConfigProblem) bool { return known.Name == name })
}

func (p *problems) check(name string, ok bool, problem string) {
	if !ok {
		p.add(name, problem)
	}
}

func (p *problems) addresses(name string, addrs []string) {
	p.check(name, len(addrs) > 0, "is required")
	for _, addr := range addrs {
		if strings.ContainsAny(addr, "/@") {
			// Perhaps a URL with a password in it, so it is not quoted.
			p.add(name, "is a URL, or holds one of / and @; only host and port belong here")
			continue
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil || host == "" {
			p.add(name, fmt.Sprintf("%q is no host:port", addr))
			continue
		}
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			p.add(name, fmt.Sprintf("%q has no port between 1 and 65535", addr))
		}
	}
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return &ConfigError{Problems: p}
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// String describes the configuration without any password or key.
func (c Config) String() string {
	if c.EmbeddedDir == temporaryDir {
		return "embedded (temporary)"
	}
	if c.EmbeddedDir != "" {
		return "embedded in " + c.EmbeddedDir
	}
	return fmt.Sprintf("%v, %v, %v", c.Redis, c.MySQL, c.RabbitMQ)
}

// GoString is String: %#v must not print passwords either.
func (c Config) GoString() string { return c.String() }

// LogValue is String, for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String describes Redis without its passwords.
func (c RedisConfig) String() string { return "redis " + strings.Join(c.Addrs, ",") }

// GoString is String.
func (c RedisConfig) GoString() string { return c.String() }

// LogValue is String, for slog.
func (c RedisConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String describes MySQL without its password.
func (c MySQLConfig) String() string { return "mysql " + c.Addr + "/" + c.DB }

// GoString is String.
func (c MySQLConfig) GoString() string { return c.String() }

// LogValue is String, for slog.
func (c MySQLConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }

// String describes RabbitMQ without its password.
func (c RabbitMQConfig) String() string { return "rabbitmq " + strings.Join(c.Addrs, ",") + c.VHost }

// GoString is String.
func (c RabbitMQConfig) GoString() string { return c.String() }

// LogValue is String, for slog.
func (c RabbitMQConfig) LogValue() slog.Value { return slog.StringValue(c.String()) }
