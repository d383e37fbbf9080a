package brokertest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/broker"
)

func endedContext(t *testing.T, a, _ broker.Broker) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for _, ctx := range []context.Context{cancelled, expired} {
		require.ErrorIs(t, a.Notify(ctx, broker.Notification{MessageID: "m"}), ctx.Err())
		require.ErrorIs(t, a.Reply(ctx, "queue", broker.Answer{}), ctx.Err())
		require.ErrorIs(t, a.Ping(ctx), ctx.Err())
		_, err := a.ConsumeNotifications(ctx, 1, func(context.Context, broker.Notification) error { return nil })
		require.ErrorIs(t, err, ctx.Err())
		_, err = a.ConsumeReplies(ctx, func(broker.Answer) {}, nil)
		require.ErrorIs(t, err, ctx.Err())
	}
	// Failing so has not used up the one time.
	got := collect(t, a, 1)
	notify(t, a, "m")
	receive(t, got, "the notification")
}

// closeWaits closes a handle while its handler runs: the handler still answers,
// and what it handled does not come again.
func closeWaits(t *testing.T, a, b broker.Broker) {
	queue, answers := answersTo(t, b)
	began, release := make(chan struct{}), make(chan struct{})
	_, err := a.ConsumeNotifications(testContext(t), 1, func(ctx context.Context, n broker.Notification) error {
		close(began)
		<-release
		return a.Reply(ctx, queue, broker.Answer{CorrelationID: n.MessageID})
	})
	require.NoError(t, err)
	notify(t, b, "slow")
	receive(t, began, "the handler")
	done := make(chan error, 1)
	go func() { done <- a.Close() }()
	got := collect(t, b, 1)
	notify(t, b, "next")
	require.Equal(t, "next", receive(t, got, "the next, from the other handle").MessageID)
	require.Empty(t, done, "Close did not wait for the handler")
	close(release)
	require.Equal(t, "slow", receive(t, answers, "the answer").CorrelationID)
	require.NoError(t, receive(t, done, "the end of Close"))
	notify(t, b, "last")
	require.Equal(t, "last", receive(t, got, "the last, and not the slow one").MessageID)
}

func closeEndsSlowHandler(t *testing.T, a, b broker.Broker) {
	began := make(chan struct{})
	_, err := a.ConsumeNotifications(testContext(t), 1, func(ctx context.Context, _ broker.Notification) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	})
	require.NoError(t, err)
	notify(t, b, "slow")
	receive(t, began, "the handler")
	start := time.Now()
	require.NoError(t, a.Close())
	require.GreaterOrEqual(t, time.Since(start), broker.DrainGrace)
	got := collect(t, b, 1)
	require.Equal(t, "slow", receive(t, got, "the notification, for another handle").MessageID)
}

func closeGivesAway(t *testing.T, a, b broker.Broker) {
	began, release := make(chan struct{}), make(chan struct{})
	_, err := a.ConsumeNotifications(testContext(t), 1, func(context.Context, broker.Notification) error {
		close(began)
		<-release
		return errors.New("shutting down")
	})
	require.NoError(t, err)
	notify(t, b, "m")
	receive(t, began, "the handler")
	got := collect(t, b, 1)
	done := make(chan error, 1)
	go func() { done <- a.Close() }()
	requireClosing(t, a)
	close(release)
	receive(t, got, "what the closing handle failed on")
	require.NoError(t, receive(t, done, "the end of Close"))
}

// requireClosing waits until Close has begun.
func requireClosing(t *testing.T, b broker.Broker) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := b.ConsumeNotifications(t.Context(), 1, nil)
		return errors.Is(err, broker.ErrClosed)
	}, patience, time.Millisecond)
}

func closed(t *testing.T, a, b broker.Broker) {
	queue, _ := answersTo(t, a)
	collect(t, a, 1)
	require.NoError(t, a.Close())
	require.NoError(t, a.Close())
	ctx := testContext(t)
	require.ErrorIs(t, a.Notify(ctx, broker.Notification{MessageID: "m"}), broker.ErrClosed)
	require.ErrorIs(t, a.Reply(ctx, "queue", broker.Answer{}), broker.ErrClosed)
	require.ErrorIs(t, a.Ping(ctx), broker.ErrClosed)
	_, err := a.ConsumeNotifications(ctx, 1, func(context.Context, broker.Notification) error { return nil })
	require.ErrorIs(t, err, broker.ErrClosed)
	_, err = a.ConsumeReplies(ctx, func(broker.Answer) {}, nil)
	require.ErrorIs(t, err, broker.ErrClosed)
	// Its queue went with it, and the other handle does not notice.
	require.NoError(t, b.Reply(ctx, queue, broker.Answer{CorrelationID: "late"}))
	require.NoError(t, b.Ping(ctx))
}

func ping(t *testing.T, a, b broker.Broker) {
	ctx := testContext(t)
	for range 3 {
		require.NoError(t, a.Ping(ctx))
		require.NoError(t, b.Ping(ctx))
	}
}
