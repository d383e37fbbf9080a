package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// Spans go to the collector that the environment names, the last ones when the
// program ends; without the variable nothing is traced.
func TestTracesGoToTheCollector(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, name := range tracesTo {
		t.Setenv(name, "")
	}
	off, err := openTelemetry(t.Context(), log)
	require.NoError(t, err)
	require.Nil(t, off.traces)
	require.NoError(t, off.close())

	paths := make(chan string, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { paths <- r.URL.Path }))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	on, err := openTelemetry(t.Context(), log)
	require.NoError(t, err)
	_, span := on.traces.Tracer("test").Start(t.Context(), "span")
	span.End()
	require.NoError(t, on.close())
	require.Equal(t, "/v1/traces", <-paths)
}
