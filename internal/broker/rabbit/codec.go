package rabbit

import (
	"encoding/json"
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/telemetry"
)

const contentType = "application/json"

// attemptHeader counts the failed attempts on a notification (ours: it is only
// on what comes back from a retry queue).
const attemptHeader = "x-gateway-attempt"

// body is the body of a notification. Readers ignore other members.
type body struct {
	MessageID *string `json:"message_id"`
}

func encode(n broker.Notification) (amqp.Publishing, error) {
	raw, err := json.Marshal(body{MessageID: &n.MessageID})
	return amqp.Publishing{
		Headers:       traceHeaders(n.Trace),
		ContentType:   contentType,
		DeliveryMode:  amqp.Persistent,
		ReplyTo:       n.ReplyTo,
		CorrelationId: n.CorrelationID,
		Body:          raw,
	}, err
}

func decode(d amqp.Delivery) (broker.Notification, error) {
	var b body
	if err := json.Unmarshal(d.Body, &b); err != nil {
		return broker.Notification{}, err
	}
	if b.MessageID == nil || *b.MessageID == "" {
		return broker.Notification{}, errors.New("no message_id")
	}
	return broker.Notification{
		MessageID: *b.MessageID, ReplyTo: d.ReplyTo, CorrelationID: d.CorrelationId, Trace: traceOf(d.Headers),
	}, nil
}

// traceHeaders carry a trace as instrumented AMQP clients of any make do. The
// contract knows no headers, and readers ignore them.
func traceHeaders(sc trace.SpanContext) amqp.Table {
	parent, state := telemetry.Format(sc)
	if parent == "" {
		return nil
	}
	headers := amqp.Table{telemetry.TraceParent: parent}
	if state != "" {
		headers[telemetry.TraceState] = state
	}
	return headers
}

// traceOf reads traceHeaders. Anything strange is no trace.
func traceOf(headers amqp.Table) trace.SpanContext {
	parent, _ := headers[telemetry.TraceParent].(string)
	state, _ := headers[telemetry.TraceState].(string)
	return telemetry.Parse(parent, state)
}

// failedBefore reads how many attempts on a notification failed. The header is
// only a pace: a strange value costs nothing but a wrong pause.
func failedBefore(d amqp.Delivery) int {
	if n, ok := d.Headers[attemptHeader].(int32); ok && n > 0 {
		return int(min(n, 1<<20))
	}
	return 0
}

// again is the delivery as it goes to a retry queue. Its headers stay behind, but
// for the trace: among them is x-death, by which the server drops a message that expires in the
// same queue a second time.
func again(d amqp.Delivery, failed int, expiration string) amqp.Publishing {
	headers := traceHeaders(traceOf(d.Headers))
	if headers == nil {
		headers = amqp.Table{}
	}
	headers[attemptHeader] = int32(failed)
	return amqp.Publishing{
		Headers:       headers,
		ContentType:   contentType,
		DeliveryMode:  amqp.Persistent,
		ReplyTo:       d.ReplyTo,
		CorrelationId: d.CorrelationId,
		Expiration:    expiration,
		Body:          d.Body,
	}
}
