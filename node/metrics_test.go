package node_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"metrics/ofOneMessage": testMetricsOfOneMessage,
	"metrics/recoveries":   testMetricsOfRecoveries,
	"metrics/devices":      testMetricsOfDevices,
	"metrics/end":          testMetricsEnd,
})

// meter collects the metrics of one client and its node.
type meter struct {
	reader   *sdk.ManualReader
	provider *sdk.MeterProvider
}

func newMeter() *meter {
	reader := sdk.NewManualReader()
	return &meter{reader, sdk.NewMeterProvider(sdk.WithReader(reader))}
}

func (m *meter) open(t testing.TB, w *world) *gateway.Client {
	t.Helper()
	return openClient(t, w.cfg, gateway.WithMeterProvider(m.provider))
}

// point is the value of a metric with certain attributes; of a histogram, how
// many values there are.
type point struct {
	name  string
	attrs attribute.Set
	value float64
}

func (m *meter) collect(t testing.TB) (points []point) {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, m.reader.Collect(t.Context(), &all))
	for _, scope := range all.ScopeMetrics {
		for _, metric := range scope.Metrics {
			switch data := metric.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					points = append(points, point{metric.Name, p.Attributes, float64(p.Value)})
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					points = append(points, point{metric.Name, p.Attributes, p.Value})
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					points = append(points, point{metric.Name, p.Attributes, float64(p.Count)})
				}
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					points = append(points, point{metric.Name, p.Attributes, float64(p.Count)})
				}
			default:
				t.Fatalf("%s is a %T", metric.Name, data)
			}
		}
	}
	return points
}

// value sums the points of a metric that have these attributes.
func (m *meter) value(t testing.TB, name string, attrs ...attribute.KeyValue) (sum float64) {
	t.Helper()
	for _, p := range m.collect(t) {
		match := p.name == name
		for _, kv := range attrs {
			v, ok := p.attrs.Value(kv.Key)
			match = match && ok && v == kv.Value
		}
		if match {
			sum += p.value
		}
	}
	return sum
}

