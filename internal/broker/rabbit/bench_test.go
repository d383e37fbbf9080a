package rabbit_test

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/broker/rabbit"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// The benchmarks set this package beside the bare driver, used as well as it can
// be: one channel with deferred confirms that all goroutines share. They count
// completed calls only.

var callerCounts = []int{1, 256}

// eachCaller runs b.N calls from a number of goroutines.
func eachCaller(b *testing.B, callers int, call func() error) {
	b.Helper()
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := call(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func openQuiet(b *testing.B, names wire.Names) *rabbit.Broker {
	b.Helper()
	return open(b, rabbit.Options{URLs: []string{testenv.RabbitMQ(b)}, Names: names, Logger: slog.New(slog.DiscardHandler)})
}

func bareConfirm(b *testing.B) func(exchange, key string, msg amqp.Publishing) error {
	b.Helper()
	ch := raw(b)
	require.NoError(b, ch.Confirm(false))
	return func(exchange, key string, msg amqp.Publishing) error {
		confirmed, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, msg)
		if err == nil && !confirmed.Wait() {
			err = amqp.ErrClosed
		}
		return err
	}
}

// boundQueue binds a queue to the exchange, so that notifications go somewhere,
// and empties it at the end.
func boundQueue(b *testing.B, names wire.Names) {
	b.Helper()
	ch := raw(b)
	require.NoError(b, ch.ExchangeDeclare(names.Exchange(), "direct", true, false, false, false, nil))
	_, err := ch.QueueDeclare(names.NotificationQueue(), true, false, false, false, nil)
	require.NoError(b, err)
	require.NoError(b, ch.QueueBind(names.NotificationQueue(), wire.RoutingKey, names.Exchange(), false, nil))
}

func BenchmarkNotify(b *testing.B) {
	ctx := context.Background()
	for _, callers := range callerCounts {
		b.Run("gateway/callers="+strconv.Itoa(callers), func(b *testing.B) {
			names := freshNames(b)
			boundQueue(b, names)
			g := openQuiet(b, names)
			eachCaller(b, callers, func() error {
				return g.Notify(ctx, broker.Notification{MessageID: "0190b5f6-7a4f-7c44-b0f7-5b1f5a7e3c11"})
			})
		})
		b.Run("bare/callers="+strconv.Itoa(callers), func(b *testing.B) {
			names := freshNames(b)
			boundQueue(b, names)
			publish := bareConfirm(b)
			eachCaller(b, callers, func() error {
				return publish(names.Exchange(), wire.RoutingKey, amqp.Publishing{
					ContentType: "application/json", DeliveryMode: amqp.Persistent,
					Body: []byte(`{"message_id":"0190b5f6-7a4f-7c44-b0f7-5b1f5a7e3c11"}`),
				})
			})
		})
	}
}

// BenchmarkRequestReply is a command without its database: notification, node,
// answer.
func BenchmarkRequestReply(b *testing.B) {
	for _, callers := range callerCounts {
		b.Run("gateway/callers="+strconv.Itoa(callers), func(b *testing.B) {
			names := freshNames(b)
			client, node := openQuiet(b, names), openQuiet(b, names)
			body := []byte(`{"ok":true}`)
			_, err := node.ConsumeNotifications(b.Context(), 256, func(ctx context.Context, n broker.Notification) error {
				return node.Reply(ctx, n.ReplyTo, broker.Answer{CorrelationID: n.CorrelationID, Body: body})
			})
			require.NoError(b, err)
			var w waiters
			queue, err := client.ConsumeReplies(b.Context(), func(a broker.Answer) { w.answer(a.CorrelationID) }, nil)
			require.NoError(b, err)
			eachCaller(b, callers, func() error {
				id, answered := w.register()
				if err := client.Notify(b.Context(), broker.Notification{MessageID: id, ReplyTo: queue, CorrelationID: id}); err != nil {
					return err
				}
				<-answered
				return nil
			})
		})
		b.Run("bare/callers="+strconv.Itoa(callers), func(b *testing.B) {
			names := freshNames(b)
			boundQueue(b, names)
			request, reply := bareConfirm(b), bareConfirm(b)
			node, client := raw(b), raw(b)
			require.NoError(b, node.Qos(256, 0, false))
			requests, err := node.Consume(names.NotificationQueue(), "", false, false, false, false, nil)
			require.NoError(b, err)
			go func() {
				for d := range requests {
					go func() {
						_ = reply("", d.ReplyTo, amqp.Publishing{ContentType: "application/json", CorrelationId: d.CorrelationId, Body: []byte(`{"ok":true}`)})
						_ = d.Ack(false)
					}()
				}
			}()
			q, err := client.QueueDeclare("", false, true, true, false, nil)
			require.NoError(b, err)
			answers, err := client.Consume(q.Name, "", false, true, false, false, nil)
			require.NoError(b, err)
			var w waiters
			go func() {
				for d := range answers {
					w.answer(d.CorrelationId)
					_ = d.Ack(false)
				}
			}()
			eachCaller(b, callers, func() error {
				id, answered := w.register()
				err := request(names.Exchange(), wire.RoutingKey, amqp.Publishing{
					ContentType: "application/json", DeliveryMode: amqp.Persistent,
					ReplyTo: q.Name, CorrelationId: id, Body: []byte(`{"message_id":"` + id + `"}`),
				})
				if err != nil {
					return err
				}
				<-answered
				return nil
			})
		})
	}
}

// waiters maps correlation ids to those who wait.
type waiters struct {
	last atomic.Uint64
	m    sync.Map
}

func (w *waiters) register() (id string, answered chan struct{}) {
	id, answered = strconv.FormatUint(w.last.Add(1), 10), make(chan struct{})
	w.m.Store(id, answered)
	return id, answered
}

func (w *waiters) answer(id string) {
	if c, ok := w.m.LoadAndDelete(id); ok {
		close(c.(chan struct{}))
	}
}
