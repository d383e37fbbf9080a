package rabbit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
)

// Facts are what is known of a RabbitMQ.
type Facts struct {
	// Err says why the options cannot be used at all.
	Err error
	// Hosts are those of the options, in their order.
	Hosts []HostFacts
	// Exchange and Queue are those of the notifications. They are unknown, as
	// UseErr, where no host answered.
	Exchange ExchangeFacts
	Queue    QueueFacts
	// UseErr says what of the things that a broker does the account may not do.
	UseErr error
}

// HostFacts are what one host says of itself.
type HostFacts struct {
	Addr string
	// Err says why it could not be used, and Code is the server's number of that
	// error, 0 if there is none.
	Err  error
	Code int
	// Product, Version and Cluster are the server's own words.
	Product, Version, Cluster string
}

// ExchangeFacts say whether the exchange is there, and how it differs from what
// this package declares.
type ExchangeFacts struct {
	Name   string
	Exists bool
	Differ error
}

// QueueFacts say so of the queue, and how full it is.
type QueueFacts struct {
	Name                string
	Exists              bool
	Messages, Consumers int
	Differ              error
}

// Up reports whether a host answered.
func (f Facts) Up() bool {
	for _, h := range f.Hosts {
		if h.Err == nil {
			return true
		}
	}
	return false
}

// Inspect tries every host of o, and on one that answers what a broker does,
// with a queue of its own that it deletes. It creates neither the exchange nor
// the queue of the notifications.
func Inspect(ctx context.Context, o Options) Facts {
	o = o.withDefaults()
	hosts, err := o.endpoints()
	if err != nil {
		return Facts{Err: fmt.Errorf("rabbit: options: %w", err)}
	}
	d := &dialer{tls: o.TLS, name: o.ConnectionName, heartbeat: o.Heartbeat, timeout: o.DialTimeout}
	facts := Facts{Hosts: make([]HostFacts, len(hosts))}
	conns := make([]*conn, len(hosts))
	var wg sync.WaitGroup
	for i, host := range hosts {
		wg.Go(func() { conns[i], facts.Hosts[i] = inspectHost(ctx, d, host) })
	}
	wg.Wait()
	t := topology{names: o.Names, log: slog.New(slog.DiscardHandler), warned: new(sync.Map)}
	looked := false
	for _, c := range conns {
		if c == nil {
			continue
		}
		if !looked {
			looked = true
			// The driver's requests know no ctx, but end when their connection does.
			stop := context.AfterFunc(ctx, c.abort)
			facts.Exchange, facts.Queue, facts.UseErr = t.inspect(ctx, c)
			if !stop() && facts.UseErr == nil {
				facts.UseErr = ctx.Err()
			}
		}
		c.close()
	}
	return facts
}

func inspectHost(ctx context.Context, d *dialer, host endpoint) (*conn, HostFacts) {
	facts := HostFacts{Addr: host.addr}
	c, err := d.dialHost(ctx, host, "doctor", d.timeout)
	if err != nil {
		facts.Err = err
		var refused *amqp.Error
		if errors.As(err, &refused) {
			facts.Code = refused.Code
		}
		return nil, facts
	}
	facts.Product, _ = c.Properties["product"].(string)
	facts.Version, _ = c.Properties["version"].(string)
	facts.Cluster, _ = c.Properties["cluster_name"].(string)
	return c, facts
}

func (t topology) inspect(ctx context.Context, c *conn) (ExchangeFacts, QueueFacts, error) {
	exchange := ExchangeFacts{Name: t.names.Exchange()}
	queue := QueueFacts{Name: t.names.NotificationQueue()}
	err := onChannel(c, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(exchange.Name, amqp.ExchangeDirect, true, false, false, false, nil)
	})
	if exchange.Exists = err == nil; exchange.Exists {
		// Changes nothing where it exists.
		exchange.Differ = onChannel(c, func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare(exchange.Name, amqp.ExchangeDirect, true, false, false, false, nil)
		})
	}
	err = onChannel(c, func(ch *amqp.Channel) error {
		found, err := ch.QueueDeclarePassive(queue.Name, true, false, false, false, nil)
		queue.Messages, queue.Consumers = found.Messages, found.Consumers
		return err
	})
	if queue.Exists = err == nil; queue.Exists {
		queue.Differ = onChannel(c, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(queue.Name, true, false, false, false, notificationArguments())
			return err
		})
	}
	return exchange, queue, t.use(ctx, c, exchange.Exists)
}

// probeExpiry is how long the queue of use would stay if it were not deleted.
const probeExpiry = time.Minute

// use declares a queue as those for answers, sends a message through it, over
// the exchange of the notifications if that is there, and deletes it.
func (t topology) use(ctx context.Context, c *conn, withExchange bool) error {
	name := t.names.ReplyQueue("doctor." + uuid.NewString())
	if err := t.replies(c, name, probeExpiry); err != nil {
		return err
	}
	err := onChannel(c, func(ch *amqp.Channel) error {
		exchange := ""
		if withExchange {
			exchange = t.names.Exchange()
			if err := ch.QueueBind(name, name, exchange, false, nil); err != nil {
				return fmt.Errorf("bind queue %s to exchange %s: %w", name, exchange, err)
			}
		}
		if err := ch.Confirm(false); err != nil {
			return err
		}
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		confirmed, err := ch.PublishWithDeferredConfirmWithContext(ctx, exchange, name, false, false, amqp.Publishing{Body: []byte("{}")})
		if err != nil {
			return err
		}
		ok, err := confirmed.WaitContext(ctx)
		if err == nil && !ok {
			err = errOver
			if reason := <-closed; reason != nil {
				err = reason // the server closes the channel on which it refuses something
			}
		}
		if err != nil {
			return fmt.Errorf("publish to exchange %q: %w", exchange, err)
		}
		_, arrived, err := ch.Get(name, true)
		if err == nil && !arrived {
			err = fmt.Errorf("a message to queue %s did not arrive", name)
		}
		return err
	})
	return errors.Join(err, onChannel(c, func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(name, false, false, false)
		return err
	}))
}
