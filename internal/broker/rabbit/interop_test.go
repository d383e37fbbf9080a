package rabbit_test

import (
	"context"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/wire"
)

// TestOriginalSDK plays the Python SDK with the bare driver: it declares the
// exchange, has an exclusive reply queue, and sends a command to our node.
func TestOriginalSDK(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	node := direct(t, names)
	_, err := node.ConsumeNotifications(testContext(t), 10, func(ctx context.Context, n broker.Notification) error {
		return node.Reply(ctx, n.ReplyTo, broker.Answer{CorrelationID: n.CorrelationID, Body: []byte(`{"for":"` + n.MessageID + `"}`)})
	})
	require.NoError(t, err)

	sdk := raw(t)
	require.NoError(t, sdk.ExchangeDeclare(names.Exchange(), "direct", true, false, false, false, nil))
	q, err := sdk.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	answers, err := sdk.Consume(q.Name, "", true, true, false, false, nil)
	require.NoError(t, err)
	publish(t, sdk, names, amqp.Publishing{
		ContentType:   "application/json",
		DeliveryMode:  2,
		ReplyTo:       q.Name,
		CorrelationId: "7c9e6679-7425-40de-944b-e07fc1f90ae7",
		Body:          []byte(`{"message_id": "m-1", "user_id": "ignored"}`),
	})
	d := receive(t, answers, "the answer")
	require.JSONEq(t, `{"for":"m-1"}`, string(d.Body))
	require.Equal(t, "7c9e6679-7425-40de-944b-e07fc1f90ae7", d.CorrelationId)
	require.Equal(t, "application/json", d.ContentType)
}

// TestOriginalGateway plays another make's gateway with the bare driver: it
// binds a queue of its own and answers our client.
func TestOriginalGateway(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	client := direct(t, names)
	got := make(chan broker.Answer, 1)
	queue, err := client.ConsumeReplies(testContext(t), func(a broker.Answer) { got <- a }, nil)
	require.NoError(t, err)

	gateway := raw(t)
	require.NoError(t, gateway.ExchangeDeclare(names.Exchange(), "direct", true, false, false, false, nil))
	q, err := gateway.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, gateway.QueueBind(q.Name, wire.RoutingKey, names.Exchange(), false, nil))
	notifications, err := gateway.Consume(q.Name, "", true, false, false, false, nil)
	require.NoError(t, err)

	require.NoError(t, client.Notify(testContext(t), broker.Notification{MessageID: "m-1", ReplyTo: queue, CorrelationID: "c-1"}))
	d := receive(t, notifications, "the notification")
	require.JSONEq(t, `{"message_id":"m-1"}`, string(d.Body))
	require.Equal(t, "application/json", d.ContentType)
	require.Equal(t, amqp.Persistent, d.DeliveryMode)
	require.Equal(t, queue, d.ReplyTo)
	require.Equal(t, "c-1", d.CorrelationId)
	require.Empty(t, d.Headers)
	require.NoError(t, gateway.PublishWithContext(t.Context(), "", d.ReplyTo, false, false, amqp.Publishing{
		CorrelationId: d.CorrelationId, Body: []byte(`{"ok": true}`),
	}))
	require.Equal(t, broker.Answer{CorrelationID: "c-1", Body: []byte(`{"ok": true}`)}, receive(t, got, "the answer"))

	require.NoError(t, client.Notify(testContext(t), broker.Notification{MessageID: "m-2"}))
	d = receive(t, notifications, "the notification")
	require.Empty(t, d.ReplyTo)
	require.Empty(t, d.CorrelationId)
}
