package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/broker/rabbit"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/bus/redisbus"
	"github.com/message-gateway/gateway/internal/embedded"
	"github.com/message-gateway/gateway/internal/servers"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/store/sqlstore"
	"github.com/message-gateway/gateway/internal/wire"
)

// backends are the open connections of one client.
type backends struct {
	bus        bus.Bus
	store      store.Store
	broker     broker.Broker
	names      wire.Names
	accessKeys []string

	busName, storeName, brokerName string
	// release ends what the backends share with other clients.
	release func() error
}

func openBackends(ctx context.Context, cfg Config, s *settings) (*backends, error) {
	if cfg.EmbeddedDir != "" {
		return openEmbedded(ctx, cfg, s)
	}
	b := &backends{
		names:      wire.Names{RedisPrefix: cfg.Redis.KeyPrefix, RabbitPrefix: cfg.RabbitMQ.NamePrefix},
		busName:    "redis at " + strings.Join(cfg.Redis.Addrs, ","),
		storeName:  "mysql at " + cfg.MySQL.Addr,
		brokerName: "rabbitmq at " + strings.Join(cfg.RabbitMQ.Addrs, ","),
		release:    func() error { return nil },
	}
	if s.redis != nil {
		b.busName = "redis (handed over)"
	}
	if s.db != nil {
		b.storeName = "mysql (handed over)"
	}
	for _, key := range []string{cfg.AccessKey, cfg.SecondaryAccessKey} {
		if key != "" {
			b.accessKeys = append(b.accessKeys, key)
		}
	}
	// All three at once: one that hangs must not hide that another is down too.
	// What was not opened is set to nil: the interface would hold a nil pointer.
	var wg sync.WaitGroup
	var errBus, errStore, errBroker error
	wg.Go(func() {
		if b.bus, errBus = openRedis(ctx, cfg, s, b.names); errBus != nil {
			b.bus, errBus = nil, fmt.Errorf("%s: %w", b.busName, errBus)
		}
	})
	wg.Go(func() {
		if b.store, errStore = openMySQL(ctx, cfg, s); errStore != nil {
			b.store, errStore = nil, fmt.Errorf("%s: %w", b.storeName, errStore)
		}
	})
	wg.Go(func() {
		if b.broker, errBroker = openRabbitMQ(ctx, cfg, s, b.names); errBroker != nil {
			b.broker, errBroker = nil, fmt.Errorf("%s: %w", b.brokerName, errBroker)
		}
	})
	wg.Wait()
	if err := errors.Join(errBus, errStore, errBroker); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func openRedis(ctx context.Context, cfg Config, s *settings, names wire.Names) (bus.Bus, error) {
	if s.redis != nil {
		return redisbus.FromClient(ctx, s.redis, names, s.logger)
	}
	o := servers.Redis(cfg.Redis).Options(s.logger)
	o.Names = names
	return redisbus.Open(ctx, o)
}

func openMySQL(ctx context.Context, cfg Config, s *settings) (store.Store, error) {
	if s.db != nil {
		return sqlstore.FromMySQL(ctx, s.db)
	}
	return sqlstore.OpenMySQL(ctx, servers.MySQL(cfg.MySQL).Options())
}

func openRabbitMQ(ctx context.Context, cfg Config, s *settings, names wire.Names) (broker.Broker, error) {
	o := servers.RabbitMQ(cfg.RabbitMQ).Options(s.logger)
	o.Names = names
	return rabbit.Open(ctx, o)
}

func openEmbedded(ctx context.Context, cfg Config, s *settings) (*backends, error) {
	dir := cfg.EmbeddedDir
	if dir == temporaryDir {
		dir = ""
	}
	e, err := embedded.Open(ctx, dir, s.logger)
	if err != nil {
		return nil, fmt.Errorf("embedded backend: %w", err)
	}
	key := cfg.AccessKey
	if key == "" {
		var random [32]byte
		_, _ = rand.Read(random[:]) // never fails, see crypto/rand
		key = hex.EncodeToString(random[:])
	}
	keys := []string{key}
	if cfg.SecondaryAccessKey != "" {
		keys = append(keys, cfg.SecondaryAccessKey)
	}
	return &backends{
		bus: e.Bus, store: e.Store, broker: e.Broker, accessKeys: keys, release: e.Release,
		busName: "embedded bus", storeName: "sqlite in " + e.Dir, brokerName: "embedded broker",
	}, nil
}

func (b *backends) close() error {
	var errs []error
	if b.broker != nil {
		errs = append(errs, b.broker.Close())
	}
	if b.bus != nil {
		errs = append(errs, b.bus.Close())
	}
	if b.store != nil {
		errs = append(errs, b.store.Close())
	}
	return errors.Join(append(errs, b.release())...)
}
