package telemetry

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Tracer starts the spans of the module. A nil Tracer starts none and
// allocates nothing. It may be used from several goroutines.
type Tracer struct {
	tracer trace.Tracer
	// broker is the messaging.system of what goes through the broker.
	broker attribute.KeyValue
}

// NewTracer returns nil, which is off, for a nil provider. rabbit says whether
// notifications and answers go through RabbitMQ.
func NewTracer(provider trace.TracerProvider, rabbit bool) *Tracer {
	if provider == nil {
		return nil
	}
	t := &Tracer{tracer: provider.Tracer(Scope, trace.WithSchemaURL(semconv.SchemaURL)), broker: system}
	if rabbit {
		t.broker = semconv.MessagingSystemRabbitMQ
	}
	return t
}

// None is the span that is not there.
var None = trace.SpanFromContext(context.Background())

// Operation is what one kind of span says, made once. Its name and attributes
// follow the semantic conventions for messaging.
type Operation struct {
	name string
	opts []trace.SpanStartOption
	// broker: the attribute messaging.system is the broker's.
	broker bool
}

// Start begins a span below the one in ctx, or a trace of its own. Callers set
// more attributes if it records: that way nothing is allocated if it does not.
// Where the trace in ctx is not sampled it does not ask the sampler and returns None: who
// began the trace has decided.
func (t *Tracer) Start(ctx context.Context, op *Operation) (context.Context, trace.Span) {
	if t == nil || unsampled(trace.SpanContextFromContext(ctx)) {
		return ctx, None
	}
	return t.start(ctx, op, op.opts)
}

func unsampled(sc trace.SpanContext) bool { return sc.IsValid() && !sc.IsSampled() }

// StartRemote is Start below a span of another process, or of this one at an
// earlier time. If that is not known it begins a trace of its own.
func (t *Tracer) StartRemote(ctx context.Context, parent trace.SpanContext, op *Operation, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t == nil || unsampled(parent) {
		return ctx, None
	}
	return t.start(trace.ContextWithRemoteSpanContext(ctx, parent), op, slices.Concat(op.opts, opts))
}

func (t *Tracer) start(ctx context.Context, op *Operation, opts []trace.SpanStartOption) (context.Context, trace.Span) {
	ctx, span := t.tracer.Start(ctx, op.name, opts...)
	if op.broker && span.IsRecording() {
		span.SetAttributes(t.broker)
	}
	return ctx, span
}

// Of is the trace context that ctx carries to other processes.
func (t *Tracer) Of(ctx context.Context) trace.SpanContext {
	if t == nil {
		return trace.SpanContext{}
	}
	return trace.SpanContextFromContext(ctx)
}

// Batch begins a span for work that is done for several messages together: a
// trace of its own with a link to each of them that is sampled, since it
// belongs to none of them alone. The span of a single message is its child.
// Without a sampled message there is none.
func Batch[T any](ctx context.Context, t *Tracer, op *Operation, items []T, of func(T) trace.SpanContext) (context.Context, trace.Span) {
	if t == nil {
		return ctx, None
	}
	var links []trace.Link
	for _, item := range items {
		if sc := of(item); sc.IsSampled() {
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	switch {
	case len(links) == 0:
		return ctx, None
	case len(items) == 1:
		return t.StartRemote(ctx, links[0].SpanContext, op)
	}
	opts := append([]trace.SpanStartOption{
		trace.WithNewRoot(), trace.WithLinks(links...),
		trace.WithAttributes(semconv.MessagingBatchMessageCount(len(items))),
	}, op.opts...)
	return t.tracer.Start(ctx, op.name, opts...)
}

// End ends a span. class is a short name of err for error.type.
func End(span trace.Span, class string, err error) {
	if err != nil && span.IsRecording() {
		span.SetStatus(codes.Error, err.Error())
		span.SetAttributes(semconv.ErrorTypeKey.String(class))
	}
	span.End()
}

// w3c is the format of trace contexts on the wire.
var w3c propagation.TraceContext

// The names of the two parts of a trace context.
const (
	TraceParent = "traceparent"
	TraceState  = "tracestate"
)

// Format returns the two parts of a trace context; both are empty for one that
// is not valid.
func Format(sc trace.SpanContext) (parent, state string) {
	if !sc.IsValid() {
		return "", ""
	}
	carrier := propagation.MapCarrier{}
	w3c.Inject(trace.ContextWithSpanContext(context.Background(), sc), carrier)
	return carrier[TraceParent], carrier[TraceState]
}

// Parse is the inverse of Format. What is not a trace context gives one that is
// not valid.
func Parse(parent, state string) trace.SpanContext {
	if parent == "" {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{TraceParent: parent}
	if state != "" {
		carrier[TraceState] = state
	}
	return trace.SpanContextFromContext(w3c.Extract(context.Background(), carrier))
}
