package rabbit

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/message-gateway/gateway/internal/wire"
)

const (
	// maxNotifications is how many notifications a queue holds while no node
	// consumes it. The server then drops the oldest: they are hints, and what
	// they point to is in the database.
	maxNotifications = 1_000_000
	// maxAnswerBytes is how much a reply queue holds while its client is away.
	// The server then drops the oldest: the database has the answers too.
	maxAnswerBytes = 128 << 20
	// retrySlack is how long a retry queue outlives the last message in it.
	retrySlack = 10 * time.Minute
)

// topology declares exchange and queues. Declaring again what exists is what
// each connection does first. Its methods may be called at the same time.
type topology struct {
	names  wire.Names
	log    *slog.Logger
	warned *sync.Map // what was logged as declared by somebody else
}

func longestName(n wire.Names) string {
	longest := n.ReplyQueue(uuid.Nil.String())
	for _, name := range []string{n.Exchange(), retryQueue(n, time.Minute)} {
		if len(name) > len(longest) {
			longest = name
		}
	}
	return longest
}

// retryQueue is where failed notifications spend a pause (ours).
func retryQueue(n wire.Names, pause time.Duration) string {
	return fmt.Sprintf("%s.retry.%dms", n.NotificationQueue(), pause.Milliseconds())
}

// exchange declares the exchange of the notifications.
func (t topology) exchange(c *conn) error {
	name := t.names.Exchange()
	return t.declare(c, "exchange "+name,
		func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare(name, amqp.ExchangeDirect, true, false, false, false, nil)
		},
		func(ch *amqp.Channel) error {
			return ch.ExchangeDeclarePassive(name, amqp.ExchangeDirect, true, false, false, false, nil)
		})
}

// notificationArguments are those of the queue that the nodes share.
func notificationArguments() amqp.Table { return amqp.Table{"x-max-length": int64(maxNotifications)} }

// notifications declares the queue that the nodes share, and binds it.
func (t topology) notifications(c *conn) error {
	if err := t.exchange(c); err != nil {
		return err
	}
	name := t.names.NotificationQueue()
	if err := t.queue(c, name, notificationArguments()); err != nil {
		return err
	}
	err := onChannel(c, func(ch *amqp.Channel) error {
		return ch.QueueBind(name, wire.RoutingKey, t.names.Exchange(), false, nil)
	})
	if err != nil {
		return fmt.Errorf("bind queue %s: %w", name, err)
	}
	return nil
}

// retry declares the queue that returns its messages to the notification queue
// after the pause. It goes away when it has not been declared for a while; what
// was put into it just after that has long returned by then.
func (t topology) retry(c *conn, pause time.Duration) error {
	return t.queue(c, retryQueue(t.names, pause), amqp.Table{
		"x-message-ttl":             pause.Milliseconds(),
		"x-dead-letter-exchange":    "",
		"x-dead-letter-routing-key": t.names.NotificationQueue(),
		"x-expires":                 (pause + retrySlack).Milliseconds(),
		"x-max-length":              int64(maxNotifications),
	})
}

// replies declares a client's reply queue: not exclusive and not auto-delete,
// so that it holds the answers while the connection is down.
func (t topology) replies(c *conn, name string, expiry time.Duration) error {
	return t.queue(c, name, amqp.Table{
		"x-expires":          expiry.Milliseconds(),
		"x-max-length-bytes": int64(maxAnswerBytes),
	})
}

func (t topology) queue(c *conn, name string, args amqp.Table) error {
	return t.declare(c, "queue "+name,
		func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(name, true, false, false, false, args)
			return err
		},
		func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
			return err
		})
}

// declare declares something. Where it exists with other properties, or may
// only be declared by somebody else, it is used as it is.
func (t topology) declare(c *conn, what string, active, passive func(*amqp.Channel) error) error {
	err := onChannel(c, active)
	if err == nil {
		return nil
	}
	var refused *amqp.Error
	if errors.As(err, &refused) && (refused.Code == amqp.PreconditionFailed || refused.Code == amqp.AccessRefused) {
		if onChannel(c, passive) == nil {
			if _, known := t.warned.LoadOrStore(what, true); !known {
				t.log.Warn("using it as somebody else declared it", "what", what, "refused", err)
			}
			return nil
		}
	}
	return fmt.Errorf("declare %s: %w", what, err)
}

// onChannel runs f on a channel of its own, because the server closes a channel
// on which it refuses something.
func onChannel(c *conn, f func(*amqp.Channel) error) error {
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	if err := f(ch); err != nil {
		_ = ch.Close()
		return err
	}
	return ch.Close()
}
