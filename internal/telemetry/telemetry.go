// Package telemetry holds the instruments of the module. Names are stable:
// dashboards and alerts stand on them.
package telemetry

import (
	"errors"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Scope is the instrumentation scope of every instrument.
const Scope = "github.com/message-gateway/gateway"

// Metrics are the instruments. They may be used from several goroutines.
type Metrics struct {
	// Sends counts accepted sends by kind and outcome.
	Sends metric.Int64Counter
	// HintsLost counts stored messages whose hint did not go out; nodes find
	// such messages in their slow round.
	HintsLost metric.Int64Counter
	// Connections is the number of live connections on this node.
	Connections metric.Int64UpDownCounter
	// Delivered counts frames with reliable messages or commands handed to
	// connections.
	Delivered metric.Int64Counter
	// Redelivered counts those among them that were sent again.
	Redelivered metric.Int64Counter
	// Recovered counts messages found by the slow round: their hint was lost.
	Recovered metric.Int64Counter
	// Acknowledged counts acknowledgements by kind.
	Acknowledged metric.Int64Counter
	// SlowConsumers counts connections closed because their queue was full.
	SlowConsumers metric.Int64Counter
	// Refused counts refused handshakes and frames by reason.
	Refused metric.Int64Counter
	// Throttled counts frames of devices that had to wait for their turn.
	Throttled metric.Int64Counter
	// StateWriteErrors counts failed attempts to write states to the database.
	StateWriteErrors metric.Int64Counter
}

// New creates the instruments; a nil provider gives instruments that do nothing.
func New(provider metric.MeterProvider) (*Metrics, error) {
	if provider == nil {
		provider = noop.NewMeterProvider()
	}
	meter := provider.Meter(Scope)
	var errs []error
	counter := func(name, description string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithDescription(description))
		errs = append(errs, err)
		return c
	}
	connections, err := meter.Int64UpDownCounter("gateway.node.connections",
		metric.WithDescription("Live connections on this node."))
	errs = append(errs, err)
	return &Metrics{
		Sends:            counter("gateway.sends", "Sends by kind and outcome."),
		HintsLost:        counter("gateway.hints.lost", "Stored messages whose hint did not go out."),
		Connections:      connections,
		Delivered:        counter("gateway.node.delivered", "Reliable messages and commands handed to connections."),
		Redelivered:      counter("gateway.node.redelivered", "Deliveries repeated because nobody acknowledged."),
		Recovered:        counter("gateway.node.recovered", "Messages found in the slow round, their hint was lost."),
		Acknowledged:     counter("gateway.node.acknowledged", "Acknowledgements by kind."),
		SlowConsumers:    counter("gateway.node.slow_consumers", "Connections closed because their queue was full."),
		Refused:          counter("gateway.node.refused", "Refused handshakes and frames by reason."),
		Throttled:        counter("gateway.node.throttled", "Frames of devices that had to wait for their turn."),
		StateWriteErrors: counter("gateway.node.state_write_errors", "Failed attempts to write states to the database."),
	}, errors.Join(errs...)
}
