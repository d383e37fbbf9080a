// Package gateway reaches the users of a backend on their devices.
//
// A service opens a [Client] and sends to a user in three ways:
//
//   - Realtime, [Client.SendRealtime]: at most once, to whoever is connected
//     now. Nothing is stored.
//   - Reliable, [Client.SendReliable]: at least once. The message is stored
//     before the call returns, and delivered until a device acknowledges it,
//     also to a user who comes back tomorrow.
//   - Command, [Client.SendCommand]: a stored request that a device answers.
//     The call waits for the answer, or takes the message id and goes on.
//
// The smallest program:
//
//	client, err := gateway.FromEnv(ctx) // MSG_* variables: Redis, MySQL, RabbitMQ
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//
//	id, err := client.SendReliable(ctx, "user_123", map[string]string{"text": "hello"})
//
// With no services at all, New with the configuration [Embedded] does the same
// in one process.
//
// The other half is package node: an http.Handler that holds the devices'
// WebSocket connections and speaks the Azure Web PubSub client protocol, so
// that its official clients connect unchanged.
//
// Which one to pick: realtime for what is worthless a second later (typing,
// positions, progress); reliable for what the user must see; command when the
// backend needs something from the device.
//
// SDKs of other languages that keep the same wire contract work on the same
// Redis, MySQL and RabbitMQ, in either direction.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/outbound"
	"github.com/message-gateway/gateway/internal/replies"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
)

// Client sends to users. All methods may be called from any number of
// goroutines at the same time. A call ends when its ctx ends, whatever is
// down; calls after Close return ErrClosed.
type Client struct {
	core     *core.Core
	backends *backends
	drain    time.Duration

	realtime *outbound.Publisher
	commits  *outbound.Committer
	hints    *outbound.Hinter
	tx       *outbound.TxWatcher
	replies  *replies.Waiters
	calls    *control.Caller

	// columns are the limits of the existing table, once they were read.
	columns atomic.Pointer[store.Limits]

	// unwatch end the reports about queues.
	unwatchMu sync.Mutex
	unwatch   []func()
	closeOnce sync.Once
	closed    chan struct{}
	closeErr  error
}

