package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"reflect"
	"strconv"
	"time"

	"github.com/caarlos0/env/v11"
)

// environment is the MSG_* variables. The first three groups are the wire
// contract's, the others are ours; docs/configuration.md has the one table.
type environment struct {
	RedisUser     string `env:"MSG_REDIS_USER"`
	RedisPassword string `env:"MSG_REDIS_PASSWORD"`
	RedisHost     string `env:"MSG_REDIS_HOST"`
	RedisPort     int    `env:"MSG_REDIS_PORT" envDefault:"6379"`
	RedisDB       int    `env:"MSG_REDIS_DB"`

	MySQLHost     string `env:"MSG_MYSQL_HOST"`
	MySQLPort     int    `env:"MSG_MYSQL_PORT" envDefault:"3306"`
	MySQLUser     string `env:"MSG_MYSQL_USER"`
	MySQLPassword string `env:"MSG_MYSQL_PASSWORD"`
	MySQLDB       string `env:"MSG_MYSQL_DB"`

	RabbitMQHost     string `env:"MSG_RABBITMQ_HOST"`
	RabbitMQPort     int    `env:"MSG_RABBITMQ_PORT" envDefault:"5672"`
	RabbitMQUser     string `env:"MSG_RABBITMQ_USERNAME"`
	RabbitMQPassword string `env:"MSG_RABBITMQ_PASSWORD"`
	RabbitMQVHost    string `env:"MSG_RABBITMQ_VHOST" envDefault:"/"`

	RedisAddrs            []string `env:"MSG_REDIS_ADDRS"`
	RedisCluster          bool     `env:"MSG_REDIS_CLUSTER"`
	RedisSentinelMaster   string   `env:"MSG_REDIS_SENTINEL_MASTER"`
	RedisSentinelUser     string   `env:"MSG_REDIS_SENTINEL_USER"`
	RedisSentinelPassword string   `env:"MSG_REDIS_SENTINEL_PASSWORD"`
	RedisTLS              bool     `env:"MSG_REDIS_TLS"`
	RedisPoolSize         int      `env:"MSG_REDIS_POOL_SIZE"`
	RedisKeyPrefix        string   `env:"MSG_REDIS_KEY_PREFIX"`
	MySQLTLS              bool     `env:"MSG_MYSQL_TLS"`
	MySQLMaxOpenConns     int      `env:"MSG_MYSQL_MAX_OPEN_CONNS"`
	RabbitMQAddrs         []string `env:"MSG_RABBITMQ_ADDRS"`
	RabbitMQTLS           bool     `env:"MSG_RABBITMQ_TLS"`
	RabbitMQNamePrefix    string   `env:"MSG_RABBITMQ_NAME_PREFIX"`

	TLSCA   string `env:"MSG_TLS_CA"`
	TLSCert string `env:"MSG_TLS_CERT"`
	TLSKey  string `env:"MSG_TLS_KEY"`

	AccessKey          string        `env:"MSG_ACCESS_KEY"`
	SecondaryAccessKey string        `env:"MSG_ACCESS_KEY_SECONDARY"`
	Endpoints          []string      `env:"MSG_ENDPOINT"`
	Hub                string        `env:"MSG_HUB"`
	MaxPayload         int           `env:"MSG_MAX_PAYLOAD"`
	ConnectTimeout     time.Duration `env:"MSG_CONNECT_TIMEOUT"`
	DrainTimeout       time.Duration `env:"MSG_DRAIN_TIMEOUT"`
	EmbeddedDir        string        `env:"MSG_EMBEDDED_DIR"`

	LimitHubName       int           `env:"MSG_LIMIT_HUB_NAME"`
	LimitGroupName     int           `env:"MSG_LIMIT_GROUP_NAME"`
	LimitEventName     int           `env:"MSG_LIMIT_EVENT_NAME"`
	LimitMetadataName  int           `env:"MSG_LIMIT_METADATA_NAME"`
	LimitMetadataValue int           `env:"MSG_LIMIT_METADATA_VALUE"`
	LimitMetadata      int           `env:"MSG_LIMIT_METADATA"`
	LimitMessageTTL    time.Duration `env:"MSG_LIMIT_MESSAGE_TTL"`
	LimitFilterBytes   int           `env:"MSG_LIMIT_FILTER_BYTES"`
	LimitFilterClauses int           `env:"MSG_LIMIT_FILTER_CLAUSES"`
	LimitFilterDepth   int           `env:"MSG_LIMIT_FILTER_DEPTH"`
	LimitPage          int           `env:"MSG_LIMIT_PAGE"`
}

