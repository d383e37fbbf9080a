// Package brokertest is the suite that every implementation of broker.Broker
// passes. Each case opens a backend of its own and runs in parallel.
package brokertest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/broker"
)

// Open returns two handles on one fresh backend, as two processes would have
// them, and closes them when the test ends.
type Open func(t testing.TB) (a, b broker.Broker)

// Run runs the suite.
func Run(t *testing.T, open Open) {
	cases := []struct {
		name string
		test func(t *testing.T, a, b broker.Broker)
	}{
		{"notification arrives as sent", notificationAsSent},
		{"hostile notifications", hostileNotifications},
		{"competing consumers share", competingConsumers},
		{"many publishers", manyPublishers},
		{"nothing is kept before the first consumer", nothingBeforeFirstConsumer},
		{"kept while no consumer is there", keptWithoutConsumer},
		{"prefetch bounds the handlers", prefetchBounds},
		{"prefetch below one is one", prefetchBelowOne},
		{"failed handler tries again after a pause", failedHandlerTriesAgain},
		{"failing notification does not hold up others", failingDoesNotBlock},
		{"stop waits and gives the rest away", stopGivesAway},
		{"consumed once", consumedOnce},
		{"answers reach their client only", answersReachTheirClient},
		{"answers one at a time and whole", answersWhole},
		{"answer to a missing queue", answerToMissingQueue},
		{"hostile answers", hostileAnswers},
		{"request and reply", requestReply},
		{"ctx that has ended", endedContext},
		{"close waits for handlers, which still publish", closeWaits},
		{"close ends the ctx of a slow handler", closeEndsSlowHandler},
		{"close gives a failed notification away", closeGivesAway},
		{"closed", closed},
		{"ping", ping},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			a, b := open(t)
			c.test(t, a, b)
		})
	}
}

// patience is how long the suite waits for what must happen. It decides only how late a
// broken implementation fails.
const patience = 30 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// receive returns the next value, or fails the test.
func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing came", what)
		panic("not reached")
	}
}

// collect consumes notifications into a channel.
func collect(t *testing.T, b broker.Broker, prefetch int) <-chan broker.Notification {
	t.Helper()
	got := make(chan broker.Notification, 10_000)
	_, err := b.ConsumeNotifications(testContext(t), prefetch, func(_ context.Context, n broker.Notification) error {
		got <- n
		return nil
	})
	require.NoError(t, err)
	return got
}

func notify(t *testing.T, b broker.Broker, ids ...string) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, b.Notify(testContext(t), broker.Notification{MessageID: id}))
	}
}

func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s%d", prefix, i)
	}
	return out
}
