// Package telemetry holds the instruments, the spans and the log keys of the
// module. Names are stable: dashboards and alerts stand on them.
package telemetry

import (
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Scope is the instrumentation scope of every instrument and span.
const Scope = "github.com/message-gateway/gateway"

// Metrics are the instruments. They may be used from several goroutines. What
// each one tells, and its attributes, is in docs/metrics.md.
type Metrics struct {
	// Sends counts sends by kind and outcome.
	Sends metric.Int64Counter
	// SendDuration is how long sends took, by kind and outcome.
	SendDuration metric.Float64Histogram
	// CommandDuration is how long calls waited for the answer to a command.
	CommandDuration metric.Float64Histogram
	// HintsLost counts stored messages whose hint did not go out; nodes find
	// such messages in their slow round.
	HintsLost metric.Int64Counter
	// Overflows counts what did not fit into a queue, by queue.
	Overflows metric.Int64Counter

	// Connections is the number of live connections on this node.
	Connections metric.Int64UpDownCounter
	// Connects counts accepted connections; recoveries are no new ones.
	Connects metric.Int64Counter
	// Recoveries counts attempts to recover a connection, by outcome.
	Recoveries metric.Int64Counter
	// Received counts frames that devices sent.
	Received metric.Int64Counter
	// Refused counts refused handshakes, frames and requests by reason.
	Refused metric.Int64Counter
	// Throttled counts frames of devices that had to wait for their turn.
	Throttled metric.Int64Counter
	// SlowConsumers counts connections closed because their queue was full.
	SlowConsumers metric.Int64Counter
	// Delivered counts frames with reliable messages or commands handed to
	// connections.
	Delivered metric.Int64Counter
	// Redelivered counts messages that were handed to a connection again.
	Redelivered metric.Int64Counter
	// Acknowledged counts acknowledgements by kind.
	Acknowledged metric.Int64Counter
	// AcknowledgeDuration is the time from the send to the acknowledgement.
	AcknowledgeDuration metric.Float64Histogram
	// CatchUp is how many messages connections got from the database.
	CatchUp metric.Int64Histogram
	// Gaps counts the times that messages on the bus may have been missed.
	Gaps metric.Int64Counter
	// Recovered counts messages found by the slow round: their hint was lost.
	Recovered metric.Int64Counter
	// StateWriteErrors counts failed attempts to write states to the database.
	StateWriteErrors metric.Int64Counter

	meter         metric.Meter
	queueLength   metric.Int64ObservableUpDownCounter
	queueLimit    metric.Int64ObservableUpDownCounter
	queueBytes    metric.Int64ObservableUpDownCounter
	queueByteCap  metric.Int64ObservableUpDownCounter
	deviceFrames  metric.Int64ObservableUpDownCounter
	deviceBytes   metric.Int64ObservableUpDownCounter
	deviceFullest metric.Float64ObservableGauge
}

// Boundaries of the histograms. A user who was away acknowledges days later.
var (
	latencies = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	waits     = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800}
	absences  = []float64{.01, .025, .05, .1, .25, .5, 1, 5, 30, 60, 300, 3600, 86_400, 604_800}
	sizes     = []float64{0, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 10_000}
)

