package rabbit_test

import (
	"context"
	"errors"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/broker/rabbit"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

func isBlocked(err error) bool {
	return errors.Is(err, rabbit.ErrBlocked) && errors.Is(err, context.DeadlineExceeded)
}

// raw returns a channel of the bare driver.
func raw(t testing.TB) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(testenv.RabbitMQ(t))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return ch
}

func TestQueueDeletedUnderConsumer(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	b := open(t, rabbit.Options{URLs: []string{testenv.RabbitMQ(t)}, Names: names, MaxBackoff: 100 * time.Millisecond})
	notified, answered, again := make(chan string, 100), make(chan string, 100), make(chan struct{}, 100)
	_, err := b.ConsumeNotifications(testContext(t), 1, func(_ context.Context, n broker.Notification) error {
		notified <- n.MessageID
		return nil
	})
	require.NoError(t, err)
	queue, err := b.ConsumeReplies(testContext(t), func(a broker.Answer) { answered <- a.CorrelationID }, func() { again <- struct{}{} })
	require.NoError(t, err)

	ch := raw(t)
	_, err = ch.QueueDelete(queue, false, false, false)
	require.NoError(t, err)
	receive(t, again, "onReconnect")
	require.NoError(t, b.Reply(testContext(t), queue, broker.Answer{CorrelationID: "c"}))
	require.Equal(t, "c", receive(t, answered, "the answer"))

	_, err = ch.QueueDelete(names.NotificationQueue(), false, false, false)
	require.NoError(t, err)
	// What is sent before it is bound again finds no queue.
	require.Eventually(t, func() bool {
		return assert.NoError(t, b.Notify(testContext(t), broker.Notification{MessageID: "m"})) && len(notified) > 0
	}, patience, 10*time.Millisecond)
}

func TestExchangeDeletedUnderPublisher(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	b := open(t, rabbit.Options{URLs: []string{testenv.RabbitMQ(t)}, Names: names, MaxBackoff: 100 * time.Millisecond})
	ch := raw(t)
	require.NoError(t, ch.ExchangeDelete(names.Exchange(), false, false))
	require.NoError(t, b.Notify(testContext(t), broker.Notification{MessageID: "m"}))
	require.NoError(t, ch.ExchangeDelete(names.Exchange(), false, false))
	require.NoError(t, b.Ping(testContext(t)), "Ping declares it again")
	require.NoError(t, ch.ExchangeDeclarePassive(names.Exchange(), "direct", true, false, false, false, nil))
}

// TestDeclaredByOthers finds exchange and queue with other properties.
func TestDeclaredByOthers(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	ch := raw(t)
	require.NoError(t, ch.ExchangeDeclare(names.Exchange(), "topic", false, false, false, false, nil))
	_, err := ch.QueueDeclare(names.NotificationQueue(), true, false, false, false, amqp.Table{"x-max-length": int64(7)})
	require.NoError(t, err)
	b := direct(t, names)
	got := make(chan string, 1)
	_, err = b.ConsumeNotifications(testContext(t), 1, func(_ context.Context, n broker.Notification) error {
		got <- n.MessageID
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, b.Notify(testContext(t), broker.Notification{MessageID: "m"}))
	require.Equal(t, "m", receive(t, got, "the notification"))
}

// TestReplyQueue checks its properties: the server compares them.
func TestReplyQueue(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	b := open(t, rabbit.Options{URLs: []string{testenv.RabbitMQ(t)}, Names: names, ReplyQueueExpiry: 5 * time.Minute})
	queue, err := b.ConsumeReplies(testContext(t), func(broker.Answer) {}, nil)
	require.NoError(t, err)
	require.Contains(t, queue, names.ReplyQueue(""))
	ch := raw(t)
	_, err = ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-expires": int64(300_000), "x-max-length-bytes": int64(128 << 20)})
	require.NoError(t, err)
	require.NoError(t, b.Close())
	_, err = ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	var gone *amqp.Error
	require.ErrorAs(t, err, &gone)
	require.Equal(t, amqp.NotFound, gone.Code)
}

// TestRefused publishes to a queue that takes no more.
func TestRefused(t *testing.T) {
	t.Parallel()
	b := direct(t, freshNames(t))
	ch := raw(t)
	q, err := ch.QueueDeclare("", false, false, true, false, amqp.Table{"x-max-length": int64(1), "x-overflow": "reject-publish"})
	require.NoError(t, err)
	require.NoError(t, b.Reply(testContext(t), q.Name, broker.Answer{CorrelationID: "first"}))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = b.Reply(ctx, q.Name, broker.Answer{CorrelationID: "refused"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "refused the message")
	waiting := make(chan error, 1)
	go func() { waiting <- b.Reply(testContext(t), q.Name, broker.Answer{CorrelationID: "second"}) }()
	_, err = ch.QueuePurge(q.Name, false)
	require.NoError(t, err)
	require.NoError(t, receive(t, waiting, "the repeated answer"))
}

// TestMalformedNotifications are acknowledged, and do not come back.
func TestMalformedNotifications(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	b := direct(t, names)
	got := make(chan broker.Notification, 10)
	stop, err := b.ConsumeNotifications(testContext(t), 2, func(_ context.Context, n broker.Notification) error {
		got <- n
		return nil
	})
	require.NoError(t, err)
	ch := raw(t)
	for _, body := range []string{
		"", "null", "{}", "[]", "7", `"m"`, `{"message_id":1}`, `{"message_id":null}`, `{"message_id":""}`,
		`{"message_id":["m"]}`, `{"message_id":"m"`, "\x00\xff\xfe", `{"message_id":"m"} x`,
	} {
		publish(t, ch, names, amqp.Publishing{Body: []byte(body), ReplyTo: "q", CorrelationId: "c"})
	}
	publish(t, ch, names, amqp.Publishing{
		Headers: amqp.Table{"x-gateway-attempt": "strange"},
		Body:    []byte(`{"a":{"message_id":"no"},"message_id":"good","z":[1,2]}`),
	})
	require.Equal(t, broker.Notification{MessageID: "good"}, receive(t, got, "the good one"))
	stop()
	q, err := ch.QueueDeclarePassive(names.NotificationQueue(), true, false, false, false, nil)
	require.NoError(t, err)
	require.Zero(t, q.Messages, "something came back")
	require.Empty(t, got)
}

func publish(t testing.TB, ch *amqp.Channel, names wire.Names, msg amqp.Publishing) {
	t.Helper()
	require.NoError(t, ch.PublishWithContext(t.Context(), names.Exchange(), wire.RoutingKey, false, false, msg))
}
