package broker_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway/internal/broker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheckAtTheLimit(t *testing.T) {
	t.Parallel()
	full, over := strings.Repeat("x", broker.MaxShortString), strings.Repeat("x", broker.MaxShortString+1)
	require.NoError(t, broker.Notification{MessageID: over, ReplyTo: full, CorrelationID: full}.Check())
	require.ErrorIs(t, broker.Notification{MessageID: "m", ReplyTo: over}.Check(), broker.ErrInvalid)
	require.ErrorIs(t, broker.Notification{MessageID: "m", CorrelationID: over}.Check(), broker.ErrInvalid)
	require.NoError(t, broker.CheckReply(full, broker.Answer{CorrelationID: full}))
	require.ErrorIs(t, broker.CheckReply(over, broker.Answer{}), broker.ErrInvalid)
	require.ErrorIs(t, broker.CheckReply("q", broker.Answer{CorrelationID: over}), broker.ErrInvalid)
}

func TestRetryPauseGrowsToABound(t *testing.T) {
	t.Parallel()
	last := time.Duration(0)
	for attempt := 1; attempt <= 3; attempt++ {
		require.Greater(t, broker.RetryPause(attempt), last)
		last = broker.RetryPause(attempt)
	}
	require.Equal(t, last, broker.RetryPause(1<<30))
	require.Equal(t, broker.RetryPause(1), broker.RetryPause(0))
	require.Equal(t, broker.RetryPause(1), broker.RetryPause(-1))
}

func TestHandlersDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := broker.NewHandlers(2)
		start := time.Now()
		require.True(t, h.Acquire(nil))
		require.True(t, h.Go(func(context.Context) { time.Sleep(time.Second) }))
		require.True(t, h.Acquire(nil))
		require.True(t, h.Go(func(ctx context.Context) { <-ctx.Done() }))
		stop := make(chan struct{})
		close(stop)
		require.False(t, h.Acquire(stop), "both slots are taken")
		h.Drain(5 * time.Second)
		require.Equal(t, 5*time.Second, time.Since(start), "the ctx of the second ends after the grace")
		require.True(t, h.Acquire(nil))
		require.False(t, h.Go(func(context.Context) { t.Error("started after Drain") }))
		require.True(t, h.Acquire(nil), "the slot was released")
		h.Drain(0)
	})
}
