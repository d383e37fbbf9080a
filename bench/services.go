package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/wire"
)

// bench is the services, and what this run made on them.
type bench struct {
	opts     options
	redis    string
	mysql    *mysql.Config
	rabbit   string
	nats     string // empty: no server listens
	admin    *sql.DB
	installs []*install
	rdb      *redis.Client
}

func openBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{opts: o, redis: os.Getenv("GATEWAY_TEST_REDIS"), rabbit: os.Getenv("GATEWAY_TEST_RABBITMQ")}
	dsn := os.Getenv("GATEWAY_TEST_MYSQL")
	if b.redis == "" || b.rabbit == "" || dsn == "" {
		return nil, errors.New("GATEWAY_TEST_REDIS, GATEWAY_TEST_MYSQL and GATEWAY_TEST_RABBITMQ must name services; `make bench` sets them")
	}
	var err error
	if b.mysql, err = mysql.ParseDSN(dsn); err != nil {
		return nil, fmt.Errorf("GATEWAY_TEST_MYSQL: %w", err)
	}
	if b.admin, err = sql.Open("mysql", b.mysql.FormatDSN()); err != nil {
		return nil, err
	}
	b.rdb = redis.NewClient(&redis.Options{Addr: b.redis})
	if err := errors.Join(b.admin.PingContext(ctx), b.rdb.Ping(ctx).Err()); err != nil {
		return nil, err
	}
	b.nats = natsAddress()
	return b, nil
}

// natsAddress is NATS_URL, or the usual port of this machine if a server
// listens there.
func natsAddress() string {
	url := os.Getenv("NATS_URL")
	if url == "" {
		url = nats.DefaultURL
	}
	c, err := nats.Connect(url, nats.Timeout(time.Second))
	if err != nil {
		return ""
	}
	c.Close()
	return url
}

// close removes everything that was made.
func (b *bench) close() {
	for _, in := range b.installs {
		in.remove(b)
	}
	_ = b.rdb.Close()
	_ = b.admin.Close()
}

// settings are those that a figure depends on.
func (b *bench) settings(ctx context.Context) map[string]string {
	s := map[string]string{
		"sqlite": "journal_mode=WAL, synchronous=FULL, both sides", "nats": b.nats, "rabbitmq": "version unknown",
		"files": fmt.Sprintf("%d open files at most in each process", raiseFileLimit()),
	}
	if b.nats == "" {
		s["nats"] = "no server listens; its lines are left out"
	}
	for name, query := range map[string]string{
		"mysql": "SELECT VERSION()", "innodb_flush_log_at_trx_commit": "SELECT @@innodb_flush_log_at_trx_commit",
		"sync_binlog": "SELECT CONCAT(@@sync_binlog, IF(@@log_bin, '', ' (no binary log)'))",
	} {
		var v string
		if err := b.admin.QueryRowContext(ctx, query).Scan(&v); err == nil {
			s[name] = v
		}
	}
	if info, err := b.rdb.InfoMap(ctx, "server").Result(); err == nil {
		s["redis"] = info["Server"]["redis_version"]
	}
	if c, err := amqp.Dial(b.rabbit); err == nil {
		if v, ok := c.Properties["version"].(string); ok {
			s["rabbitmq"] = v
		}
		_ = c.Close()
	}
	return s
}

// install is an installation of the gateway with names of its own: a database,
// a prefix on Redis, one on RabbitMQ.
type install struct {
	Config gateway.Config
	// Prefix starts every name on Redis.
	Prefix string
	names  wire.Names
	db     *sql.DB
}

// newInstall makes an installation; it is removed when the run ends.
func (b *bench) newInstall(ctx context.Context) (*install, error) {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	id := hex.EncodeToString(random[:])
	in := &install{Prefix: "gwbench_" + id + ":"}
	in.names = wire.Names{RedisPrefix: in.Prefix, RabbitPrefix: "gwbench_" + id + "."}
	database := "gwbench_" + id
	if _, err := b.admin.ExecContext(ctx, "CREATE DATABASE "+database+" CHARACTER SET utf8mb4"); err != nil {
		return nil, err
	}
	b.installs = append(b.installs, in)
	uri, err := amqp.ParseURI(b.rabbit)
	if err != nil {
		return nil, err
	}
	in.Config = gateway.Config{
		Redis: gateway.RedisConfig{Addrs: []string{b.redis}, KeyPrefix: in.Prefix},
		MySQL: gateway.MySQLConfig{Addr: b.mysql.Addr, User: b.mysql.User, Password: b.mysql.Passwd, DB: database},
		RabbitMQ: gateway.RabbitMQConfig{
			Addrs: []string{net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port))}, User: uri.Username, Password: uri.Password,
			VHost: uri.Vhost, NamePrefix: in.names.RabbitPrefix,
		},
		AccessKey: "gwbench-key-" + strings.Repeat(id, 4),
	}
	if in.db, err = in.openDB(32); err != nil {
		return nil, err
	}
	client, err := gateway.New(ctx, in.Config)
	if err != nil {
		return nil, err
	}
	return in, errors.Join(client.Migrate(ctx), client.Close())
}

// openDB is a plain pool with the settings that the library's own has.
func (in *install) openDB(conns int) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr = "tcp", in.Config.MySQL.Addr
	cfg.User, cfg.Passwd, cfg.DBName = in.Config.MySQL.User, in.Config.MySQL.Password, in.Config.MySQL.DB
	cfg.InterpolateParams = true
	cfg.Params = map[string]string{"time_zone": "'+00:00'"}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// empty removes all rows, so that no side works on the other's.
func (in *install) empty(ctx context.Context) error {
	_, err := in.db.ExecContext(ctx, "TRUNCATE TABLE push_messages")
	return err
}

func (in *install) remove(b *bench) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	if in.db != nil {
		errs = append(errs, in.db.Close())
		_, err := b.admin.ExecContext(ctx, "DROP DATABASE "+in.Config.MySQL.DB)
		errs = append(errs, err)
	}
	errs = append(errs, b.unlink(ctx, in.Prefix), b.deleteTopology(in.names))
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, "bench: left behind:", err)
	}
}

// unlink deletes the keys under a prefix.
func (b *bench) unlink(ctx context.Context, prefix string) error {
	keys := b.rdb.Scan(ctx, 0, prefix+"*", 1000).Iterator()
	batch := make([]string, 0, 1000)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := b.rdb.Unlink(ctx, batch...).Err()
		batch = batch[:0]
		return err
	}
	for keys.Next(ctx) {
		if batch = append(batch, keys.Val()); len(batch) == cap(batch) {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return errors.Join(keys.Err(), flush())
}

// deleteTopology deletes the exchange and the queue. Reply queues expire by
// themselves.
func (b *bench) deleteTopology(names wire.Names) error {
	c, err := amqp.Dial(b.rabbit)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	_, err = ch.QueueDelete(names.NotificationQueue(), false, false, false)
	return errors.Join(err, ch.ExchangeDelete(names.Exchange(), false, false))
}
