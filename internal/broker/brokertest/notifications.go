package brokertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/broker"
)

var errHandler = errors.New("the handler failed")

func notificationAsSent(t *testing.T, a, b broker.Broker) {
	got := collect(t, b, 10)
	for _, n := range []broker.Notification{
		{MessageID: "plain"},
		{MessageID: "with answer", ReplyTo: "queue", CorrelationID: "correlation"},
		{MessageID: `<"quoted"> & \ é 日本 ` + "\x00\n", ReplyTo: "é\x00", CorrelationID: "\xff\xfe"},
		{MessageID: strings.Repeat("m", 100_000), ReplyTo: strings.Repeat("r", 255), CorrelationID: strings.Repeat("c", 255)},
	} {
		require.NoError(t, a.Notify(testContext(t), n))
		require.Equal(t, n, receive(t, got, "the notification"))
	}
}

func hostileNotifications(t *testing.T, a, b broker.Broker) {
	got := collect(t, b, 10)
	for _, n := range []broker.Notification{
		{},
		{MessageID: "not UTF-8: \xff"},
		{MessageID: "m", ReplyTo: strings.Repeat("r", 256)},
		{MessageID: "m", CorrelationID: strings.Repeat("é", 128)},
	} {
		require.ErrorIs(t, a.Notify(testContext(t), n), broker.ErrInvalid)
	}
	notify(t, a, "still works")
	require.Equal(t, "still works", receive(t, got, "the notification").MessageID)
}

// competingConsumers has a handler of each handle hold its notification until
// the other one has one too.
func competingConsumers(t *testing.T, a, b broker.Broker) {
	var both sync.WaitGroup
	both.Add(2)
	handled := make(chan string, 2)
	for name, h := range map[string]broker.Broker{"a": a, "b": b} {
		var once sync.Once
		_, err := h.ConsumeNotifications(testContext(t), 1, func(_ context.Context, n broker.Notification) error {
			once.Do(both.Done)
			both.Wait()
			handled <- name + " " + n.MessageID
			return nil
		})
		require.NoError(t, err)
	}
	notify(t, a, "1", "2")
	first, second := receive(t, handled, "the first"), receive(t, handled, "the second")
	assert.NotEqual(t, first[:1], second[:1], "one handle took both")
	assert.NotEqual(t, first[2:], second[2:], "both took one")
}

func manyPublishers(t *testing.T, a, b broker.Broker) {
	const publishers, each = 64, 79 // 5056
	got := make(chan string, 2*publishers*each)
	for _, h := range []broker.Broker{a, b} {
		_, err := h.ConsumeNotifications(testContext(t), 100, func(_ context.Context, n broker.Notification) error {
			got <- n.MessageID
			return nil
		})
		require.NoError(t, err)
	}
	ctx := testContext(t)
	var wg sync.WaitGroup
	for p := range publishers {
		wg.Go(func() {
			for i := range each {
				assert.NoError(t, a.Notify(ctx, broker.Notification{MessageID: fmt.Sprint(p, "/", i)}))
			}
		})
	}
	seen := make(map[string]bool)
	for len(seen) < publishers*each {
		id := receive(t, got, "a notification")
		require.False(t, seen[id], "handled twice: %s", id)
		seen[id] = true
	}
	wg.Wait()
}

func nothingBeforeFirstConsumer(t *testing.T, a, b broker.Broker) {
	notify(t, a, "lost")
	got := collect(t, b, 1)
	notify(t, a, "kept")
	require.Equal(t, "kept", receive(t, got, "the notification").MessageID)
}

func keptWithoutConsumer(t *testing.T, a, b broker.Broker) {
	stop, err := a.ConsumeNotifications(testContext(t), 1, func(context.Context, broker.Notification) error { return nil })
	require.NoError(t, err)
	stop()
	notify(t, a, ids("m", 20)...)
	got := collect(t, b, 1)
	for _, id := range ids("m", 20) {
		require.Equal(t, id, receive(t, got, "the notification").MessageID)
	}
}

