package gateway_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway"
)

// BenchmarkTracing compares sends on the embedded backend: not traced, traced
// but not sampled by the caller's trace or by the sampler, and sampled. Compare
// the lines of one run.
func BenchmarkTracing(b *testing.B) {
	never := sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample()))
	always := sdk.NewTracerProvider(sdk.WithSyncer(tracetest.NewNoopExporter()))
	unsampled := trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1},
	}))
	sends := map[string]func(context.Context, *gateway.Client) error{
		"realtime": func(ctx context.Context, c *gateway.Client) error { return c.SendRealtime(ctx, "user_1", 1) },
		"reliable": func(ctx context.Context, c *gateway.Client) error {
			_, err := c.SendReliable(ctx, "user_1", 1)
			return err
		},
	}
	for _, kind := range []string{"realtime", "reliable"} {
		for _, mode := range []struct {
			name     string
			ctx      context.Context
			provider trace.TracerProvider
		}{
			{"off", context.Background(), nil},
			{"notSampledByCaller", unsampled, always},
			{"notSampledBySampler", context.Background(), never},
			{"sampled", context.Background(), always},
		} {
			b.Run(kind+"/"+mode.name, func(b *testing.B) {
				c, err := gateway.New(b.Context(), gateway.Embedded(""), gateway.WithTracerProvider(mode.provider))
				require.NoError(b, err)
				defer func() { require.NoError(b, c.Close()) }()
				b.ReportAllocs()
				for b.Loop() {
					if err := sends[kind](mode.ctx, c); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
