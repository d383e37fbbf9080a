package rabbit_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/broker/rabbit"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

const patience = 30 * time.Second

// behindProxy opens a Broker whose connections can be broken.
func behindProxy(t *testing.T, names wire.Names) (*rabbit.Broker, *proxy) {
	t.Helper()
	p, url := newProxy(t, testenv.RabbitMQ(t), nil)
	return open(t, rabbit.Options{
		URLs: []string{url}, Names: names,
		Heartbeat: 2 * time.Second, MaxBackoff: 200 * time.Millisecond,
	}), p
}

func direct(t *testing.T, names wire.Names) *rabbit.Broker {
	t.Helper()
	return open(t, rabbit.Options{URLs: []string{testenv.RabbitMQ(t)}, Names: names})
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

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

// receiveAll receives until each of n ids has come at least once.
func receiveAll(t *testing.T, c <-chan string, n int) {
	t.Helper()
	seen := make(map[string]bool)
	for len(seen) < n {
		seen[receive(t, c, fmt.Sprintf("%d of %d came", len(seen), n))] = true
	}
}

func TestAnswersWaitForTheConnection(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(p *proxy){
		"cut":       func(p *proxy) { p.refuse(true); p.cut() },
		"half-open": func(p *proxy) { p.refuse(true); p.freeze() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			names := freshNames(t)
			client, p := behindProxy(t, names)
			gateway := direct(t, names)
			got, again := make(chan string, 1000), make(chan struct{}, 1000)
			queue, err := client.ConsumeReplies(testContext(t),
				func(a broker.Answer) { got <- a.CorrelationID },
				func() { again <- struct{}{} })
			require.NoError(t, err)
			require.NoError(t, gateway.Reply(testContext(t), queue, broker.Answer{CorrelationID: "before"}))
			require.Equal(t, "before", receive(t, got, "the answer"))
			require.Empty(t, again, "the first time is no reconnect")

			breakIt(p)
			const n = 50
			for i := range n {
				require.NoError(t, gateway.Reply(testContext(t), queue, broker.Answer{CorrelationID: fmt.Sprint(i)}))
			}
			p.refuse(false)
			receiveAll(t, got, n)
			receive(t, again, "onReconnect")
		})
	}
}

// TestAnswerIsAcknowledgedAfterItsHandler breaks the connection while the
// handler runs: the server still has the answer.
func TestAnswerIsAcknowledgedAfterItsHandler(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	client, p := behindProxy(t, names)
	began, release := make(chan string, 10), make(chan struct{})
	queue, err := client.ConsumeReplies(testContext(t), func(a broker.Answer) {
		began <- a.CorrelationID
		<-release
	}, nil)
	require.NoError(t, err)
	require.NoError(t, direct(t, names).Reply(testContext(t), queue, broker.Answer{CorrelationID: "c"}))
	receive(t, began, "the answer")
	p.cut()
	close(release)
	require.Equal(t, "c", receive(t, began, "the answer again"))
}

// TestNoNotificationIsLost cuts the publishers' connection again and again.
func TestNoNotificationIsLost(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	client, p := behindProxy(t, names)
	const publishers, each, cuts = 16, 150, 12
	got := make(chan string, 2*publishers*each)
	_, err := direct(t, names).ConsumeNotifications(testContext(t), 50, func(_ context.Context, n broker.Notification) error {
		got <- n.MessageID
		return nil
	})
	require.NoError(t, err)
	ctx := testContext(t)
	sent := make(chan struct{}, publishers*each)
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			for k := range each {
				assert.NoError(t, client.Notify(ctx, broker.Notification{MessageID: fmt.Sprint(i, "/", k)}))
				sent <- struct{}{}
			}
		})
	}
	// Each cut falls among publishes that are on their way.
	for range cuts {
		for range publishers * each / (cuts + 1) {
			receive(t, sent, "progress")
		}
		p.cut()
	}
	wg.Wait()
	receiveAll(t, got, publishers*each)
	_, total := p.count()
	require.Greater(t, total, cuts/2, "the cuts missed")
}

// TestConsumerSurvivesBreaks cuts the consumers' connection again and again.
func TestConsumerSurvivesBreaks(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	node, p := behindProxy(t, names)
	const n, cuts = 600, 6
	got := make(chan string, 10*n)
	_, err := node.ConsumeNotifications(testContext(t), 10, func(_ context.Context, note broker.Notification) error {
		got <- note.MessageID
		return nil
	})
	require.NoError(t, err)
	client := direct(t, names)
	for i := range n {
		require.NoError(t, client.Notify(testContext(t), broker.Notification{MessageID: fmt.Sprint(i)}))
		if i%(n/cuts) == 0 {
			p.cut()
		}
	}
	receiveAll(t, got, n)
}

