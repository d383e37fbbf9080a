package node_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

// testTraceNotSampled: what the caller's trace leaves out is left out to the end.
func testTraceNotSampled(t *testing.T, w *world) {
	tr := newTraced(t, trace.WithSampler(trace.AlwaysSample()))
	h := w.nodeOn(t, tr.open(t, w), node.Options{})
	u := user()
	d := h.caughtUp(t, u, devicetest.JSON)
	none := api.NewSpanContext(api.SpanContextConfig{TraceID: api.TraceID{1}, SpanID: api.SpanID{2}})
	ctx := api.ContextWithSpanContext(t.Context(), none)
	client := tr.open(t, w)
	id, err := client.SendReliable(ctx, u, 1)
	require.NoError(t, err)
	d.Acknowledge(t, d.Envelope(t).ID)
	w.hasStatus(t, id, gateway.StatusFinished)
	second, err := client.SendReliable(t.Context(), u, 1)
	require.NoError(t, err)
	d.Acknowledge(t, d.Envelope(t).ID)
	tr.span(t, "acknowledge reliable/{user}", about(second)) // so the first one would be here
	for _, s := range tr.exporter.GetSpans() {
		assert.NotEqual(t, id, value(s, "messaging.message.id"), s.Name)
		assert.NotEqual(t, none.TraceID(), s.SpanContext.TraceID(), s.Name)
	}
}

func testTraceRedelivery(t *testing.T, w *world) {
	tr := newTraced(t)
	h := w.nodeOn(t, tr.open(t, w), node.Options{})
	u := user()
	d := h.caughtUp(t, u, devicetest.JSON)
	id, err := tr.open(t, w).SendReliable(t.Context(), u, 1, gateway.WithRetryInterval(200*time.Millisecond))
	require.NoError(t, err)
	d.Envelope(t)
	d.Envelope(t)
	d.Acknowledge(t, id)
	again := tr.span(t, "deliver reliable/{user}", func(s tracetest.SpanStub) bool {
		return about(id)(s) && value(s, "gateway.delivery.redelivery") == "true"
	})
	below(t, again, tr.span(t, "send reliable/{user}", about(id)))
}

func testTraceHub(t *testing.T, w *world) {
	tr := newTraced(t)
	h := w.nodeOn(t, tr.open(t, w), node.Options{})
	u := user()
	d := h.connect(t, u, devicetest.JSON)
	require.NoError(t, tr.open(t, w).Hub(gateway.DefaultHub).SendToUser(t.Context(), u, 1))
	d.Message(t)
	deliver := tr.span(t, "deliver hub", nil)
	below(t, deliver, tr.span(t, "send hub", nil))
	assert.Equal(t, "1", value(deliver, "gateway.delivery.connections"))
}

// testTraceNotification: a hint that found no node goes on through the broker,
// and so does the trace; one of another make begins there.
func testTraceNotification(t *testing.T, w *world) {
	tr := newTraced(t)
	u := user()
	client := tr.open(t, w)
	h := w.nodeOn(t, tr.open(t, w), node.Options{})
	id, err := client.SendReliable(t.Context(), u, 1)
	require.NoError(t, err)
	send := tr.span(t, "send reliable/{user}", about(id))
	publish := tr.span(t, "publish ws.message.direct.exchange", about(id))
	below(t, publish, send)
	if w.real() {
		assert.Equal(t, "rabbitmq", value(publish, "messaging.system"))
	}
	// Nodes of other cases share the queue, and their traces go elsewhere.
	d := h.connect(t, u, devicetest.JSON)
	d.Envelope(t)
	d.Acknowledge(t, id)
	w.hasStatus(t, id, gateway.StatusFinished)
}

// The notification that a node handles continues the trace in its headers, over
// brokers of its own, where no other node takes it.
func TestTraceThroughTheBroker(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(testing.TB) *world{"embedded": newEmbedded, "real": newReal} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t)
			tr := newTraced(t)
			w.nodeOn(t, tr.open(t, w), node.Options{})
			id, err := tr.open(t, w).SendReliable(t.Context(), user(), 1)
			require.NoError(t, err)
			process := tr.span(t, "process ws.message.gateway.node", about(id))
			below(t, process, tr.span(t, "publish ws.message.direct.exchange", about(id)))
			assert.Equal(t, api.SpanKindConsumer, process.SpanKind)

			other := w.reliable(t, user(), 1) // its client is not traced
			foreign := tr.span(t, "process ws.message.gateway.node", about(other))
			assert.False(t, foreign.Parent.IsValid())

			k := core.Of(w.client)
			note := broker.Notification{MessageID: id, Trace: api.NewSpanContext(api.SpanContextConfig{TraceID: api.TraceID{9}, SpanID: api.SpanID{9}})}
			require.NoError(t, k.Broker.Notify(t.Context(), note))
			last := w.reliable(t, user(), 1)
			tr.span(t, "process ws.message.gateway.node", about(last))
			for _, s := range tr.exporter.GetSpans() {
				assert.NotEqual(t, api.TraceID{9}, s.SpanContext.TraceID(), "not sampled")
			}
		})
	}
}
