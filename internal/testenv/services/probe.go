package services

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway/internal/testenv"
)

func redisWhere(value string) string { return value }

func probeRedis(ctx context.Context, value string) (string, error) {
	// A plain exchange, as a pool would retry and log while a server starts.
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", value)
	if err != nil {
		return "", err
	}
	_ = conn.Close()
	client := redis.NewClient(&redis.Options{Addr: value, MaxRetries: -1, PoolSize: 1})
	defer func() { _ = client.Close() }()
	if err := client.Ping(ctx).Err(); err != nil {
		return "", err
	}
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_version:"); ok {
			return "Redis " + v, nil
		}
	}
	return "Redis", nil
}

func mysqlWhere(value string) string {
	cfg, err := mysql.ParseDSN(value)
	if err != nil {
		return "?"
	}
	return cfg.Addr
}

type silent struct{}

func (silent) Print(...any) {}

func probeMySQL(ctx context.Context, value string) (string, error) {
	db, err := openMySQL(value)
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	var version string
	if err := db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return "", err
	}
	if strings.Contains(version, "MariaDB") {
		return version, nil
	}
	return "MySQL " + version, nil
}

func openMySQL(value string) (*sql.DB, error) {
	cfg, err := mysql.ParseDSN(value)
	if err != nil {
		return nil, err
	}
	cfg.Logger = silent{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

func rabbitWhere(value string) string {
	uri, err := amqp.ParseURI(value)
	if err != nil {
		return "?"
	}
	return net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port))
}

func probeRabbit(ctx context.Context, value string) (string, error) {
	conn, err := amqp.DialConfig(value, amqp.Config{
		Dial: func(network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			deadline, ok := ctx.Deadline()
			if !ok {
				deadline = time.Now().Add(probeTime)
			}
			return c, c.SetDeadline(deadline)
		},
	})
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	return fmt.Sprintf("%v %v", conn.Properties["product"], conn.Properties["version"]), nil
}

// ApplicationEnv returns the MSG_* variables of an application that uses these
// services, with a database of its own.
func (sup *Supervisor) ApplicationEnv(ctx context.Context, values map[string]string) ([]string, error) {
	redisHost, redisPort, err := net.SplitHostPort(values["redis"])
	if err != nil {
		return nil, err
	}
	cfg, err := mysql.ParseDSN(values["mysql"])
	if err != nil {
		return nil, err
	}
	mysqlHost, mysqlPort, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, err
	}
	uri, err := amqp.ParseURI(values["rabbitmq"])
	if err != nil {
		return nil, err
	}
	db, err := openMySQL(values["mysql"])
	if err != nil {
		return nil, err
	}
	name := "gwtest_" + testenv.Unique()
	if _, err := db.ExecContext(ctx, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4"); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	sup.OnStop(func() { // ctx may be over by then
		ctx, cancel := context.WithTimeout(context.Background(), probeTime)
		defer cancel()
		if _, err := db.ExecContext(ctx, "DROP DATABASE "+name); err != nil {
			_, _ = fmt.Fprintf(sup.Log, "test-services: drop database %s: %v\n", name, err)
		}
		_ = db.Close()
	})
	return []string{
		"MSG_REDIS_HOST=" + redisHost, "MSG_REDIS_PORT=" + redisPort,
		"MSG_MYSQL_HOST=" + mysqlHost, "MSG_MYSQL_PORT=" + mysqlPort,
		"MSG_MYSQL_USER=" + cfg.User, "MSG_MYSQL_PASSWORD=" + cfg.Passwd, "MSG_MYSQL_DB=" + name,
		"MSG_RABBITMQ_HOST=" + uri.Host, "MSG_RABBITMQ_PORT=" + strconv.Itoa(uri.Port),
		"MSG_RABBITMQ_USERNAME=" + uri.Username, "MSG_RABBITMQ_PASSWORD=" + uri.Password,
		"MSG_RABBITMQ_VHOST=" + uri.Vhost,
	}, nil
}
