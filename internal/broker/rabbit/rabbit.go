// Package rabbit is the broker on RabbitMQ.
//
// # Connections
//
// A Broker holds one connection for publishing and one for each consumer it
// runs: flow control and a memory alarm stop the connection that publishes, and
// must not stop answers and acknowledgements with it. Each connection belongs to
// a supervisor, which dials (all hosts in turn), declares the topology, opens
// the channels, and starts over after any loss with growing, jittered pauses.
//
// The driver can recover connections and topology by itself since 1.14. It is
// not used, for five reasons found in the source of 1.16.0: it redials the one
// URL it was opened with, so the loss of a cluster's host is final; it pauses for
// a fixed time and gives up after a number of attempts; what it cannot declare
// or consume again it skips by default and reports itself as recovered; it keeps
// the old delivery channel, so that a handler that outlives the break
// acknowledges, on the new channel, a number that stands for another message or for
// none, which costs the channel; and it is marked experimental. What remains
// would be a supervisor around it.
//
// # Publishing
//
// All goroutines publish on two channels with publisher confirms and wait for
// their own confirmation only, so that many share the way. See [socket] for why
// no Write waits for the network. What was not confirmed when the connection
// broke is sent again: at least once.
//
// # Clusters
//
// Queues are declared without a type. On a cluster, set the vhost's default
// queue type to quorum for queues that outlive a host.
package rabbit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// Broker is a broker on RabbitMQ. All methods may be called at the same time
// from several goroutines and end with their ctx.
type Broker struct {
	top    topology
	log    *slog.Logger
	dialer *dialer
	opts   Options
	pub    *publisher

	pinging    chan struct{}  // held by the one Ping on its way
	background sync.WaitGroup // what outlives the call that began it
	closing    sync.Once
	closed     chan struct{} // no method works any more

	mu       sync.Mutex
	stopping bool
	notified *notifications
	replied  *replies
}

var _ broker.Broker = (*Broker)(nil)

// Open connects. If no host answers, or the first that answers refuses, it
// fails with an error that names each host it tried and why. After that, no
// outage ends the Broker; only Close does.
func Open(ctx context.Context, opts Options) (*Broker, error) {
	opts = opts.withDefaults()
	hosts, err := opts.endpoints()
	if err != nil {
		return nil, fmt.Errorf("rabbit: options: %w", err)
	}
	b := &Broker{
		top:     topology{names: opts.Names, log: opts.Logger, warned: new(sync.Map)},
		log:     opts.Logger,
		opts:    opts,
		pinging: make(chan struct{}, 1),
		closed:  make(chan struct{}),
		dialer: &dialer{
			hosts:     hosts,
			tls:       opts.TLS,
			name:      opts.ConnectionName,
			heartbeat: opts.Heartbeat,
			timeout:   opts.DialTimeout,
		},
	}
	b.pub = &publisher{top: b.top}
	b.pub.sup = supervise(ctx, b, "publish", b.pub.session)
	if err := b.pub.sup.first(); err != nil {
		b.pub.sup.kill()
		b.pub.sup.end(0)
		if ctx.Err() != nil {
			err = explain(ctx, err)
		}
		return nil, fmt.Errorf("rabbit: open: %w", err)
	}
	return b, nil
}

// supervise starts a supervisor whose first attempt ends with ctx.
func supervise[T any](ctx context.Context, b *Broker, role string, session func(context.Context, *conn, func(T)) error) *supervisor[T] {
	s := &supervisor[T]{role: role, dialer: b.dialer, log: b.log, maxBackoff: b.opts.MaxBackoff, session: session}
	s.start(ctx)
	return s
}

func notificationChannel(s publishSession) *amqp.Channel { return s.notifications }

func answerChannel(s publishSession) *amqp.Channel { return s.answers }

// Notify implements [broker.Broker].
func (b *Broker) Notify(ctx context.Context, n broker.Notification) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	if err := n.Check(); err != nil {
		return err
	}
	msg, err := encode(n)
	if err != nil {
		return fmt.Errorf("rabbit: notify: %w", err)
	}
	return wrap("notify", b.pub.publish(ctx, notificationChannel, b.top.names.Exchange(), wire.RoutingKey, msg))
}

// Reply implements [broker.Broker]. The answer is not written to disk: the
// database holds it as well, for a client that finds its queue empty.
func (b *Broker) Reply(ctx context.Context, queue string, a broker.Answer) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	if err := broker.CheckReply(queue, a); err != nil {
		return err
	}
	return wrap("reply", b.pub.publish(ctx, answerChannel, "", queue, amqp.Publishing{
		Headers:       traceHeaders(a.Trace),
		ContentType:   contentType,
		DeliveryMode:  amqp.Transient,
		CorrelationId: a.CorrelationID,
		Body:          a.Body,
	}))
}

