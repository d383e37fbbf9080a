package rabbit_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/broker/brokertest"
	"github.com/message-gateway/gateway/internal/broker/rabbit"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	testenv.RabbitMQ(t)
	brokertest.Run(t, func(t testing.TB) (broker.Broker, broker.Broker) {
		t.Helper()
		names := freshNames(t)
		opts := rabbit.Options{URLs: []string{testenv.RabbitMQ(t)}, Names: names}
		return open(t, opts), open(t, opts)
	})
}

// freshNames returns names that no other test has, and removes what was
// declared under them when the test ends.
func freshNames(t testing.TB) wire.Names {
	t.Helper()
	names := wire.Names{RabbitPrefix: "t" + testenv.Unique() + "."}
	url := testenv.RabbitMQ(t)
	t.Cleanup(func() {
		conn, err := amqp.Dial(url)
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = conn.Close() }()
		ch, err := conn.Channel()
		if !assert.NoError(t, err) {
			return
		}
		queues := []string{names.NotificationQueue()}
		for attempt := range 3 {
			queues = append(queues, rabbit.RetryQueue(names, broker.RetryPause(attempt+1)))
		}
		for _, q := range queues {
			_, err = ch.QueueDelete(q, false, false, false)
			assert.NoError(t, err)
		}
		assert.NoError(t, ch.ExchangeDelete(names.Exchange(), false, false))
	})
	return names
}

func open(t testing.TB, opts rabbit.Options) *rabbit.Broker {
	t.Helper()
	if opts.ReplyQueueExpiry == 0 {
		// For the queues that a test keeps Close from deleting.
		opts.ReplyQueueExpiry = time.Minute
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	b, err := rabbit.Open(ctx, opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b
}
