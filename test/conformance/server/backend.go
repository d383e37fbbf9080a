package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// backendConfig is what the process of a node needs to reach the backend.
type backendConfig struct {
	Dir      string // embedded, if not empty
	Redis    string
	MySQL    string // a DSN
	RabbitMQ string // a URL
	Prefix   string
}

// config is the client's configuration.
func (b backendConfig) config() (gateway.Config, error) {
	if b.Dir != "" {
		return gateway.Embedded(b.Dir), nil
	}
	dsn, err := mysql.ParseDSN(b.MySQL)
	if err != nil {
		return gateway.Config{}, err
	}
	uri, err := amqp.ParseURI(b.RabbitMQ)
	if err != nil {
		return gateway.Config{}, err
	}
	return gateway.Config{
		Redis: gateway.RedisConfig{Addrs: []string{b.Redis}, KeyPrefix: b.Prefix},
		MySQL: gateway.MySQLConfig{Addr: dsn.Addr, User: dsn.User, Password: dsn.Passwd, DB: dsn.DBName, MaxOpenConns: 8},
		RabbitMQ: gateway.RabbitMQConfig{
			Addrs: []string{net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port))},
			User:  uri.Username, Password: uri.Password, VHost: uri.Vhost, NamePrefix: b.Prefix,
		},
		ConnectTimeout: patience,
	}, nil
}

// env is the same for another program, as MSG_* variables.
func (b backendConfig) env() (map[string]string, error) {
	if b.Dir != "" {
		return map[string]string{"MSG_EMBEDDED_DIR": b.Dir}, nil
	}
	c, err := b.config()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(c.MySQL.Addr)
	return map[string]string{
		"MSG_REDIS_ADDRS": c.Redis.Addrs[0], "MSG_REDIS_KEY_PREFIX": b.Prefix,
		"MSG_MYSQL_HOST": host, "MSG_MYSQL_PORT": port, "MSG_MYSQL_USER": c.MySQL.User, "MSG_MYSQL_PASSWORD": c.MySQL.Password,
		"MSG_MYSQL_DB":       c.MySQL.DB,
		"MSG_RABBITMQ_ADDRS": c.RabbitMQ.Addrs[0], "MSG_RABBITMQ_USERNAME": c.RabbitMQ.User, "MSG_RABBITMQ_PASSWORD": c.RabbitMQ.Password,
		"MSG_RABBITMQ_VHOST": c.RabbitMQ.VHost, "MSG_RABBITMQ_NAME_PREFIX": b.Prefix,
	}, err
}

// backend is one set of backends, with names of its own.
type backend struct {
	config backendConfig
	remove func() error
}

func openBackend(ctx context.Context, kind string) (*backend, error) {
	switch kind {
	case "embedded":
		dir, err := os.MkdirTemp("", "gateway-conformance-")
		if err != nil {
			return nil, err
		}
		return &backend{config: backendConfig{Dir: dir}, remove: func() error { return os.RemoveAll(dir) }}, nil
	case "real":
		return openReal(ctx)
	default:
		return nil, fmt.Errorf("there is no backend %q", kind)
	}
}

func openReal(ctx context.Context) (*backend, error) {
	b := &backend{config: backendConfig{
		Redis: os.Getenv("GATEWAY_TEST_REDIS"), RabbitMQ: os.Getenv("GATEWAY_TEST_RABBITMQ"),
		Prefix: "gwtest-" + testenv.Unique() + ".",
	}}
	dsn, err := mysql.ParseDSN(os.Getenv("GATEWAY_TEST_MYSQL"))
	if err != nil {
		return nil, fmt.Errorf("GATEWAY_TEST_MYSQL: %w", err)
	}
	admin, err := sql.Open("mysql", dsn.FormatDSN())
	if err != nil {
		return nil, err
	}
	name := "gwtest_" + testenv.Unique()
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4"); err != nil {
		return nil, errors.Join(err, admin.Close())
	}
	dsn.DBName = name
	b.config.MySQL = dsn.FormatDSN()
	b.remove = func() error {
		// ctx may be over by now.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, err := admin.ExecContext(ctx, "DROP DATABASE "+name)
		return errors.Join(err, admin.Close(), removeKeys(ctx, b.config), removeQueues(b.config))
	}
	return b, nil
}

func removeKeys(ctx context.Context, b backendConfig) error {
	rdb := redis.NewClient(&redis.Options{Addr: b.Redis})
	keys, err := rdb.Keys(ctx, b.Prefix+"*").Result()
	if err == nil && len(keys) > 0 {
		err = rdb.Del(ctx, keys...).Err()
	}
	return errors.Join(err, rdb.Close())
}

func removeQueues(b backendConfig) error {
	names := wire.Names{RedisPrefix: b.Prefix, RabbitPrefix: b.Prefix}
	conn, err := amqp.DialConfig(b.RabbitMQ, amqp.Config{Dial: amqp.DefaultDial(10 * time.Second)})
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err == nil {
		_, err = ch.QueueDelete(names.NotificationQueue(), false, false, false)
		err = errors.Join(err, ch.ExchangeDelete(names.Exchange(), false, false))
	}
	return errors.Join(err, conn.Close())
}
