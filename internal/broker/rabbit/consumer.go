package rabbit

import (
	"errors"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// refreshEvery is the pace at which a running consumer declares its queue and
// binding again, should somebody have deleted the exchange and with it the
// binding, of which the server tells nobody.
const refreshEvery = time.Minute

// consumerTag is enough to name the one consumer of a connection.
const consumerTag = "gateway"

var errCancelled = errors.New("the server cancelled the consumer")

// consumerSession is one consumer on one connection.
type consumerSession struct {
	conn       *conn
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
	closed     chan *amqp.Error
}

// consume starts the consumer. The deliveries end when the server cancels it
// (the queue was deleted, or moved to another host of the cluster), when
// the channel or connection is lost, and after cancel.
func consume(c *conn, queue string, prefetch int) (*consumerSession, error) {
	ch, err := c.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return nil, err
	}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	deliveries, err := ch.Consume(queue, consumerTag, false, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	return &consumerSession{conn: c, ch: ch, deliveries: deliveries, closed: closed}, nil
}

// why says why the deliveries ended.
func (s *consumerSession) why() error {
	select {
	case err := <-s.closed:
		return reason(err)
	default:
		return errCancelled
	}
}

// cancel ends the consumer and gives back what was delivered but not begun. It
// waits for the server; the supervisor ends the connection if that takes long.
func (s *consumerSession) cancel() {
	if s.ch.Cancel(consumerTag, false) != nil {
		return // without the channel, the server takes everything back
	}
	for d := range s.deliveries {
		_ = d.Nack(false, true)
	}
}
