package telemetry

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"pgregory.net/rapid"
)

// What is off, and what is not sampled, costs no allocation.
func TestNoTraceAllocatesNothing(t *testing.T) {
	on := NewTracer(sdk.NewTracerProvider(), true)
	none := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}})
	unsampled := trace.ContextWithSpanContext(context.Background(), none)
	messages := []trace.SpanContext{none, {}, none}
	itself := func(sc trace.SpanContext) trace.SpanContext { return sc }
	for name, c := range map[string]struct {
		tracer *Tracer
		ctx    context.Context
	}{"off": {nil, context.Background()}, "not sampled": {on, unsampled}} {
		require.Zero(t, testing.AllocsPerRun(100, func() {
			_, span := c.tracer.Start(c.ctx, SendReliable)
			End(span, "error", nil)
			End(span, "error", errTest)
		}), "start, %s", name)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			_, span := c.tracer.StartRemote(c.ctx, none, Notified)
			span.End()
		}), "remote, %s", name)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			_, span := Batch(c.ctx, c.tracer, Commit, messages, itself)
			span.End()
		}), "batch, %s", name)
		require.Zero(t, testing.AllocsPerRun(100, func() { _ = c.tracer.Of(c.ctx) }), name)
	}
}

var errTest = errors.New("test")

func TestBatchIsLinkedToEachSampledMessage(t *testing.T) {
	t.Parallel()
	exporter := tracetest.NewInMemoryExporter()
	tracer := NewTracer(sdk.NewTracerProvider(sdk.WithSyncer(exporter)), false)
	one := trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{1}, TraceFlags: trace.FlagsSampled}
	two := trace.SpanContextConfig{TraceID: trace.TraceID{2}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled}
	dark := trace.SpanContextConfig{TraceID: trace.TraceID{3}, SpanID: trace.SpanID{3}}
	itself := func(c trace.SpanContextConfig) trace.SpanContext { return trace.NewSpanContext(c) }

	caller, outer := tracer.Start(context.Background(), SendReliable)
	for _, items := range [][]trace.SpanContextConfig{{one, dark, two}, {one}, {dark}} {
		_, span := Batch(caller, tracer, Commit, items, itself)
		span.End()
	}
	spans := exporter.GetSpans()
	require.Len(t, spans, 2, "nobody asked for the last one")
	require.False(t, spans[0].Parent.IsValid())
	require.NotEqual(t, outer.SpanContext().TraceID(), spans[0].SpanContext.TraceID())
	require.Len(t, spans[0].Links, 2)
	require.Equal(t, itself(one).TraceID(), spans[0].Links[0].SpanContext.TraceID())
	require.Equal(t, itself(two).TraceID(), spans[0].Links[1].SpanContext.TraceID())
	require.Equal(t, itself(one).SpanID(), spans[1].Parent.SpanID(), "a single message is the parent")
	require.Empty(t, spans[1].Links)
}

func TestTraceContextTravels(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		config := trace.SpanContextConfig{Remote: true}
		copy(config.TraceID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "trace"))
		copy(config.SpanID[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "span"))
		config.TraceFlags = trace.TraceFlags(rapid.ByteRange(0, 1).Draw(t, "flags"))
		if rapid.Bool().Draw(t, "state") {
			config.TraceState, _ = trace.ParseTraceState("vendor=" + rapid.StringMatching(`[a-z0-9]{1,20}`).Draw(t, "value"))
		}
		sc := trace.NewSpanContext(config)
		parent, state := Format(sc)
		if !sc.IsValid() {
			require.Empty(t, parent)
			return
		}
		require.True(t, sc.Equal(Parse(parent, state)), "%s %s", parent, state)
	})
	for _, bad := range []string{"", "00", "00-0-0-0", strings.Repeat("x", 1<<16), "ff-" + strings.Repeat("1", 32) + "-" + strings.Repeat("1", 16) + "-01"} {
		require.False(t, Parse(bad, "a=b").IsValid(), bad)
	}
}
