// Package servers turns the settings of a configuration into what the
// packages of the three backends are opened with, so that whoever opens one
// backend alone reaches the same server in the same way as a client does.
//
// The structs have the fields of those in the root package, which internal
// packages cannot import: one converts to the other.
package servers

import (
	"crypto/tls"
	"log/slog"
	"net/url"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway/internal/broker/rabbit"
	"github.com/message-gateway/gateway/internal/bus/redisbus"
	"github.com/message-gateway/gateway/internal/store/sqlstore"
	"github.com/message-gateway/gateway/internal/wire"
)

// Redis is gateway.RedisConfig.
type Redis struct {
	Addrs                          []string
	SentinelMaster                 string
	SentinelUser, SentinelPassword string
	Cluster                        bool
	User, Password                 string
	DB                             int
	TLS                            *tls.Config
	PoolSize                       int
	KeyPrefix                      string
}

// Options are for redisbus.Open.
func (r Redis) Options(log *slog.Logger) redisbus.Options {
	return redisbus.Options{
		Universal: &redis.UniversalOptions{
			Addrs: r.Addrs, MasterName: r.SentinelMaster,
			SentinelUsername: r.SentinelUser, SentinelPassword: r.SentinelPassword,
			IsClusterMode: r.Cluster, Username: r.User, Password: r.Password,
			DB: r.DB, TLSConfig: r.TLS, PoolSize: r.PoolSize,
		},
		Names: wire.Names{RedisPrefix: r.KeyPrefix}, Logger: log,
	}
}

// MySQL is gateway.MySQLConfig.
type MySQL struct {
	Addr               string
	User, Password, DB string
	TLS                *tls.Config
	MaxOpenConns       int
}

// Options are for sqlstore.OpenMySQL.
func (m MySQL) Options() sqlstore.MySQLOptions {
	dsn := mysql.NewConfig()
	dsn.Net, dsn.Addr = "tcp", m.Addr
	dsn.User, dsn.Passwd, dsn.DBName = m.User, m.Password, m.DB
	dsn.TLS = m.TLS
	return sqlstore.MySQLOptions{Config: dsn, MaxOpenConns: m.MaxOpenConns, MaxIdleConns: m.MaxOpenConns}
}

// RabbitMQ is gateway.RabbitMQConfig.
type RabbitMQ struct {
	Addrs          []string
	User, Password string
	VHost          string
	TLS            *tls.Config
	NamePrefix     string
}

// Options are for rabbit.Open.
func (r RabbitMQ) Options(log *slog.Logger) rabbit.Options {
	scheme := "amqp"
	if r.TLS != nil {
		scheme = "amqps"
	}
	urls := make([]string, len(r.Addrs))
	for i, addr := range r.Addrs {
		u := url.URL{
			Scheme: scheme, Host: addr, User: url.UserPassword(r.User, r.Password),
			Path: "/" + r.VHost, RawPath: "/" + url.PathEscape(r.VHost),
		}
		urls[i] = u.String()
	}
	return rabbit.Options{URLs: urls, TLS: r.TLS, Names: wire.Names{RabbitPrefix: r.NamePrefix}, Logger: log}
}
