package node_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"tracing/reliable":     testTraceReliable,
	"tracing/command":      testTraceCommand,
	"tracing/twoNodes":     testTraceTwoNodes,
	"tracing/awaited":      testTraceAwaited,
	"tracing/catchUp":      testTraceCatchUp,
	"tracing/together":     testTraceTogether,
	"tracing/notSampled":   testTraceNotSampled,
	"tracing/redelivery":   testTraceRedelivery,
	"tracing/hub":          testTraceHub,
	"tracing/notification": testTraceNotification,
})

// traced is a place where spans of several processes come together.
type traced struct {
	exporter *tracetest.InMemoryExporter
	provider *trace.TracerProvider
}

func newTraced(t testing.TB, opts ...trace.TracerProviderOption) *traced {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(append(opts, trace.WithSyncer(exporter))...)
	t.Cleanup(func() { assert.NoError(t, provider.Shutdown(context.Background())) })
	return &traced{exporter: exporter, provider: provider}
}

// open is one more process that is traced.
func (tr *traced) open(t testing.TB, w *world) *gateway.Client {
	t.Helper()
	return openClient(t, w.cfg, gateway.WithTracerProvider(tr.provider))
}

// span waits for an ended span of this name; of says more about it.
func (tr *traced) span(t testing.TB, name string, of func(tracetest.SpanStub) bool) tracetest.SpanStub {
	t.Helper()
	deadline := time.Now().Add(devicetest.Patience)
	for {
		for _, s := range tr.exporter.GetSpans() {
			if s.Name == name && (of == nil || of(s)) {
				return s
			}
		}
		if time.Now().After(deadline) {
			for _, s := range tr.exporter.GetSpans() {
				t.Log(s.Name, s.SpanContext.TraceID(), s.Attributes)
			}
			t.Fatalf("no span %q", name)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func about(id string) func(tracetest.SpanStub) bool {
	return func(s tracetest.SpanStub) bool { return value(s, "messaging.message.id") == id }
}

func value(s tracetest.SpanStub, key attribute.Key) string {
	for _, kv := range s.Attributes {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return ""
}

// caughtUp connects a device, and returns once it has what was there before: a
// message that is stored meanwhile may be found in the database, and begins a
// trace of its own then.
func (h *host) caughtUp(t testing.TB, userID, subprotocol string) *deviceAck {
	t.Helper()
	d := &deviceAck{h.connect(t, userID, subprotocol)}
	d.ack(t, d.until(t, h.world.reliable(t, userID, "first")))
	return d
}

// until waits for one message: others may come before it.
func (d *deviceAck) until(t testing.TB, id string) devicetest.Envelope {
	t.Helper()
	for {
		if e := d.Envelope(t); e.ID == id {
			return e
		}
	}
}

// below requires that a span is the child of another one.
func below(t testing.TB, child, parent tracetest.SpanStub) {
	t.Helper()
	assert.Equal(t, parent.SpanContext.TraceID(), child.SpanContext.TraceID(), "%s is in the trace of %s", child.Name, parent.Name)
	assert.Equal(t, parent.SpanContext.SpanID(), child.Parent.SpanID(), "%s is below %s", child.Name, parent.Name)
}

// deviceAck acknowledges in the way of its subprotocol.
type deviceAck struct{ *devicetest.Device }

func (d *deviceAck) ack(t testing.TB, e devicetest.Envelope) {
	t.Helper()
	if d.Subprotocol() == devicetest.Reliable {
		d.SequenceAck(t, e.SequenceID)
		return
	}
	d.Acknowledge(t, e.ID)
}

// testTraceReliable: one trace from the caller to the acknowledgement.
func testTraceReliable(t *testing.T, w *world) {
	tr := newTraced(t)
	h := w.nodeOn(t, tr.open(t, w), node.Options{})
	client := tr.open(t, w)
	for _, subprotocol := range []string{devicetest.Reliable, devicetest.JSON} {
		u := user()
		d := h.caughtUp(t, u, subprotocol)
		ctx, caller := tr.provider.Tracer("test").Start(t.Context(), "checkout")
		id, err := client.SendReliable(ctx, u, "secret payload")
		require.NoError(t, err)
		caller.End()
		d.ack(t, d.Envelope(t))

		send := tr.span(t, "send reliable/{user}", about(id))
		deliver := tr.span(t, "deliver reliable/{user}", about(id))
		ack := tr.span(t, "acknowledge reliable/{user}", about(id))
		assert.Equal(t, caller.SpanContext().SpanID(), send.Parent.SpanID())
		assert.Equal(t, caller.SpanContext().TraceID(), send.SpanContext.TraceID())
		below(t, deliver, send)
		below(t, ack, deliver)
		assert.Equal(t, api.SpanKindProducer, send.SpanKind)
		assert.Equal(t, api.SpanKindConsumer, deliver.SpanKind)
		assert.Equal(t, "message_gateway", value(send, "messaging.system"))
		assert.Equal(t, "send", value(send, "messaging.operation.type"))
		assert.Equal(t, "process", value(deliver, "messaging.operation.type"))
		assert.Equal(t, "settle", value(ack, "messaging.operation.type"))
		assert.Equal(t, u, value(send, "user.id"))
		assert.Equal(t, "hint", value(deliver, "gateway.delivery.origin"))
		assert.NotEmpty(t, value(ack, "gateway.connection.id"))
		assert.False(t, ack.EndTime.Before(deliver.EndTime))
		below(t, tr.span(t, "commit push_messages", func(s tracetest.SpanStub) bool {
			return s.SpanContext.TraceID() == send.SpanContext.TraceID()
		}), send)
		for _, s := range tr.exporter.GetSpans() {
			for _, kv := range s.Attributes {
				assert.NotContains(t, kv.Value.String(), "secret", s.Name)
			}
		}
	}
}

// testTraceCommand: to the answer back at the caller, through the broker.
func testTraceCommand(t *testing.T, w *world) {
	tr := newTraced(t)
	h := w.nodeOn(t, tr.open(t, w), node.Options{})
	u := user()
	d := h.caughtUp(t, u, devicetest.JSON)
	c := sendCommand(t, tr.open(t, w), u, 1)
	e := d.Envelope(t)
	d.Acknowledge(t, e.ID)
	tr.span(t, "acknowledge command/{user}", about(e.ID))
	require.True(t, d.Respond(t, e.RequestID, "done").Success)
	_, err := c.wait(t)
	require.NoError(t, err)

	request := tr.span(t, "request command/{user}", about(e.ID))
	send := tr.span(t, "send command/{user}", about(e.ID))
	deliver := tr.span(t, "deliver command/{user}", about(e.ID))
	answer := tr.span(t, "answer command/{user}", about(e.ID))
	receive := tr.span(t, "receive ws.message.gateway.reply.{client}", nil)
	below(t, send, request)
	below(t, deliver, send)
	below(t, answer, deliver)
	below(t, receive, answer)
	assert.Equal(t, api.SpanKindClient, request.SpanKind)
	assert.Equal(t, api.SpanKindProducer, answer.SpanKind)
	assert.Equal(t, api.SpanKindConsumer, receive.SpanKind)
	assert.Equal(t, "queue", value(request, "gateway.answer.source"))
	system := "message_gateway"
	if w.real() {
		system = "rabbitmq"
	}
	assert.Equal(t, system, value(receive, "messaging.system"))
	assert.False(t, request.EndTime.Before(answer.StartTime))
}

// testTraceTwoNodes: both nodes of a user deliver in the trace of the send.
func testTraceTwoNodes(t *testing.T, w *world) {
	tr := newTraced(t)
	first, second := w.nodeOn(t, tr.open(t, w), node.Options{}), w.nodeOn(t, tr.open(t, w), node.Options{})
	u := user()
	devices := []*deviceAck{first.caughtUp(t, u, devicetest.JSON)}
	devices = append(devices, second.caughtUp(t, u, devicetest.JSON))
	id, err := tr.open(t, w).SendReliable(t.Context(), u, 1)
	require.NoError(t, err)
	for _, d := range devices {
		d.until(t, id)
	}
	devices[1].Acknowledge(t, id)
	send := tr.span(t, "send reliable/{user}", about(id))
	ack := tr.span(t, "acknowledge reliable/{user}", about(id))
	connections := map[string]tracetest.SpanStub{}
	tr.span(t, "deliver reliable/{user}", func(s tracetest.SpanStub) bool {
		if about(id)(s) {
			connections[value(s, "gateway.connection.id")] = s
		}
		return len(connections) == 2
	})
	for _, deliver := range connections {
		below(t, deliver, send)
	}
	below(t, ack, connections[value(ack, "gateway.connection.id")])
}

// testTraceAwaited: the wait belongs to the trace of whoever waits.
func testTraceAwaited(t *testing.T, w *world) {
	tr := newTraced(t)
	h := w.nodeOn(t, tr.open(t, w), node.Options{})
	u := user()
	d := h.caughtUp(t, u, devicetest.JSON)
	client := tr.open(t, w)
	res, err := client.SendCommand(t.Context(), u, "later", 1, gateway.NoWait())
	require.NoError(t, err)
	e := d.Envelope(t)
	require.True(t, d.Respond(t, e.RequestID, "done").Success)
	ctx, waiter := tr.provider.Tracer("test").Start(t.Context(), "later")
	_, err = tr.open(t, w).AwaitCommand(ctx, res.MessageID)
	require.NoError(t, err)

	send := tr.span(t, "send command/{user}", about(e.ID))
	await := tr.span(t, "await command/{user}", about(e.ID))
	answer := tr.span(t, "answer command/{user}", about(e.ID))
	below(t, answer, tr.span(t, "deliver command/{user}", about(e.ID)))
	assert.Equal(t, send.SpanContext.TraceID(), answer.SpanContext.TraceID())
	assert.Equal(t, waiter.SpanContext().TraceID(), await.SpanContext.TraceID())
	assert.NotEqual(t, send.SpanContext.TraceID(), await.SpanContext.TraceID())
	assert.Equal(t, "database", value(await, "gateway.answer.source"))
}

// testTraceCatchUp: the trace is not stored, so a delivery on the user's return
// begins one, which names the message.
func testTraceCatchUp(t *testing.T, w *world) {
	tr := newTraced(t)
	h := w.nodeOn(t, tr.open(t, w), node.Options{})
	u := user()
	id, err := tr.open(t, w).SendReliable(t.Context(), u, 1)
	require.NoError(t, err)
	send := tr.span(t, "send reliable/{user}", about(id))
	d := h.connect(t, u, devicetest.JSON)
	d.Acknowledge(t, d.Envelope(t).ID)
	deliver := tr.span(t, "deliver reliable/{user}", about(id))
	if value(deliver, "gateway.delivery.origin") == "catch_up" { // the notification may be faster
		assert.False(t, deliver.Parent.IsValid())
		assert.NotEqual(t, send.SpanContext.TraceID(), deliver.SpanContext.TraceID())
	}
	below(t, tr.span(t, "acknowledge reliable/{user}", about(id)), deliver)
}

// testTraceTogether: sends that are committed together keep their traces apart,
// and the commit is linked to all of them.
func testTraceTogether(t *testing.T, w *world) {
	const sends = 64
	tr := newTraced(t)
	h := w.nodeOn(t, tr.open(t, w), node.Options{})
	u := user()
	d := h.caughtUp(t, u, devicetest.JSON)
	client := tr.open(t, w)
	type sent struct {
		id    string
		trace api.TraceID
		err   error
	}
	all := make(chan sent, sends)
	begin := make(chan struct{})
	for range sends {
		go func() {
			ctx, span := tr.provider.Tracer("test").Start(context.Background(), "caller")
			<-begin
			id, err := client.SendReliable(ctx, u, 1)
			span.End()
			all <- sent{id, span.SpanContext().TraceID(), err}
		}()
	}
	close(begin)
	traces := map[string]api.TraceID{}
	for range sends {
		s := <-all
		require.NoError(t, s.err)
		traces[s.id] = s.trace
	}
	for range sends {
		d.Acknowledge(t, d.Envelope(t).ID)
	}
	linked := map[api.TraceID]bool{}
	for id, trace := range traces {
		for _, name := range []string{"send reliable/{user}", "deliver reliable/{user}", "acknowledge reliable/{user}"} {
			assert.Equal(t, trace, tr.span(t, name, about(id)).SpanContext.TraceID(), name)
		}
	}
	for _, s := range tr.exporter.GetSpans() {
		if s.Name != "commit push_messages" {
			continue
		}
		if len(s.Links) == 0 {
			linked[s.SpanContext.TraceID()] = true // of one message
		}
		for _, link := range s.Links {
			assert.False(t, s.Parent.IsValid(), "a batch belongs to no message alone")
			linked[link.SpanContext.TraceID()] = true
		}
	}
	for _, trace := range traces {
		assert.True(t, linked[trace])
	}
}