// ConsumeNotifications implements [broker.Broker].
func (b *Broker) ConsumeNotifications(ctx context.Context, prefetch int, handler func(context.Context, broker.Notification) error) (func(), error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	prefetch = min(max(prefetch, 1), maxPrefetch)
	b.mu.Lock()
	if err := b.startable(b.notified != nil); err != nil {
		b.mu.Unlock()
		return nil, err
	}
	n := &notifications{
		top: b.top, log: b.log, pub: b.pub,
		prefetch: prefetch, handler: handler, handlers: broker.NewHandlers(prefetch),
		drained: make(chan struct{}),
	}
	n.sup = supervise(ctx, b, "notifications", n.session)
	b.notified = n
	b.mu.Unlock()
	if _, err := n.sup.wait(ctx); err != nil {
		b.abandon(n.end, func() { b.notified = nil })
		return nil, wrap("consume notifications", err)
	}
	return n.end, nil
}

// ConsumeReplies implements [broker.Broker].
func (b *Broker) ConsumeReplies(ctx context.Context, handler func(broker.Answer), onReconnect func()) (string, error) {
	if err := b.usable(ctx); err != nil {
		return "", err
	}
	b.mu.Lock()
	if err := b.startable(b.replied != nil); err != nil {
		b.mu.Unlock()
		return "", err
	}
	r := &replies{
		top: b.top, queue: b.top.names.ReplyQueue(uuid.NewString()), expiry: b.opts.ReplyQueueExpiry,
		handler: handler, onReconnect: onReconnect,
	}
	r.sup = supervise(ctx, b, "replies", r.session)
	b.replied = r
	b.mu.Unlock()
	if _, err := r.sup.wait(ctx); err != nil {
		b.abandon(r.end, func() { b.replied = nil })
		return "", wrap("consume replies", err)
	}
	return r.queue, nil
}

// Ping implements [broker.Broker]: the publishing connection is up, and the
// server answers on it and has the exchange. It does not wait for a connection.
func (b *Broker) Ping(ctx context.Context) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	select {
	case b.pinging <- struct{}{}:
	case <-b.closed:
		return broker.ErrClosed
	case <-ctx.Done():
		return wrap("ping", fmt.Errorf("%w: an earlier ping has no answer yet", ctx.Err()))
	}
	st := b.pub.sup.state.Load()
	if !st.up {
		<-b.pinging
		return wrap("ping", st.err)
	}
	// The driver's requests know no ctx. One that stays unanswered ends with its
	// connection, and until then there is no second one.
	answer := make(chan error, 1)
	go func() {
		defer func() { <-b.pinging }()
		answer <- b.probe(st.value.conn)
	}()
	select {
	case err := <-answer:
		return wrap("ping", err)
	case <-ctx.Done():
		return wrap("ping", st.value.conn.explain(ctx))
	}
}

func (b *Broker) probe(c *conn) error {
	name := b.top.names.Exchange()
	err := onChannel(c, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(name, amqp.ExchangeDirect, true, false, false, false, nil)
	})
	var missing *amqp.Error
	if errors.As(err, &missing) && missing.Code == amqp.NotFound {
		return b.top.exchange(c) // somebody deleted it
	}
	return err
}

// Queues are what publishers have written and the network has not taken. Beyond
// it they wait, which their own queues show.
func (b *Broker) Queues() []telemetry.Queue {
	waiting := func() int {
		if st := b.pub.sup.state.Load(); st.up {
			return st.value.conn.sock.waiting()
		}
		return 0
	}
	return []telemetry.Queue{{Name: telemetry.QueueSocket, Bytes: waiting, ByteLimit: telemetry.Bound(maxPending)}}
}

// Close implements [broker.Broker]. Beyond the handlers it takes a few seconds
// at most, also when the server has stopped to answer.
func (b *Broker) Close() error {
	b.closing.Do(func() {
		b.mu.Lock()
		b.stopping = true
		notified, replied := b.notified, b.replied
		b.mu.Unlock()
		var consumers sync.WaitGroup
		if notified != nil {
			consumers.Go(notified.end)
		}
		if replied != nil {
			consumers.Go(replied.end)
		}
		// The last handlers still publish.
		consumers.Wait()
		b.pub.sup.end(2 * closeBound)
		b.background.Wait()
		close(b.closed)
		b.pinging <- struct{}{} // the last ping has ended with the connection
	})
	<-b.closed
	return nil
}

func (b *Broker) usable(ctx context.Context) error {
	select {
	case <-b.closed:
		return broker.ErrClosed
	default:
		return ctx.Err()
	}
}

// maxPrefetch is the largest number that basic.qos has room for.
const maxPrefetch = 1<<16 - 1

// startable says whether a consumer may start; b.mu is held.
func (b *Broker) startable(running bool) error {
	switch {
	case b.stopping:
		return broker.ErrClosed
	case running:
		return errors.New("rabbit: consumed already")
	default:
		return nil
	}
}

// abandon ends a consumer whose caller did not wait for it. The caller's ctx is
// over, so this takes its time elsewhere.
func (b *Broker) abandon(end func(), forget func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopping {
		return // Close ends it
	}
	forget()
	b.background.Go(end)
}

func wrap(op string, err error) error {
	if err == nil || errors.Is(err, broker.ErrClosed) {
		return err
	}
	return fmt.Errorf("rabbit: %s: %w", op, err)
}
