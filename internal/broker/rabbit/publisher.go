package rabbit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/message-gateway/gateway/internal/broker"
)

// publishSession is what the publishing connection offers while it is up. Notifications
// and answers have a channel each: the server writes the former to disk before
// it confirms them, and the latter should not queue behind that.
type publishSession struct {
	conn          *conn
	notifications *amqp.Channel
	answers       *amqp.Channel
}

type publisher struct {
	sup *supervisor[publishSession]
	top topology
}

// session is the supervisor's session.
func (p *publisher) session(stopping context.Context, c *conn, up func(publishSession)) error {
	if err := p.top.exchange(c); err != nil {
		return err
	}
	notifications, err := confirming(c)
	if err != nil {
		return err
	}
	answers, err := confirming(c)
	if err != nil {
		return err
	}
	lostNotifications := notifications.NotifyClose(make(chan *amqp.Error, 1))
	lostAnswers := answers.NotifyClose(make(chan *amqp.Error, 1))
	lostConn := c.NotifyClose(make(chan *amqp.Error, 1))
	up(publishSession{conn: c, notifications: notifications, answers: answers})
	// A channel alone is lost when the exchange was deleted: the next session
	// declares it.
	select {
	case lost := <-lostNotifications:
		return reason(lost)
	case lost := <-lostAnswers:
		return reason(lost)
	case lost := <-lostConn:
		return reason(lost)
	case <-stopping.Done():
		return broker.ErrClosed
	}
}

func confirming(c *conn) (*amqp.Channel, error) {
	ch, err := c.Channel()
	if err != nil {
		return nil, err
	}
	return ch, ch.Confirm(false)
}

// publish returns nil when the server has confirmed the message, and repeats it
// until then: after a break nobody knows whether the server had it.
func (p *publisher) publish(ctx context.Context, pick func(publishSession) *amqp.Channel, exchange, key string, msg amqp.Publishing) error {
	var pause *backoff.ExponentialBackOff
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		st, err := p.sup.wait(ctx)
		if err != nil {
			return err
		}
		err = p.attempt(ctx, st, pick(st.value), exchange, key, msg)
		var retry <-chan time.Time
		over := st.changed
		switch {
		case errors.Is(err, errOver):
		case errors.Is(err, errRefused):
			if pause == nil {
				pause = backoff.NewExponentialBackOff()
				pause.InitialInterval, pause.MaxInterval = refusedPause, maxRefusedPause
			}
			retry, over = time.After(pause.NextBackOff()), nil
		default:
			return err
		}
		select {
		case <-over:
		case <-retry:
		case <-p.sup.done:
			return broker.ErrClosed
		case <-ctx.Done():
			return explain(ctx, err)
		}
	}
}

// A message that the server refused is offered again after a pause in these
// bounds.
const (
	refusedPause    = 100 * time.Millisecond
	maxRefusedPause = 5 * time.Second
)

// errRefused is a basic.nack: the server could not take the message.
var errRefused = errors.New("the server refused the message")

func (p *publisher) attempt(ctx context.Context, st *state[publishSession], ch *amqp.Channel, exchange, key string, msg amqp.Publishing) error {
	c := st.value.conn
	if err := c.reserve(ctx, len(msg.Body), st.changed); err != nil {
		return err
	}
	confirmed, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, msg)
	c.sock.release(len(msg.Body))
	if err != nil {
		return fmt.Errorf("%w: %w", errOver, err)
	}
	select {
	case <-confirmed.Done():
	case <-st.changed:
		if !confirmed.Acked() {
			return errOver
		}
	case <-ctx.Done():
		if !confirmed.Acked() {
			return c.explain(ctx)
		}
	}
	switch {
	case confirmed.Acked():
		return nil
	case ch.IsClosed():
		// The driver reports what is unconfirmed as refused when it shuts down.
		return errOver
	default:
		return errRefused
	}
}

// reason is why the server or the network ended something.
func reason(err *amqp.Error) error {
	if err == nil {
		return amqp.ErrClosed
	}
	return err
}