func TestConsumerSurvivesHalfOpenConnection(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	node, p := behindProxy(t, names)
	got := make(chan string, 100)
	_, err := node.ConsumeNotifications(testContext(t), 10, func(_ context.Context, note broker.Notification) error {
		got <- note.MessageID
		return nil
	})
	require.NoError(t, err)
	p.freeze()
	require.NoError(t, direct(t, names).Notify(testContext(t), broker.Notification{MessageID: "m"}))
	require.Equal(t, "m", receive(t, got, "the notification, on a new connection"))
}

// TestSilentServer holds back everything: calls end with their ctx, however
// much they have to say, and Close ends.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	b, p := behindProxy(t, names)
	_, err := b.ConsumeReplies(testContext(t), func(broker.Answer) {}, nil)
	require.NoError(t, err)
	_, err = b.ConsumeNotifications(testContext(t), 1, func(context.Context, broker.Notification) error { return nil })
	require.NoError(t, err)
	p.refuse(true)
	p.freeze()

	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			err := b.Reply(ctx, "queue", broker.Answer{Body: make([]byte, 1<<20)})
			assert.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
	wg.Go(func() { assert.ErrorIs(t, b.Ping(ctx), context.DeadlineExceeded) })
	wg.Go(func() {
		assert.ErrorIs(t, b.Notify(ctx, broker.Notification{MessageID: "m"}), context.DeadlineExceeded)
	})
	wg.Wait()
	require.Less(t, time.Since(start), 3*time.Second)

	waiting := make(chan error, 1)
	go func() { waiting <- b.Notify(context.WithoutCancel(t.Context()), broker.Notification{MessageID: "m"}) }()
	start = time.Now()
	require.NoError(t, b.Close())
	require.Less(t, time.Since(start), 8*time.Second)
	require.ErrorIs(t, receive(t, waiting, "the waiting Notify"), broker.ErrClosed)
}

// TestOutage has no server at all for a while.
func TestOutage(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	b, p := behindProxy(t, names)
	p.refuse(true)
	p.cut()
	require.Eventually(t, func() bool { return b.Ping(t.Context()) != nil }, patience, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := b.Notify(ctx, broker.Notification{MessageID: "m"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "127.0.0.1:")
	_, err = b.ConsumeReplies(ctx, func(broker.Answer) {}, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	// Having failed, ConsumeReplies may be called again.
	waiting := make(chan error, 2)
	ctx = testContext(t)
	go func() { waiting <- b.Notify(ctx, broker.Notification{MessageID: "m"}) }()
	go func() {
		_, err := b.ConsumeReplies(ctx, func(broker.Answer) {}, nil)
		waiting <- err
	}()
	p.refuse(false)
	require.NoError(t, receive(t, waiting, "a waiting call"))
	require.NoError(t, receive(t, waiting, "a waiting call"))
	require.NoError(t, b.Ping(ctx))
}

// TestBlocked has the server announce that it blocks publishers.
func TestBlocked(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	b, p := behindProxy(t, names)
	require.NoError(t, b.Notify(testContext(t), broker.Notification{MessageID: "m"}))
	reason := "low on memory"
	p.say(t, 60, append([]byte{byte(len(reason))}, reason...))
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		return isBlocked(b.Notify(ctx, broker.Notification{MessageID: "m"}))
	}, patience, time.Millisecond)
	waiting := make(chan error, 1)
	go func() { waiting <- b.Notify(testContext(t), broker.Notification{MessageID: "m"}) }()
	p.say(t, 61, nil)
	require.NoError(t, receive(t, waiting, "the waiting Notify"))
}

// TestHostsTakeOver loses the host that is in use.
func TestHostsTakeOver(t *testing.T) {
	t.Parallel()
	names := freshNames(t)
	p1, url1 := newProxy(t, testenv.RabbitMQ(t), nil)
	p2, url2 := newProxy(t, testenv.RabbitMQ(t), nil)
	b := open(t, rabbit.Options{URLs: []string{url1, url2}, Names: names, MaxBackoff: 200 * time.Millisecond})
	for _, p := range []*proxy{p1, p2, p1} {
		p.refuse(true)
		p.cut()
		require.NoError(t, b.Notify(testContext(t), broker.Notification{MessageID: "m"}))
		now, _ := p.count()
		require.Zero(t, now)
		p.refuse(false)
	}
}
