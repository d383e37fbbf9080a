// Package redisbus is the bus on Redis: a single server, one behind Sentinel,
// or a Redis Cluster.
//
// Commands use the pool of the go-redis client, except that on a single server
// what is published, and the numbers that are drawn, go over a few connections
// beside it; see pipe. Every listener has connections
// of its own beside the pool: one for all its channels on a single server, and
// on a cluster one more for each master that owns sharded channels of it.
//
// go-redis writes to a logger that is global to the process (failed dials, for
// instance). A library must not take that over: a program that wants those
// lines elsewhere calls redis.SetLogger itself. This package logs only to the
// logger it is given, and never a password.
package redisbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/wire"
)

// Options says how to reach Redis.
type Options struct {
	// Universal holds addresses, credentials, TLS and pool sizes. With a
	// MasterName it asks Sentinel; with several addresses or IsClusterMode it
	// speaks to a Redis Cluster. ReadOnly, RouteByLatency and RouteRandomly are
	// ignored: counters live on masters. It is copied.
	Universal *redis.UniversalOptions
	// Names builds the keys of the counters. Default: the wire contract's.
	Names wire.Names
	// Logger gets lost and restored connections. Default: discarded.
	Logger *slog.Logger
}

// Bus is the bus on Redis. Its methods may be called from several goroutines at
// once, and return when their ctx ends even where Redis has stopped answering.
type Bus struct {
	client  redis.UniversalClient
	cluster *redis.ClusterClient // client, if it is one
	single  *single              // or else what comes beside its pool
	owned   bool
	names   wire.Names
	log     *slog.Logger
	addrs   string // for error texts
	epochs  epochs

	closing context.Context // ends when Close begins
	stop    context.CancelFunc
	calls   sync.WaitGroup // commands under way, see call

	mu        sync.Mutex
	closed    bool
	listeners map[*listener]struct{}
}

var _ bus.Bus = (*Bus)(nil)

