package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/message-gateway/gateway"
)

// telemetryClose bounds the end of the providers.
const telemetryClose = 3 * time.Second

// telemetry is where the metrics of the process go.
type telemetry struct {
	// metrics serves them to Prometheus.
	metrics http.Handler
	meters  *sdkmetric.MeterProvider
}

// openTelemetry counts for Prometheus: the library's instruments, and the Go
// runtime's and the process's own.
func openTelemetry() (*telemetry, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return &telemetry{
		metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		meters:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter)),
	}, nil
}

// options hand the providers to a client.
func (t *telemetry) options() []gateway.Option {
	return []gateway.Option{gateway.WithMeterProvider(t.meters)}
}

// close ends the providers.
func (t *telemetry) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), telemetryClose)
	defer cancel()
	return t.meters.Shutdown(ctx)
}