// New creates the instruments; a nil provider gives instruments that do nothing.
func New(provider metric.MeterProvider) (*Metrics, error) {
	if provider == nil {
		provider = noop.NewMeterProvider()
	}
	b := builder{meter: provider.Meter(Scope)}
	m := &Metrics{
		meter:           b.meter,
		Sends:           b.counter("gateway.sends", "{send}", "Sends by kind and outcome."),
		SendDuration:    b.seconds("gateway.send.duration", latencies, "How long sends took."),
		CommandDuration: b.seconds("gateway.command.duration", waits, "How long calls waited for the answer to a command."),
		HintsLost:       b.counter("gateway.hints.lost", "{message}", "Stored messages whose hint did not go out."),
		Overflows:       b.counter("gateway.queue.overflows", "{item}", "What did not fit into a queue."),
		queueLength:     b.sum("gateway.queue.length", "{item}", "How much waits in a queue."),
		queueLimit:      b.sum("gateway.queue.limit", "{item}", "How much may wait in a queue."),
		queueBytes:      b.sum("gateway.queue.size", "By", "How many bytes wait in a queue."),
		queueByteCap:    b.sum("gateway.queue.size.limit", "By", "How many bytes may wait in a queue."),

		Connects:            b.counter("gateway.node.connects", "{connection}", "Accepted connections."),
		Recoveries:          b.counter("gateway.node.recoveries", "{recovery}", "Attempts to recover a connection."),
		Received:            b.counter("gateway.node.received", "{frame}", "Frames that devices sent."),
		Refused:             b.counter("gateway.node.refused", "{request}", "Refused handshakes, frames and requests by reason."),
		Throttled:           b.counter("gateway.node.throttled", "{frame}", "Frames of devices that had to wait for their turn."),
		SlowConsumers:       b.counter("gateway.node.slow_consumers", "{connection}", "Connections closed because their queue was full."),
		Delivered:           b.counter("gateway.node.delivered", "{message}", "Reliable messages and commands handed to connections."),
		Redelivered:         b.counter("gateway.node.redelivered", "{message}", "Deliveries repeated because nobody acknowledged."),
		Acknowledged:        b.counter("gateway.node.acknowledged", "{message}", "Acknowledgements by kind."),
		AcknowledgeDuration: b.seconds("gateway.node.acknowledge.duration", absences, "Time from the send to the acknowledgement."),
		Gaps:                b.counter("gateway.node.gaps", "{gap}", "Times that messages on the bus may have been missed."),
		Recovered:           b.counter("gateway.node.recovered", "{message}", "Messages found in the slow round, their hint was lost."),
		StateWriteErrors:    b.counter("gateway.node.state_write_errors", "{error}", "Failed attempts to write states to the database."),
		deviceFrames:        b.sum("gateway.node.device.frames", "{frame}", "Frames that wait for devices."),
		deviceBytes:         b.sum("gateway.node.device.size", "By", "Bytes that wait for devices."),
	}
	var err error
	m.Connections, err = b.meter.Int64UpDownCounter("gateway.node.connections",
		metric.WithUnit("{connection}"), metric.WithDescription("Live connections on this node."))
	b.errs = append(b.errs, err)
	m.CatchUp, err = b.meter.Int64Histogram("gateway.node.catchup.size", metric.WithUnit("{message}"),
		metric.WithDescription("Messages that a connection got from the database."), metric.WithExplicitBucketBoundaries(sizes...))
	b.errs = append(b.errs, err)
	m.deviceFullest, err = b.meter.Float64ObservableGauge("gateway.node.device.fullest",
		metric.WithUnit("1"), metric.WithDescription("How full the fullest queue of a device is."))
	return m, errors.Join(append(b.errs, err)...)
}

// builder collects the errors of instruments.
type builder struct {
	meter metric.Meter
	errs  []error
}

func (b *builder) counter(name, unit, description string) metric.Int64Counter {
	c, err := b.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	b.errs = append(b.errs, err)
	return c
}

func (b *builder) seconds(name string, bounds []float64, description string) metric.Float64Histogram {
	h, err := b.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(bounds...))
	b.errs = append(b.errs, err)
	return h
}

// sum is a gauge whose values add up: several clients of a process report the
// same queue, and the sum is what the process holds.
func (b *builder) sum(name, unit, description string) metric.Int64ObservableUpDownCounter {
	c, err := b.meter.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	b.errs = append(b.errs, err)
	return c
}

// Attributes are those of a measurement, made once: the slices are handed on as
// they are, so that measuring allocates nothing.
type Attributes struct {
	Add     []metric.AddOption
	Record  []metric.RecordOption
	Observe []metric.ObserveOption
}

// With returns attributes.
func With(attrs ...attribute.KeyValue) Attributes {
	option := metric.WithAttributeSet(attribute.NewSet(attrs...))
	return Attributes{
		Add: []metric.AddOption{option}, Record: []metric.RecordOption{option}, Observe: []metric.ObserveOption{option},
	}
}