// Open connects to Redis and reports an error if it does not answer before ctx
// ends. Later, connections come back by themselves.
func Open(ctx context.Context, o Options) (*Bus, error) {
	if o.Universal == nil || len(o.Universal.Addrs) == 0 {
		return nil, errors.New("redis: no address")
	}
	u := *o.Universal
	u.ContextTimeoutEnabled = true // or a call would hold its connection past its ctx
	u.ReadOnly, u.RouteByLatency, u.RouteRandomly = false, false, false
	if u.MaintNotificationsConfig == nil {
		// Hand-over notices of Redis Enterprise: a connection that breaks is
		// dealt with here, and the handshake costs a command per connection.
		u.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	}
	addrs := strings.Join(u.Addrs, ",")
	if u.MasterName != "" {
		addrs = "master " + u.MasterName + " of sentinel " + addrs
	}
	client := redis.NewUniversalClient(&u)
	b, err := newBus(ctx, client, addrs, o.Names, o.Logger)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	b.owned = true
	if err := b.Ping(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// FromClient uses a client that was handed over, and does not close it. Hooks
// are added to it; they stay, and do nothing for the commands of others. For a
// cluster, ctx bounds the look-up of its nodes. A *redis.Ring is refused: its
// shards would each count the subscribers of a part of the channels only.
//
// Without ContextTimeoutEnabled in its options, calls still return when their
// ctx ends, but their connections stay busy for up to ReadTimeout.
func FromClient(ctx context.Context, client redis.UniversalClient, names wire.Names, logger *slog.Logger) (*Bus, error) {
	switch c := client.(type) {
	case *redis.Client:
		return newBus(ctx, client, c.Options().Addr, names, logger)
	case *redis.ClusterClient:
		return newBus(ctx, client, strings.Join(c.Options().Addrs, ","), names, logger)
	default:
		return nil, fmt.Errorf("redis: a client of type %T cannot carry the bus", client)
	}
}

func newBus(ctx context.Context, client redis.UniversalClient, addrs string, names wire.Names, logger *slog.Logger) (*Bus, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	b := &Bus{
		client: client, addrs: addrs, names: names, log: logger,
		listeners: make(map[*listener]struct{}),
	}
	b.closing, b.stop = context.WithCancel(context.Background())
	switch c := client.(type) {
	case *redis.Client:
		b.single = newSingle(b, c)
		c.AddHook(b.single.hook)
	case *redis.ClusterClient:
		b.cluster = c
		if err := b.hookCluster(ctx, c); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// hookCluster adds the hook to the nodes the client knows and to those it will
// meet. A node can come in both ways while this runs; it gets one hook.
func (b *Bus) hookCluster(ctx context.Context, c *redis.ClusterClient) error {
	var mu sync.Mutex
	hooked := make(map[*redis.Client]struct{})
	add := func(node *redis.Client) {
		mu.Lock()
		defer mu.Unlock()
		if hooked != nil {
			if _, ok := hooked[node]; ok {
				return
			}
			hooked[node] = struct{}{}
		}
		node.AddHook(newNodeHook(b, node))
	}
	c.OnNewNode(add)
	err := c.ForEachShard(ctx, func(_ context.Context, node *redis.Client) error {
		add(node)
		return nil
	})
	mu.Lock()
	hooked = nil // every node from now on is new, and announced once
	mu.Unlock()
	return b.wrap(ctx, "look up the nodes of the cluster", err)
}

// Epoch changes when the counters may have gone back; see epochs.
func (b *Bus) Epoch() uint64 { return b.epochs.current() }

// Ping asks Redis for a sign of life: on a cluster, every master.
func (b *Bus) Ping(ctx context.Context) error {
	_, err := call(ctx, b, "ping", func(ctx context.Context) (struct{}, error) {
		if b.cluster == nil {
			return struct{}{}, b.client.Ping(ctx).Err()
		}
		return struct{}{}, b.cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
			return node.Ping(ctx).Err()
		})
	})
	return err
}

// Close ends the listeners, fails what is under way with bus.ErrClosed, and
// closes the client unless it was handed over. It is safe to call twice.
func (b *Bus) Close() error {
	b.mu.Lock()
	first := !b.closed
	b.closed = true
	open := make([]*listener, 0, len(b.listeners))
	for l := range b.listeners {
		open = append(open, l)
	}
	b.mu.Unlock()
	b.stop()
	if b.single != nil {
		b.single.close()
	}
	for _, l := range open {
		_ = l.Close() // never fails
	}
	if !first || !b.owned {
		return nil
	}
	err := b.client.Close()
	b.calls.Wait() // soon: their connections are closed
	return err
}

// call runs fn and returns when it does, or ctx or the bus ends. go-redis ends a
// command at ctx's deadline, but does not notice that ctx was cancelled while
// it waits for an answer; so fn runs beside the caller, and may outlive it by
// the client's timeouts.
func call[T any](ctx context.Context, b *Bus, op string, fn func(context.Context) (T, error)) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	b.mu.Lock() // so that no call starts once Close waits for them
	if b.closed {
		b.mu.Unlock()
		return zero, bus.ErrClosed
	}
	b.calls.Go(func() {
		v, err := fn(ctx)
		done <- result{v, err}
	})
	b.mu.Unlock()
	select {
	case r := <-done:
		return r.value, b.wrap(ctx, op, r.err)
	case <-ctx.Done():
		return zero, b.wrap(ctx, op, ctx.Err())
	case <-b.closing.Done():
		return zero, bus.ErrClosed
	}
}

// wrap says where and what failed. A timeout of the socket that ctx's deadline
// caused also is that ctx's error.
func (b *Bus) wrap(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, redis.ErrClosed) && b.closing.Err() != nil {
		return bus.ErrClosed
	}
	cause := ctx.Err()
	var timeout interface{ Timeout() bool }
	if deadline, ok := ctx.Deadline(); cause == nil && ok && errors.As(err, &timeout) && timeout.Timeout() &&
		time.Until(deadline) < 5*time.Millisecond {
		cause = context.DeadlineExceeded // the socket's timer was first
	}
	if cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("redis %s: %s: %w (%w)", b.addrs, op, cause, err)
	}
	return fmt.Errorf("redis %s: %s: %w", b.addrs, op, err)
}