// New connects to the backends of cfg and returns a Client, or, within ctx and
// cfg.ConnectTimeout, an error that names each backend that could not be
// reached and its address. A bad configuration is a *ConfigError. Close the
// Client when done.
//
// The table push_messages must exist before the first reliable send; see
// Migrate. The embedded backend creates it by itself.
func New(ctx context.Context, cfg Config, opts ...Option) (*Client, error) {
	if ctx == nil {
		return nil, fmt.Errorf("gateway: new client: %w", ErrNilContext)
	}
	s := newSettings(opts)
	cfg = cfg.withDefaults()
	if err := cfg.validate(s); err != nil {
		return nil, fmt.Errorf("gateway: new client: %w", err)
	}
	metrics, err := telemetry.New(s.meter)
	if err != nil {
		return nil, fmt.Errorf("gateway: new client: metrics: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout)
	defer cancel()
	b, err := openBackends(ctx, cfg, s)
	if err != nil {
		return nil, fmt.Errorf("gateway: new client: %w", err)
	}
	c := &Client{backends: b, drain: cfg.DrainTimeout, closed: make(chan struct{})}
	c.core = &core.Core{
		Bus: b.bus, Store: b.store, Broker: b.broker, Names: b.names,
		BusName: b.busName, StoreName: b.storeName, BrokerName: b.brokerName,
		Log: s.logger, Metrics: metrics, Tracer: telemetry.NewTracer(s.tracer, cfg.EmbeddedDir == ""), DefaultHub: cfg.Hub,
		AccessKeys: b.accessKeys, Endpoints: cfg.Endpoints,
		MaxPayload: cfg.MaxPayload, Closed: c.closed,
		Limits: cfg.Limits.protocol(), Filter: cfg.Limits.filter(), Page: cfg.Limits.Page,
	}
	if c.replies, err = replies.Open(ctx, c.core); err != nil {
		return nil, errors.Join(fmt.Errorf("gateway: new client: %s: %w", b.brokerName, err), b.close())
	}
	c.core.Answered = c.replies.Answered
	c.calls = control.NewCaller(b.bus, b.names)
	c.realtime = outbound.NewPublisher(c.core)
	c.hints = outbound.NewHinter(c.core)
	c.commits = outbound.NewCommitter(c.core, c.hints)
	c.tx = outbound.NewTxWatcher(c.core, c.commits, c.hints)
	c.core.Watch = c.watch
	if err = c.watch(c.queues()); err != nil {
		return nil, errors.Join(fmt.Errorf("gateway: new client: metrics: %w", err), c.Close())
	}
	return c, nil
}

// watch reports queues until the client closes.
func (c *Client) watch(queues []telemetry.Queue) error {
	stop, err := c.core.Metrics.Watch(queues)
	if err != nil {
		return err
	}
	c.unwatchMu.Lock()
	defer c.unwatchMu.Unlock()
	select {
	case <-c.closed:
		stop()
	default:
		c.unwatch = append(c.unwatch, stop)
	}
	return nil
}

// unwatchAll ends the reports about queues.
func (c *Client) unwatchAll() {
	c.unwatchMu.Lock()
	defer c.unwatchMu.Unlock()
	for _, stop := range c.unwatch {
		stop()
	}
}

// queues are everything in the client and its backends where work can wait.
func (c *Client) queues() []telemetry.Queue {
	var all []telemetry.Queue
	for _, part := range []any{c.commits, c.realtime, c.hints, c.tx, c.replies, c.core.Bus, c.core.Broker} {
		if queued, ok := part.(telemetry.Queued); ok {
			all = append(all, queued.Queues()...)
		}
	}
	return all
}

// Close waits for running sends, for Config.DrainTimeout at most, and releases
// the connections that the client opened. Calls that wait for the answer to a
// command fail with ErrClosed at once, and all others that have not ended by
// then. It may be called more than once and from several goroutines; each
// call returns when the client is closed, with the same error. Close nodes on
// this client first: they cannot work without it.
func (c *Client) Close() error {
	c.closeOnce.Do(func() {
		close(c.closed)
		c.unwatchAll()
		deadline := time.Now().Add(c.drain)
		c.replies.Close()
		c.realtime.Close(time.Until(deadline))
		c.commits.Close(time.Until(deadline))
		c.tx.Close(time.Until(deadline))
		c.hints.Close(time.Until(deadline))
		c.calls.Close()
		c.closeErr = c.backends.close()
	})
	return c.closeErr
}

// Ping answers whether every backend can be reached. The error names each one
// that cannot, with its address.
func (c *Client) Ping(ctx context.Context) error {
	if err := c.usable(ctx); err != nil {
		return fmt.Errorf("gateway: ping: %w", err)
	}
	checks := []struct {
		name string
		ping func(context.Context) error
	}{
		{c.core.BusName, c.core.Bus.Ping}, {c.core.StoreName, c.core.Store.Ping}, {c.core.BrokerName, c.core.Broker.Ping},
	}
	errs := make([]error, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() {
			if err := check.ping(ctx); err != nil {
				errs[i] = fmt.Errorf("gateway: ping: %s: %w", check.name, c.translate(err))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Migrate creates the table push_messages and its indexes where they are
// missing. A table that is there already, also one that another SDK created,
// only gets the indexes that it lacks: no column is changed, added or dropped,
// and no row. Indexes that an earlier version of this library created and this
// one does not need are dropped. It is safe to call at every start and from several processes at
// once.
func (c *Client) Migrate(ctx context.Context) error {
	if err := c.usable(ctx); err != nil {
		return fmt.Errorf("gateway: migrate: %w", err)
	}
	if err := c.core.Store.Migrate(ctx); err != nil {
		return fmt.Errorf("gateway: migrate: %w", c.translate(err))
	}
	return nil
}

// usable checks what every call needs.
func (c *Client) usable(ctx context.Context) error {
	if ctx == nil {
		return ErrNilContext
	}
	select {
	case <-c.closed:
		return ErrClosed
	default:
		return ctx.Err()
	}
}

// translate turns errors of internal packages into those of this one.
func (c *Client) translate(err error) error {
	if err == nil {
		return nil
	}
	var taken *store.TakenError
	switch {
	case errors.As(err, &taken):
		return fmt.Errorf("%w: %q", ErrMessageIDConflict, taken.ID)
	case errors.Is(err, store.ErrNoTable):
		return fmt.Errorf("%w (%s)", ErrNoSchema, c.core.StoreName)
	case errors.Is(err, store.ErrRejected):
		return fmt.Errorf("%w: %w", ErrInvalidPayload, err)
	case errors.Is(err, store.ErrNotFound):
		return ErrMessageNotFound
	case isClosed(err):
		return ErrClosed
	case isFull(err):
		return ErrOverloaded
	default:
		select {
		case <-c.closed:
			// The text keeps what was going on, but not Canceled: that would say
			// that the caller's ctx ended.
			return fmt.Errorf("%w: %s", ErrClosed, err.Error())
		default:
			return err
		}
	}
}

func init() {
	core.Of = func(client any) *core.Core {
		if c, ok := client.(*Client); ok && c != nil {
			return c.core
		}
		return nil
	}
}
