package rest_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/rest"
)

// restQueue reads what a reader knows of the queue of REST calls, by metric.
func restQueue(t *testing.T, reader metric.Reader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	found := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			sum, ok := m.Data.(metricdata.Sum[int64])
			if !ok {
				continue
			}
			for _, p := range sum.DataPoints {
				if queue, ok := p.Attributes.Value(attribute.Key("queue")); ok && queue.AsString() == "rest_calls" {
					found[m.Name] = p.Value
				}
			}
		}
	}
	return found
}

func TestCallsAreReported(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	cfg := gateway.Embedded(t.TempDir())
	cfg.AccessKey = accessKey
	reader := metric.NewManualReader()
	client, err := gateway.New(t.Context(), cfg, gateway.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
	require.NoError(t, err)
	defer func() { assert.NoError(t, client.Close()) }()
	hub := &fakeHub{entered: make(chan struct{})}
	open := func(string) rest.Hub { return hub }
	_, err = rest.NewWithHubs(client, rest.Options{}, open)
	require.NoError(t, err)
	require.Empty(t, restQueue(t, reader), "without a limit there is no queue")
	h, err := rest.NewWithHubs(client, rest.Options{MaxCalls: 2}, open)
	require.NoError(t, err)

	const length, limit, overflows = "gateway.queue.length", "gateway.queue.limit", "gateway.queue.overflows"
	require.Equal(t, map[string]int64{length: 0, limit: 2}, restQueue(t, reader))
	done := make(chan int)
	r := newRequest("POST", hubPath+"/:send", "x")
	r.Header.Set("Authorization", "Bearer "+tokenFor(base+hubPath+"/:send"))
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 {
		go func() { done <- serve(h, r.Clone(ctx)).Code }()
		<-hub.entered
	}
	require.Equal(t, map[string]int64{length: 2, limit: 2}, restQueue(t, reader))
	require.Equal(t, http.StatusTooManyRequests, do(h, "HEAD", hubPath+"/users/u", "").Code)
	require.Equal(t, map[string]int64{length: 2, limit: 2, overflows: 1}, restQueue(t, reader), "who was refused does not run")
	cancel()
	<-done
	<-done
	require.Equal(t, map[string]int64{length: 0, limit: 2, overflows: 1}, restQueue(t, reader))
	require.NoError(t, client.Close())
	require.Equal(t, map[string]int64{overflows: 1}, restQueue(t, reader), "it ends with the client")
}
