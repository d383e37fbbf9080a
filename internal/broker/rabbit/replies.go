package rabbit

import (
	"context"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/message-gateway/gateway/internal/broker"
)

// replyPrefetch is how many answers are on their way to the handler. It takes
// one at a time; more of them here save it the round trip to the server.
const replyPrefetch = 256

// replies consumes a client's own reply queue.
type replies struct {
	sup         *supervisor[struct{}]
	top         topology
	queue       string
	expiry      time.Duration
	handler     func(broker.Answer)
	onReconnect func()

	ran bool // used by the session only, and there is one at a time
}

// session is the supervisor's session.
func (r *replies) session(stopping context.Context, c *conn, up func(struct{})) error {
	if err := r.top.replies(c, r.queue, r.expiry); err != nil {
		return err
	}
	s, err := consume(c, r.queue, replyPrefetch)
	if err != nil {
		return err
	}
	up(struct{}{})
	if r.ran && r.onReconnect != nil {
		r.onReconnect()
	}
	r.ran = true
	for {
		// Otherwise a steady stream of answers could put the end off.
		if stopping.Err() != nil {
			return r.leave(s)
		}
		select {
		case <-stopping.Done():
		case d, ok := <-s.deliveries:
			if !ok {
				return s.why()
			}
			r.handler(broker.Answer{CorrelationID: d.CorrelationId, Body: d.Body, Trace: traceOf(d.Headers)})
			// Not before: what the process loses between the socket and the
			// handler comes again.
			_ = d.Ack(false)
		}
	}
}

// leave deletes the queue: its name dies with this process, so nobody would
// read it. Where this fails, the queue expires.
func (r *replies) leave(s *consumerSession) error {
	s.cancel()
	_ = onChannel(s.conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(r.queue, true, false, false)
		return err
	})
	return broker.ErrClosed
}

// end stops the consumer and waits for a running handler.
func (r *replies) end() { r.sup.end(2 * closeBound) }
