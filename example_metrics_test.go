package gateway_test

import (
	"context"
	"fmt"
	"log"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/message-gateway/gateway"
)

// Metrics go to an OpenTelemetry provider, such as the one of the exporter for
// Prometheus. This one is asked by hand.
func ExampleWithMeterProvider() {
	ctx := context.Background()
	reader := metric.NewManualReader()
	client, err := gateway.New(ctx, gateway.Embedded(""), gateway.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	for range 3 {
		if _, err := client.SendReliable(ctx, "user_123", "hello"); err != nil {
			log.Fatal(err)
		}
	}
	if _, err := client.SendReliable(ctx, "", "to nobody"); err == nil {
		log.Fatal("sent to nobody")
	}
	var all metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &all); err != nil {
		log.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != "gateway.sends" {
				continue
			}
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				kind, _ := p.Attributes.Value("kind")
				outcome, _ := p.Attributes.Value("outcome")
				fmt.Println(m.Name, kind.AsString(), outcome.AsString(), p.Value)
			}
		}
	}
	// Unordered output:
	// gateway.sends reliable ok 3
	// gateway.sends reliable invalid 1
}
