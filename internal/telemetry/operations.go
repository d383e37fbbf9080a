package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// system is the messaging.system of what this library carries itself.
var system = semconv.MessagingSystemKey.String("message_gateway")

// Attributes of our own.
const (
	// KeyConnection is the id of the connection of a device.
	KeyConnection = attribute.Key("gateway.connection.id")
	// KeyHub is a hub.
	KeyHub = attribute.Key("gateway.hub")
	// KeyCommandType is the type of a command.
	KeyCommandType = attribute.Key("gateway.command.type")
	// KeyOrigin says how a node came to know a message.
	KeyOrigin = attribute.Key("gateway.delivery.origin")
	// KeyRedelivery says that a message was sent again.
	KeyRedelivery = attribute.Key("gateway.delivery.redelivery")
	// KeyReceivers is how many connections of a node a message was handed to.
	KeyReceivers = attribute.Key("gateway.delivery.connections")
	// KeyAnswer says where an answer was found: in the queue or the database.
	KeyAnswer = attribute.Key("gateway.answer.source")
)

// The operations of a client.
var (
	SendRealtime = operation("send", semconv.MessagingOperationTypeSend, "realtime/{user}", trace.SpanKindProducer)
	SendReliable = operation("send", semconv.MessagingOperationTypeSend, "reliable/{user}", trace.SpanKindProducer)
	SendCommand  = operation("send", semconv.MessagingOperationTypeSend, "command/{user}", trace.SpanKindProducer)
	SendHub      = operation("send", semconv.MessagingOperationTypeSend, "hub", trace.SpanKindProducer)
	// RequestCommand is a SendCommand that waits: around the send, until the
	// answer is there.
	RequestCommand = operation("request", attribute.KeyValue{}, "command/{user}", trace.SpanKindClient)
	AwaitCommand   = operation("await", attribute.KeyValue{}, "command/{user}", trace.SpanKindClient)
	// Commit and Hint are done for many messages together.
	Commit = operation("commit", attribute.KeyValue{}, "push_messages", trace.SpanKindInternal)
	Hint   = operation("publish", semconv.MessagingOperationTypeSend, "deliver:user:{user}", trace.SpanKindInternal)
	// Receive is an answer that came through the reply queue.
	Receive = brokered("receive", semconv.MessagingOperationTypeReceive, "ws.message.gateway.reply.{client}", trace.SpanKindConsumer)
)

// The operations between client and node.
var (
	Notify   = brokered("publish", semconv.MessagingOperationTypeSend, "ws.message.direct.exchange", trace.SpanKindProducer)
	Notified = brokered("process", semconv.MessagingOperationTypeProcess, "ws.message.gateway.node", trace.SpanKindConsumer)
)

// The operations of a node.
var (
	DeliverReliable     = operation("deliver", semconv.MessagingOperationTypeProcess, "reliable/{user}", trace.SpanKindConsumer)
	DeliverCommand      = operation("deliver", semconv.MessagingOperationTypeProcess, "command/{user}", trace.SpanKindConsumer)
	DeliverHub          = operation("deliver", semconv.MessagingOperationTypeProcess, "hub", trace.SpanKindConsumer)
	AcknowledgeReliable = operation("acknowledge", semconv.MessagingOperationTypeSettle, "reliable/{user}", trace.SpanKindClient)
	AcknowledgeCommand  = operation("acknowledge", semconv.MessagingOperationTypeSettle, "command/{user}", trace.SpanKindClient)
	// Answer is from the device's answer until it is stored and on its way.
	Answer = brokered("answer", semconv.MessagingOperationTypeSend, "command/{user}", trace.SpanKindProducer)
)

func operation(name string, kind attribute.KeyValue, template string, span trace.SpanKind) *Operation {
	op := brokered(name, kind, template, span)
	op.broker = false
	op.opts = append(op.opts, trace.WithAttributes(system))
	return op
}

func brokered(name string, kind attribute.KeyValue, template string, span trace.SpanKind) *Operation {
	attrs := []attribute.KeyValue{semconv.MessagingOperationName(name), semconv.MessagingDestinationTemplate(template)}
	if kind.Valid() {
		attrs = append(attrs, kind)
	}
	return &Operation{
		name: name + " " + template, broker: true,
		opts: []trace.SpanStartOption{trace.WithSpanKind(span), trace.WithAttributes(attrs...)},
	}
}
