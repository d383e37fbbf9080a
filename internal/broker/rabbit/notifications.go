package rabbit

import (
	"context"
	"errors"
	"log/slog"
	"math/bits"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/message-gateway/gateway/internal/broker"
)

// retryPublish bounds the way of a failed notification into its retry queue.
const retryPublish = 10 * time.Second

// notifications consumes the queue that the nodes share.
type notifications struct {
	sup      *supervisor[struct{}]
	top      topology
	log      *slog.Logger
	pub      *publisher
	prefetch int
	handler  func(context.Context, broker.Notification) error
	handlers *broker.Handlers
	drained  chan struct{} // closed when all handlers have returned
	ending   sync.Once

	malformed uint64 // used by the session only, and there is one at a time
}

// session is the supervisor's session.
func (n *notifications) session(stopping context.Context, c *conn, up func(struct{})) error {
	if err := n.top.notifications(c); err != nil {
		return err
	}
	s, err := consume(c, n.top.names.NotificationQueue(), n.prefetch)
	if err != nil {
		return err
	}
	retries := &retries{declared: make(map[time.Duration]time.Time)}
	up(struct{}{})
	refresh := time.NewTicker(refreshEvery)
	defer refresh.Stop()
	for {
		select {
		case <-stopping.Done():
			return n.leave(s)
		case <-refresh.C:
			if err := n.top.notifications(c); err != nil {
				return err
			}
		case d, ok := <-s.deliveries:
			if !ok {
				return s.why()
			}
			if !n.handlers.Acquire(stopping.Done()) {
				_ = d.Nack(false, true)
				return n.leave(s)
			}
			n.begin(stopping, s, retries, d)
		}
	}
}

// begin starts the handler of a delivery on the slot that was acquired for it.
func (n *notifications) begin(stopping context.Context, s *consumerSession, r *retries, d amqp.Delivery) {
	if s.ch.IsClosed() {
		// It waited for its slot longer than the connection lived; the server
		// has taken it back.
		n.handlers.Release()
		return
	}
	note, err := decode(d)
	if err != nil {
		n.handlers.Release()
		n.drop(d, err)
		return
	}
	started := n.handlers.Go(func(ctx context.Context) {
		switch err := n.handler(ctx, note); {
		case err == nil:
			_ = d.Ack(false)
		case stopping.Err() != nil:
			_ = d.Nack(false, true) // another node may do better at once
		default:
			n.later(ctx, stopping, s, r, d)
		}
	})
	if !started {
		_ = d.Nack(false, true)
	}
}

// drop acknowledges a body that is no notification, so that it does not come
// back for ever. It logs the 1st, 2nd, 4th, 8th … of them, and nothing of their
// content.
func (n *notifications) drop(d amqp.Delivery, err error) {
	n.malformed++
	if bits.OnesCount64(n.malformed) == 1 {
		n.log.Warn("dropped what is no notification", "error", err, "bytes", len(d.Body), "dropped", n.malformed)
	}
	_ = d.Ack(false)
}

// later moves a failed notification to a retry queue, from which the server
// returns it after a pause. Kept here unacknowledged, or given back at once, it
// would take the place of others or come back in a loop.
func (n *notifications) later(ctx, stopping context.Context, s *consumerSession, r *retries, d amqp.Delivery) {
	failed := failedBefore(d) + 1
	pause := broker.RetryPause(failed)
	err := r.declare(n.top, s.conn, pause)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, retryPublish)
		defer cancel()
		expiration := strconv.FormatInt((pause - rand.N(pause/2)).Milliseconds(), 10)
		err = n.pub.publish(ctx, notificationChannel, "", retryQueue(n.top.names, pause), again(d, failed, expiration))
	}
	if err == nil {
		_ = d.Ack(false)
		return
	}
	if !errors.Is(err, broker.ErrClosed) && !s.ch.IsClosed() {
		n.log.Warn("cannot queue a failed notification for later, holding it back", "error", err)
		hold := time.NewTimer(pause)
		defer hold.Stop()
		select {
		case <-hold.C:
		case <-stopping.Done():
		}
	}
	_ = d.Nack(false, true)
}

// leave ends the consumer but keeps the channel until the last handler has
// acknowledged.
func (n *notifications) leave(s *consumerSession) error {
	s.cancel()
	<-n.drained
	return broker.ErrClosed
}

// end stops the consumer and waits for running handlers.
func (n *notifications) end() {
	n.ending.Do(func() {
		n.sup.stop()
		n.handlers.Drain(broker.DrainGrace)
		close(n.drained)
	})
	n.sup.end(2 * closeBound)
}

// retries remembers which retry queues a session has declared, and when.
type retries struct {
	mu       sync.Mutex
	declared map[time.Duration]time.Time
}

// declare declares the retry queue often enough that it cannot expire.
func (r *retries) declare(t topology, c *conn, pause time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at, ok := r.declared[pause]; ok && time.Since(at) < retrySlack/2 {
		return nil
	}
	if err := t.retry(c, pause); err != nil {
		return err
	}
	r.declared[pause] = time.Now()
	return nil
}