func prefetchBounds(t *testing.T, a, b broker.Broker) {
	const prefetch, total = 3, 12
	var running, most atomic.Int32
	began, token, done := make(chan struct{}, total), make(chan struct{}), make(chan struct{}, total)
	_, err := b.ConsumeNotifications(testContext(t), prefetch, func(context.Context, broker.Notification) error {
		now := running.Add(1)
		for old := most.Load(); now > old && !most.CompareAndSwap(old, now); old = most.Load() {
		}
		began <- struct{}{}
		<-token
		running.Add(-1)
		done <- struct{}{}
		return nil
	})
	require.NoError(t, err)
	notify(t, a, ids("m", total)...)
	for range prefetch {
		receive(t, began, "a running handler")
	}
	for range total {
		token <- struct{}{}
		receive(t, done, "a finished handler")
	}
	require.EqualValues(t, prefetch, most.Load())
}

func prefetchBelowOne(t *testing.T, a, b broker.Broker) {
	got := collect(t, b, -1)
	notify(t, a, "1", "2")
	require.Equal(t, "1", receive(t, got, "the notification").MessageID)
	require.Equal(t, "2", receive(t, got, "the notification").MessageID)
}

func failedHandlerTriesAgain(t *testing.T, a, b broker.Broker) {
	sent := broker.Notification{MessageID: "m", ReplyTo: "queue", CorrelationID: "correlation"}
	at := make(chan time.Time, 10)
	var attempts atomic.Int32
	handler := func(_ context.Context, n broker.Notification) error {
		assert.Equal(t, sent, n)
		at <- time.Now()
		if attempts.Add(1) <= 2 {
			return errHandler
		}
		return nil
	}
	for _, h := range []broker.Broker{a, b} {
		_, err := h.ConsumeNotifications(testContext(t), 1, handler)
		require.NoError(t, err)
	}
	require.NoError(t, a.Notify(testContext(t), sent))
	last := receive(t, at, "the first attempt")
	for failed := 1; failed <= 2; failed++ {
		next := receive(t, at, "the next attempt")
		// A server's clock may round by a millisecond.
		require.GreaterOrEqual(t, next.Sub(last), broker.RetryPause(failed)/2-5*time.Millisecond)
		last = next
	}
}

func failingDoesNotBlock(t *testing.T, a, b broker.Broker) {
	got := make(chan string, 100)
	failed := make(map[string]bool)
	_, err := b.ConsumeNotifications(testContext(t), 1, func(_ context.Context, n broker.Notification) error {
		if strings.HasPrefix(n.MessageID, "bad") && !failed[n.MessageID] { // prefetch 1: one handler at a time
			failed[n.MessageID] = true
			return errHandler
		}
		got <- n.MessageID
		return nil
	})
	require.NoError(t, err)
	notify(t, a, append(ids("bad", 5), "good")...)
	require.Equal(t, "good", receive(t, got, "the good one, before the pauses are over"))
	rest := make(map[string]bool)
	for range 5 {
		rest[receive(t, got, "a second attempt")] = true
	}
	require.Len(t, rest, 5)
}

func stopGivesAway(t *testing.T, a, b broker.Broker) {
	began, release := make(chan string, 10), make(chan struct{})
	stop, err := a.ConsumeNotifications(testContext(t), 2, func(_ context.Context, n broker.Notification) error {
		began <- n.MessageID
		<-release
		return nil
	})
	require.NoError(t, err)
	notify(t, a, ids("m", 6)...)
	mine := map[string]bool{receive(t, began, "a handler"): true, receive(t, began, "a handler"): true}
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	got := collect(t, b, 10)
	for range 4 {
		id := receive(t, got, "what the stopped one did not begin").MessageID
		require.False(t, mine[id], "%s was running", id)
	}
	select {
	case <-stopped:
		require.Fail(t, "stop did not wait for the handlers")
	default:
	}
	close(release)
	receive(t, stopped, "the end of stop")
	stop()
	notify(t, a, "after")
	require.Equal(t, "after", receive(t, got, "the next, and not one that was acknowledged").MessageID)
	require.Empty(t, began)
}

func consumedOnce(t *testing.T, a, _ broker.Broker) {
	collect(t, a, 1)
	_, err := a.ConsumeNotifications(testContext(t), 1, func(context.Context, broker.Notification) error { return nil })
	require.Error(t, err)
	_, err = a.ConsumeReplies(testContext(t), func(broker.Answer) {}, nil)
	require.NoError(t, err)
	_, err = a.ConsumeReplies(testContext(t), func(broker.Answer) {}, nil)
	require.Error(t, err)
}
