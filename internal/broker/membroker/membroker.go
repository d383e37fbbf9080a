package membroker

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// Broker is a handle on a Hub: one client or node of the process. All methods
// may be called at the same time from several goroutines.
type Broker struct {
	hub   *Hub
	names wire.Names

	intake  context.Context //nolint:containedctx // the handle's lifetime, not a call's
	stop    context.CancelFunc
	closed  chan struct{} // no method works any more
	closing sync.Once

	mu       sync.Mutex
	stopping bool
	notified *notifications
	answers  *answers
}

var _ broker.Broker = (*Broker)(nil)

// Broker returns a new handle. Names gives the reply queue its name.
func (h *Hub) Broker(names wire.Names) *Broker {
	ctx, cancel := context.WithCancel(context.Background())
	return &Broker{hub: h, names: names, intake: ctx, stop: cancel, closed: make(chan struct{})}
}

// Notify implements [broker.Broker]. It never waits.
func (b *Broker) Notify(ctx context.Context, n broker.Notification) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	if err := n.Check(); err != nil {
		return err
	}
	if q := b.hub.notificationQueue(); q != nil {
		q.push(attempt{Notification: n})
	}
	return nil
}

// Reply implements [broker.Broker]. It never waits.
func (b *Broker) Reply(ctx context.Context, queue string, a broker.Answer) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	if err := broker.CheckReply(queue, a); err != nil {
		return err
	}
	if q := b.hub.replyQueue(queue); q != nil {
		// The caller may use its buffer again once Reply has returned.
		a.Body = bytes.Clone(a.Body)
		q.push(a)
	}
	return nil
}

// Ping implements [broker.Broker].
func (b *Broker) Ping(ctx context.Context) error { return b.usable(ctx) }

// ConsumeNotifications implements [broker.Broker].
func (b *Broker) ConsumeNotifications(ctx context.Context, prefetch int, handler func(context.Context, broker.Notification) error) (func(), error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.stopping:
		return nil, broker.ErrClosed
	case b.notified != nil:
		return nil, errors.New("membroker: notifications are consumed already")
	}
	intake, stop := context.WithCancel(b.intake)
	b.notified = &notifications{
		queue:    b.hub.declareNotifications(),
		handler:  handler,
		handlers: broker.NewHandlers(prefetch),
		stop:     stop,
		done:     make(chan struct{}),
	}
	go b.notified.run(intake)
	return b.notified.end, nil
}

// ConsumeReplies implements [broker.Broker]. There is no connection that could
// break, so onReconnect is never called.
func (b *Broker) ConsumeReplies(ctx context.Context, handler func(broker.Answer), _ func()) (string, error) {
	if err := b.usable(ctx); err != nil {
		return "", err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.stopping:
		return "", broker.ErrClosed
	case b.answers != nil:
		return "", errors.New("membroker: replies are consumed already")
	}
	name := b.names.ReplyQueue(uuid.NewString())
	b.answers = &answers{queue: b.hub.declareReplies(name), name: name, done: make(chan struct{})}
	go b.answers.run(b.intake, handler)
	return name, nil
}

// Queues are the ones that this handle consumes.
func (b *Broker) Queues() []telemetry.Queue {
	notifications := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.notified == nil {
			return 0
		}
		return b.notified.queue.waiting()
	}
	answers := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.answers == nil {
			return 0
		}
		return b.answers.queue.waiting()
	}
	return []telemetry.Queue{
		{Name: telemetry.QueueBroker, Length: notifications, Limit: telemetry.Bound(maxNotifications)},
		{Name: telemetry.QueueBrokerAnswers, Length: answers, Limit: telemetry.Bound(maxAnswers)},
	}
}

// Close implements [broker.Broker].
func (b *Broker) Close() error {
	b.closing.Do(func() {
		b.mu.Lock()
		b.stopping = true
		notified, answers := b.notified, b.answers
		b.mu.Unlock()
		b.stop()
		if notified != nil {
			notified.end()
		}
		if answers != nil {
			<-answers.done
			b.hub.deleteReplies(answers.name)
		}
		close(b.closed)
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

// notifications is the consumer of one handle.
type notifications struct {
	queue    *queue[attempt]
	handler  func(context.Context, broker.Notification) error
	handlers *broker.Handlers
	stop     context.CancelFunc
	done     chan struct{}
}

func (c *notifications) run(ctx context.Context) {
	defer close(c.done)
	for c.handlers.Acquire(ctx.Done()) {
		item, err := c.queue.take(ctx)
		if err != nil {
			c.handlers.Release()
			return
		}
		if !c.handlers.Go(func(hctx context.Context) { c.handle(ctx, hctx, item) }) {
			c.queue.pushFront(item)
			return
		}
	}
}

func (c *notifications) handle(intake, ctx context.Context, item attempt) {
	if c.handler(ctx, item.Notification) == nil {
		return
	}
	if intake.Err() != nil {
		// This consumer ends; another one may do better at once.
		c.queue.pushFront(item)
		return
	}
	if !c.queue.park() {
		return
	}
	item.failed++
	pause := broker.RetryPause(item.failed)
	time.AfterFunc(pause-rand.N(pause/2), func() { c.queue.unpark(item) })
}

// end stops the consumer and waits for running handlers.
func (c *notifications) end() {
	c.stop()
	c.handlers.Drain(broker.DrainGrace)
	<-c.done
}

// answers is the reply queue of one handle and its consumer.
type answers struct {
	queue *queue[broker.Answer]
	name  string
	done  chan struct{}
}

func (c *answers) run(ctx context.Context, handler func(broker.Answer)) {
	defer close(c.done)
	for {
		a, err := c.queue.take(ctx)
		if err != nil {
			return
		}
		handler(a)
	}
}
