// Package broker carries the notifications and answers of the wire contract.
// Two implementations fit the interface: RabbitMQ, and one inside the process.
// The suite in brokertest holds for both.
package broker

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/trace"
)

// ErrClosed is returned by every method after Close.
var ErrClosed = errors.New("broker: closed")

// ErrInvalid is wrapped by the error for an argument that cannot be sent, such
// as a correlation id that is longer than AMQP allows. Nothing was sent, and
// the same call cannot succeed later.
var ErrInvalid = errors.New("broker: invalid argument")

// Notification tells the gateways about a stored message.
type Notification struct {
	MessageID string
	// ReplyTo and CorrelationID are set for a command that waits.
	ReplyTo       string
	CorrelationID string
	// Trace is the span that published it, or not valid.
	Trace trace.SpanContext
}

// Answer is a device's answer to a command on its way to the waiting client.
type Answer struct {
	CorrelationID string
	Body          []byte
	// Trace is the span that published it, or not valid.
	Trace trace.SpanContext
}

// Broker connects processes through queues. All methods may be called at the
// same time from several goroutines and end with their ctx. Connections come
// back by themselves, with backoff and jitter; exchanges, queues and consumers
// are declared again.
type Broker interface {
	// Notify publishes a notification and returns when the server has
	// confirmed it. While the connection is down it waits, until ctx ends.
	Notify(ctx context.Context, n Notification) error
	// Reply publishes an answer to the queue and returns when the server has
	// confirmed it. A queue that does not exist is no error: nobody waits.
	Reply(ctx context.Context, queue string, a Answer) error
	// ConsumeNotifications hands every notification to the handler, up to
	// prefetch of them at the same time. A nil error acknowledges it; any
	// other puts it back for a later attempt, by whichever node, after a pause.
	// Bodies that are no notification are dropped and logged. It returns once the consumer
	// runs, or with ctx's error; it may be called once. The returned func
	// stops the consumer and waits for running handlers.
	ConsumeNotifications(ctx context.Context, prefetch int, handler func(context.Context, Notification) error) (stop func(), err error)
	// ConsumeReplies declares this process's own reply queue, calls the
	// handler for each answer, one at a time, and returns the queue's name
	// once the consumer runs, or ctx's error. Answers that arrive while the
	// connection is down wait in the queue. onReconnect, if not nil, is called
	// each time the consumer runs again after a break. Neither function may
	// block: they hold back the answers behind them. It may be called once.
	ConsumeReplies(ctx context.Context, handler func(Answer), onReconnect func()) (queue string, err error)
	// Ping answers whether the broker can be reached.
	Ping(ctx context.Context) error
	// Close ends consumers, waits for running handlers (which may still publish,
	// and whose ctx ends after DrainGrace) and releases the connections. It is
	// safe to call twice, but not from within a handler.
	Close() error
}
