package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// QueueName names a queue in metrics.
type QueueName string

// The queues of a client.
const (
	// QueueCommit are sends that wait to be stored.
	QueueCommit QueueName = "commit"
	// QueuePublish are realtime and hub messages that wait to be published.
	QueuePublish QueueName = "publish"
	// QueueHints are stored messages that wait for their hint.
	QueueHints QueueName = "hints"
	// QueueNotifications are notifications that wait for the broker.
	QueueNotifications QueueName = "notifications"
	// QueueTransactions are messages of transactions that may not have ended.
	QueueTransactions QueueName = "transactions"
	// QueueWaiters are calls that wait for the answer to a command.
	QueueWaiters QueueName = "waiters"
	// QueueSocket is what waits for the network to RabbitMQ.
	QueueSocket QueueName = "rabbitmq_socket"
)

// The queues of a node.
const (
	// QueueConnections are the connections, where they are limited.
	QueueConnections QueueName = "connections"
	// QueueDeliveries and QueueAcknowledgements wait to be written.
	QueueDeliveries       QueueName = "deliveries"
	QueueAcknowledgements QueueName = "acknowledgements"
	// QueueAnswers are answers that wait to be stored.
	QueueAnswers QueueName = "answers"
	// QueueReplies are stored answers on their way to who waits.
	QueueReplies QueueName = "replies"
	// QueueCalls are questions of other processes about connections.
	QueueCalls QueueName = "calls"
)

// QueueREST are the REST calls that run, where they are limited.
const QueueREST QueueName = "rest_calls"

// The queues of the embedded backend.
const (
	// QueueBus is what waits for the listeners of the bus.
	QueueBus QueueName = "bus"
	// QueueBroker are notifications, QueueBrokerAnswers answers in the broker.
	QueueBroker        QueueName = "broker_notifications"
	QueueBrokerAnswers QueueName = "broker_answers"
)

// QueueNames are all of them.
var QueueNames = []QueueName{
	QueueCommit, QueuePublish, QueueHints, QueueNotifications, QueueTransactions, QueueWaiters, QueueSocket,
	QueueConnections, QueueDeliveries, QueueAcknowledgements, QueueAnswers, QueueReplies, QueueCalls, QueueREST,
	QueueBus, QueueBroker, QueueBrokerAnswers,
}

var queueAttributes = func() map[QueueName]Attributes {
	all := make(map[QueueName]Attributes, len(QueueNames))
	for _, name := range QueueNames {
		all[name] = With(attribute.String("queue", string(name)))
	}
	return all
}()

// Queue is a bounded place where work waits. The functions may be called at any
// time between Watch and its end.
type Queue struct {
	Name QueueName
	// Length and Limit count items; Length is nil where only bytes are bounded.
	Length, Limit func() int
	// Bytes and ByteLimit count bytes; nil where they are not bounded.
	Bytes, ByteLimit func() int
}

// Bound is a limit that does not change.
func Bound(n int) func() int { return func() int { return n } }

// Queued is what has queues.
type Queued interface{ Queues() []Queue }

// Watch reports queues until stop is called.
func (m *Metrics) Watch(queues []Queue) (stop func(), err error) {
	observe := func(_ context.Context, o metric.Observer) error {
		for _, q := range queues {
			attrs := queueAttributes[q.Name].Observe
			if q.Length != nil {
				o.ObserveInt64(m.queueLength, int64(q.Length()), attrs...)
				o.ObserveInt64(m.queueLimit, int64(q.Limit()), attrs...)
			}
			if q.Bytes != nil {
				o.ObserveInt64(m.queueBytes, int64(q.Bytes()), attrs...)
				o.ObserveInt64(m.queueByteCap, int64(q.ByteLimit()), attrs...)
			}
		}
		return nil
	}
	return m.register(observe, m.queueLength, m.queueLimit, m.queueBytes, m.queueByteCap)
}

// Devices is what waits for the devices of a node.
type Devices struct {
	Frames, Bytes int
	// Fullest is the fill of the fullest queue, from 0 to 1.
	Fullest float64
}

// WatchDevices reports the queues of devices until stop is called.
func (m *Metrics) WatchDevices(look func() Devices) (stop func(), err error) {
	observe := func(_ context.Context, o metric.Observer) error {
		d := look()
		o.ObserveInt64(m.deviceFrames, int64(d.Frames))
		o.ObserveInt64(m.deviceBytes, int64(d.Bytes))
		o.ObserveFloat64(m.deviceFullest, d.Fullest)
		return nil
	}
	return m.register(observe, m.deviceFrames, m.deviceBytes, m.deviceFullest)
}

func (m *Metrics) register(observe metric.Callback, instruments ...metric.Observable) (func(), error) {
	registration, err := m.meter.RegisterCallback(observe, instruments...)
	if err != nil {
		return nil, err
	}
	return func() { _ = registration.Unregister() }, nil // its only error is that it is not registered
}

// Overflow counts something that did not fit into a queue.
func (m *Metrics) Overflow(name QueueName) {
	m.Overflows.Add(context.Background(), 1, queueAttributes[name].Add...)
}
