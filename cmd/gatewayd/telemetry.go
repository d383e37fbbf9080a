package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/message-gateway/gateway"
)

// telemetryClose bounds the end of the providers.
const telemetryClose = 3 * time.Second

// telemetry is where the metrics and traces of the process go.
type telemetry struct {
	// metrics serves them to Prometheus.
	metrics http.Handler
	meters  *sdkmetric.MeterProvider
	traces  *sdktrace.TracerProvider // nil: off
}

// The variables of OpenTelemetry that turn traces on. Everything else about them,
// such as OTEL_SERVICE_NAME and OTEL_TRACES_SAMPLER, the SDK reads itself:
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
var tracesTo = []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}

// openTelemetry counts for Prometheus: the library's instruments, and the Go
// runtime's and the process's own.
func openTelemetry(ctx context.Context, log *slog.Logger) (*telemetry, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewBuildInfoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	t := &telemetry{
		metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
		meters:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter)),
	}
	if slices.ContainsFunc(tracesTo, func(name string) bool { return os.Getenv(name) != "" }) {
		err = t.openTraces(ctx, log)
	}
	return t, err
}

// openTraces sends spans over OTLP, in batches. A collector that is down costs
// spans and a line in the log, nothing else.
func (t *telemetry) openTraces(ctx context.Context, log *slog.Logger) error {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry not sent", "error", err) }))
	// What the environment names wins over the name of the program.
	named, err := resource.New(ctx, resource.WithAttributes(semconv.ServiceName("gatewayd"), semconv.ServiceVersion(version())),
		resource.WithFromEnv(), resource.WithTelemetrySDK(), resource.WithHost())
	if err != nil {
		return fmt.Errorf("traces: %w", err)
	}
	t.traces = sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(named))
	return nil
}

// options hand the providers to a client.
func (t *telemetry) options() []gateway.Option {
	opts := []gateway.Option{gateway.WithMeterProvider(t.meters)}
	if t.traces != nil {
		opts = append(opts, gateway.WithTracerProvider(t.traces))
	}
	return opts
}

// close ends the providers, and sends the last spans.
func (t *telemetry) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), telemetryClose)
	defer cancel()
	err := t.meters.Shutdown(ctx)
	if t.traces != nil {
		err = errors.Join(err, t.traces.Shutdown(ctx))
	}
	return err
}