// LoadConfig reads the MSG_* variables. Its error is a *ConfigError that names
// every missing or bad variable at once, and holds no secret.
func LoadConfig() (Config, error) { return loadConfig(&settings{}, nil) }

// LoadConfigFrom is LoadConfig with variables of a map in place of those of the
// process, for settings that come from a file or from flags. Other names than
// MSG_* are ignored; a nil map is an empty one.
func LoadConfigFrom(variables map[string]string) (Config, error) {
	if variables == nil {
		variables = map[string]string{}
	}
	return loadConfig(&settings{}, variables)
}

// loadConfig does not ask for what options of New hand over. Nil variables are
// those of the process.
func loadConfig(s *settings, variables map[string]string) (Config, error) {
	var e environment
	var v problems
	if err := env.ParseWithOptions(&e, env.Options{Environment: variables}); err != nil {
		v.parse(err)
	}
	cfg := e.config(&v)
	// What could not be parsed has its default now; do not complain twice.
	broken := map[string]bool{}
	for _, p := range v {
		broken[p.Name] = true
	}
	var invalid *ConfigError
	if errors.As(cfg.withDefaults().validate(s), &invalid) {
		for _, p := range invalid.Problems {
			p.Name = e.source(p.Name)
			v.check(p.Name, broken[p.Name], p.Problem)
		}
	}
	if err := v.err(); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// source is the variable that the addresses came from.
func (e *environment) source(name string) string {
	switch {
	case name == "MSG_REDIS_HOST" && len(e.RedisAddrs) > 0:
		return "MSG_REDIS_ADDRS"
	case name == "MSG_RABBITMQ_HOST" && len(e.RabbitMQAddrs) > 0:
		return "MSG_RABBITMQ_ADDRS"
	default:
		return name
	}
}

// FromEnv is New with the configuration of LoadConfig. The variables of a
// backend whose connection pool an option hands over are not needed.
func FromEnv(ctx context.Context, opts ...Option) (*Client, error) {
	cfg, err := loadConfig(newSettings(opts), nil)
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	return New(ctx, cfg, opts...)
}

func (e *environment) config(v *problems) Config {
	for _, port := range []struct {
		name   string
		number *int
	}{{"MSG_REDIS_PORT", &e.RedisPort}, {"MSG_MYSQL_PORT", &e.MySQLPort}, {"MSG_RABBITMQ_PORT", &e.RabbitMQPort}} {
		if *port.number < 1 || *port.number > 65535 {
			v.check(port.name, v.has(port.name), "is not between 1 and 65535")
			*port.number = 1 // do not complain twice
		}
	}
	cfg := Config{
		EmbeddedDir: e.EmbeddedDir,
		AccessKey:   e.AccessKey, SecondaryAccessKey: e.SecondaryAccessKey,
		Endpoints: e.Endpoints, Hub: e.Hub, MaxPayload: e.MaxPayload,
		ConnectTimeout: e.ConnectTimeout, DrainTimeout: e.DrainTimeout,
		Limits: Limits{
			HubName: e.LimitHubName, GroupName: e.LimitGroupName, EventName: e.LimitEventName,
			MetadataName: e.LimitMetadataName, MetadataValue: e.LimitMetadataValue, Metadata: e.LimitMetadata,
			MessageTTL:  e.LimitMessageTTL,
			FilterBytes: e.LimitFilterBytes, FilterClauses: e.LimitFilterClauses, FilterDepth: e.LimitFilterDepth,
			Page: e.LimitPage,
		},
	}
	if e.EmbeddedDir != "" {
		v.check("MSG_REDIS_HOST", e.RedisHost == "" && len(e.RedisAddrs) == 0, "excludes MSG_EMBEDDED_DIR")
		v.check("MSG_MYSQL_HOST", e.MySQLHost == "", "excludes MSG_EMBEDDED_DIR")
		v.check("MSG_RABBITMQ_HOST", e.RabbitMQHost == "" && len(e.RabbitMQAddrs) == 0, "excludes MSG_EMBEDDED_DIR")
		return cfg
	}
	tlsConfig := e.tlsConfig(v)
	cfg.Redis = RedisConfig{
		Addrs:          addresses(e.RedisAddrs, e.RedisHost, e.RedisPort),
		SentinelMaster: e.RedisSentinelMaster, SentinelUser: e.RedisSentinelUser, SentinelPassword: e.RedisSentinelPassword,
		Cluster: e.RedisCluster, User: e.RedisUser, Password: e.RedisPassword, DB: e.RedisDB,
		TLS: onlyIf(e.RedisTLS, tlsConfig), PoolSize: e.RedisPoolSize, KeyPrefix: e.RedisKeyPrefix,
	}
	cfg.MySQL = MySQLConfig{
		User: e.MySQLUser, Password: e.MySQLPassword, DB: e.MySQLDB,
		TLS: onlyIf(e.MySQLTLS, tlsConfig), MaxOpenConns: e.MySQLMaxOpenConns,
	}
	if e.MySQLHost != "" {
		cfg.MySQL.Addr = net.JoinHostPort(e.MySQLHost, strconv.Itoa(e.MySQLPort))
	}
	cfg.RabbitMQ = RabbitMQConfig{
		Addrs: addresses(e.RabbitMQAddrs, e.RabbitMQHost, e.RabbitMQPort),
		User:  e.RabbitMQUser, Password: e.RabbitMQPassword, VHost: e.RabbitMQVHost,
		TLS: onlyIf(e.RabbitMQTLS, tlsConfig), NamePrefix: e.RabbitMQNamePrefix,
	}
	return cfg
}

func (e *environment) tlsConfig(v *problems) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.TLSCA != "" {
		pem, err := os.ReadFile(e.TLSCA)
		cfg.RootCAs = x509.NewCertPool()
		switch {
		case err != nil:
			v.add("MSG_TLS_CA", err.Error())
		case !cfg.RootCAs.AppendCertsFromPEM(pem):
			v.add("MSG_TLS_CA", "holds no PEM certificate")
		}
	}
	v.check("MSG_TLS_KEY", (e.TLSCert == "") == (e.TLSKey == ""), "MSG_TLS_CERT and MSG_TLS_KEY go together")
	if e.TLSCert != "" && e.TLSKey != "" {
		cert, err := tls.LoadX509KeyPair(e.TLSCert, e.TLSKey)
		if err != nil {
			v.add("MSG_TLS_CERT", err.Error())
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg
}

// addresses prefers a list over the one host and port of the contract.
func addresses(list []string, host string, port int) []string {
	if len(list) > 0 || host == "" {
		return list
	}
	return []string{net.JoinHostPort(host, strconv.Itoa(port))}
}

func onlyIf(on bool, cfg *tls.Config) *tls.Config {
	if !on {
		return nil
	}
	return cfg.Clone()
}

// parse turns the errors of package env, which name struct fields and quote
// values, into problems that name variables.
func (p *problems) parse(err error) {
	var all env.AggregateError
	if !errors.As(err, &all) {
		p.add("MSG_*", err.Error())
		return
	}
	for _, err := range all.Errors {
		var parse env.ParseError
		if !errors.As(err, &parse) {
			p.add("MSG_*", err.Error())
			continue
		}
		field, _ := reflect.TypeFor[environment]().FieldByName(parse.Name)
		p.add(field.Tag.Get("env"), fmt.Sprintf("is no %s", kindName(parse.Type)))
	}
}

func kindName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration such as 10s"
	case t.Kind() == reflect.Bool:
		return "true or false"
	default:
		return "number"
	}
}