// reaches waits until a metric has a value.
func (m *meter) reaches(t testing.TB, want float64, name string, attrs ...attribute.KeyValue) {
	t.Helper()
	deadline := time.Now().Add(devicetest.Patience)
	for got := m.value(t, name, attrs...); got != want; got = m.value(t, name, attrs...) {
		if time.Now().After(deadline) {
			t.Fatalf("%s %v is %v, want %v", name, attrs, got, want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func queue(name string) attribute.KeyValue   { return attribute.String("queue", name) }
func kind(name string) attribute.KeyValue    { return attribute.String("kind", name) }
func outcome(name string) attribute.KeyValue { return attribute.String("outcome", name) }
func reason(name string) attribute.KeyValue  { return attribute.String("reason", name) }

func testMetricsOfOneMessage(t *testing.T, w *world) {
	m := newMeter()
	client := m.open(t, w)
	h := w.nodeOn(t, client, node.Options{MaxConnections: 7})
	u := user()
	d := h.connect(t, u, devicetest.JSON)
	m.reaches(t, 1, "gateway.node.connections", attribute.String("hub", "default"), attribute.String("subprotocol", "json"))
	m.reaches(t, 1, "gateway.node.connects")
	_, err := client.SendReliable(t.Context(), u, 1)
	require.NoError(t, err)
	d.Acknowledge(t, d.Envelope(t).ID)
	c := sendCommand(t, client, u, 1)
	e := d.Envelope(t)
	d.Acknowledge(t, e.ID)
	require.True(t, d.Respond(t, e.RequestID, 1).Success)
	_, err = c.wait(t)
	require.NoError(t, err)
	c = sendCommand(t, client, u, 1)
	require.True(t, d.RespondError(t, d.Envelope(t).RequestID, "E1", "no").Success)
	_, err = c.wait(t)
	require.Error(t, err)
	require.NoError(t, client.SendRealtime(t.Context(), u, 1))
	require.NoError(t, client.Hub(gateway.DefaultHub).SendToUser(t.Context(), u, 1))
	require.ErrorIs(t, client.SendRealtime(t.Context(), "", 1), gateway.ErrEmptyUserID)
	require.ErrorIs(t, client.SendRealtime(t.Context(), user(), 1, gateway.FailIfOffline()), gateway.ErrUserOffline)
	d.Event(t, "unhandled", 1)

	for _, k := range []string{"realtime", "reliable", "hub"} {
		assert.InDelta(t, 1, m.value(t, "gateway.sends", kind(k), outcome("ok")), 0, k)
		assert.InDelta(t, 1, m.value(t, "gateway.send.duration", kind(k), outcome("ok")), 0, k)
	}
	assert.InDelta(t, 2, m.value(t, "gateway.sends", kind("command"), outcome("ok")), 0)
	assert.InDelta(t, 1, m.value(t, "gateway.sends", outcome("invalid")), 0)
	assert.InDelta(t, 1, m.value(t, "gateway.sends", outcome("offline")), 0)
	assert.InDelta(t, 1, m.value(t, "gateway.command.duration", outcome("answered")), 0)
	assert.InDelta(t, 1, m.value(t, "gateway.command.duration", outcome("device_error")), 0)
	assert.InDelta(t, 1, m.value(t, "gateway.node.delivered", kind("reliable")), 0)
	assert.InDelta(t, 2, m.value(t, "gateway.node.delivered", kind("command")), 0)
	assert.InDelta(t, 1, m.value(t, "gateway.node.acknowledged", kind("reliable")), 0)
	assert.InDelta(t, 1, m.value(t, "gateway.node.acknowledge.duration", kind("command")), 0)
	assert.InDelta(t, 1, m.value(t, "gateway.node.refused", reason("request_failed")), 0)
	assert.Positive(t, m.value(t, "gateway.node.received"))
	assert.InDelta(t, 1, m.value(t, "gateway.node.catchup.size"), 0)
	assert.InDelta(t, 7, m.value(t, "gateway.queue.limit", queue("connections")), 0)
	assert.InDelta(t, 1, m.value(t, "gateway.queue.length", queue("connections")), 0)
	requireDocumented(t, m.collect(t))
}

// requireDocumented requires that metrics.md has every metric with its
// attributes and their values.
func requireDocumented(t testing.TB, points []point) {
	t.Helper()
	text, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	rows := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(gateway[\\w.]+)` \\|(.+)$").FindAllStringSubmatch(string(text), -1) {
		rows[row[1]] = row[2]
	}
	_, values, _ := strings.Cut(string(text), "## Attributes")
	require.Greater(t, len(points), 20)
	for _, p := range points {
		require.Contains(t, rows, p.name)
		for _, kv := range p.attrs.ToSlice() {
			require.Contains(t, rows[p.name], "`"+string(kv.Key)+"`", p.name)
			if value := kv.Value.AsString(); !strings.HasPrefix(value, "rest_") {
				require.Contains(t, values, "`"+value+"`", "%s, %s", p.name, kv.Key)
			}
		}
	}
}

func testMetricsOfRecoveries(t *testing.T, w *world) {
	m := newMeter()
	h := w.nodeOn(t, m.open(t, w), node.Options{})
	d := h.connect(t, user(), devicetest.Reliable)
	d.Drop()
	d = d.Recover(t)
	m.reaches(t, 1, "gateway.node.recoveries", outcome("same_node"))
	d.Close(1000)
	m.reaches(t, 0, "gateway.node.connections")
	_, err := d.TryRecover(t.Context())
	if err == nil {
		m.reaches(t, 1, "gateway.node.recoveries", outcome("unknown"))
	}
	requireDocumented(t, m.collect(t))
}

// testMetricsOfDevices: what a device has not confirmed shows, and how full its
// queue is.
func testMetricsOfDevices(t *testing.T, w *world) {
	m := newMeter()
	client := m.open(t, w)
	h := w.nodeOn(t, client, node.Options{MaxQueue: 10})
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	var last devicetest.Frame
	for range 5 {
		require.NoError(t, client.SendRealtime(t.Context(), u, 1))
		last = d.Message(t)
	}
	m.reaches(t, 5, "gateway.node.device.frames")
	assert.InDelta(t, 0.5, m.value(t, "gateway.node.device.fullest"), 0)
	assert.Positive(t, m.value(t, "gateway.node.device.size"))
	d.SequenceAck(t, last.SequenceID)
	m.reaches(t, 0, "gateway.node.device.frames")
	for range 11 {
		require.NoError(t, client.SendRealtime(t.Context(), u, 1))
	}
	d.Ended(t)
	m.reaches(t, 1, "gateway.node.slow_consumers")
}

// testMetricsEnd: a client and a node that are closed report no more queues.
func testMetricsEnd(t *testing.T, w *world) {
	m := newMeter()
	client := m.open(t, w)
	h := w.nodeOn(t, client, node.Options{})
	limit := m.value(t, "gateway.queue.limit", queue("calls"))
	assert.Positive(t, limit)
	second := w.nodeOn(t, m.open(t, w), node.Options{})
	assert.InDelta(t, 2*limit, m.value(t, "gateway.queue.limit", queue("calls")), 0, "they add up")
	h.stop()
	second.stop()
	assert.Zero(t, m.value(t, "gateway.queue.limit", queue("calls")))
	require.NoError(t, client.Close())
	require.NoError(t, second.client.Close())
	for _, p := range m.collect(t) {
		assert.NotEqual(t, "gateway.queue.limit", p.name)
	}
}
