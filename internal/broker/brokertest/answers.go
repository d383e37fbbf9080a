package brokertest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/broker"
)

// answersTo consumes the replies of a handle into a channel.
func answersTo(t *testing.T, b broker.Broker) (queue string, got <-chan broker.Answer) {
	t.Helper()
	c := make(chan broker.Answer, 10_000)
	queue, err := b.ConsumeReplies(testContext(t), func(a broker.Answer) { c <- a }, nil)
	require.NoError(t, err)
	return queue, c
}

func answersReachTheirClient(t *testing.T, a, b broker.Broker) {
	queueA, gotA := answersTo(t, a)
	queueB, gotB := answersTo(t, b)
	require.NotEqual(t, queueA, queueB)
	const each = 200
	ctx := testContext(t)
	var wg sync.WaitGroup
	for _, from := range []broker.Broker{a, b} {
		for i := range each {
			wg.Go(func() {
				id := fmt.Sprint(i)
				assert.NoError(t, from.Reply(ctx, queueA, broker.Answer{CorrelationID: "a" + id, Body: []byte(`{"to":"a"}`)}))
				assert.NoError(t, from.Reply(ctx, queueB, broker.Answer{CorrelationID: "b" + id, Body: []byte(`{"to":"b"}`)}))
			})
		}
	}
	wg.Wait()
	for to, got := range map[string]<-chan broker.Answer{"a": gotA, "b": gotB} {
		count := make(map[string]int)
		for range 2 * each {
			answer := receive(t, got, "an answer")
			require.Equal(t, `{"to":"`+to+`"}`, string(answer.Body))
			require.Equal(t, to, answer.CorrelationID[:1])
			count[answer.CorrelationID]++
		}
		require.Len(t, count, each)
		require.Empty(t, got)
	}
}

func answersWhole(t *testing.T, a, b broker.Broker) {
	var running atomic.Int32
	got := make(chan broker.Answer, 100)
	queue, err := b.ConsumeReplies(testContext(t), func(answer broker.Answer) {
		assert.EqualValues(t, 1, running.Add(1), "two at the same time")
		got <- answer
		running.Add(-1)
	}, nil)
	require.NoError(t, err)
	for _, body := range [][]byte{
		nil,
		[]byte(`{"ok":true}`),
		[]byte("no JSON \x00\xff"),
		bytes.Repeat([]byte("0123456789abcdef"), 1<<16), // 1 MiB
	} {
		want := bytes.Clone(body)
		require.NoError(t, a.Reply(testContext(t), queue, broker.Answer{CorrelationID: "c", Body: body}))
		clear(body) // the caller's again
		answer := receive(t, got, "the answer")
		require.Equal(t, "c", answer.CorrelationID)
		require.True(t, bytes.Equal(want, answer.Body))
	}
}

func answerToMissingQueue(t *testing.T, a, b broker.Broker) {
	queue, got := answersTo(t, b)
	for range 3 {
		require.NoError(t, a.Reply(testContext(t), "missing."+queue, broker.Answer{CorrelationID: "lost"}))
	}
	require.NoError(t, a.Reply(testContext(t), queue, broker.Answer{CorrelationID: "c"}))
	require.Equal(t, "c", receive(t, got, "the answer").CorrelationID)
}

func hostileAnswers(t *testing.T, a, b broker.Broker) {
	queue, got := answersTo(t, b)
	require.ErrorIs(t, a.Reply(testContext(t), "", broker.Answer{}), broker.ErrInvalid)
	require.ErrorIs(t, a.Reply(testContext(t), strings.Repeat("q", 256), broker.Answer{}), broker.ErrInvalid)
	require.ErrorIs(t, a.Reply(testContext(t), queue, broker.Answer{CorrelationID: strings.Repeat("c", 256)}), broker.ErrInvalid)
	require.NoError(t, a.Reply(testContext(t), "q\x00\xff'\"#*", broker.Answer{CorrelationID: "lost"}))
	for _, id := range []string{"", "\x00", "\xff\xfe", strings.Repeat("c", 255)} {
		require.NoError(t, a.Reply(testContext(t), queue, broker.Answer{CorrelationID: id}))
		require.Equal(t, id, receive(t, got, "the answer").CorrelationID)
	}
}

func requestReply(t *testing.T, a, b broker.Broker) {
	const requests = 300
	_, err := b.ConsumeNotifications(testContext(t), 20, func(ctx context.Context, n broker.Notification) error {
		return b.Reply(ctx, n.ReplyTo, broker.Answer{CorrelationID: n.CorrelationID, Body: []byte(n.MessageID)})
	})
	require.NoError(t, err)
	var waiting sync.Map
	queue, err := a.ConsumeReplies(testContext(t), func(answer broker.Answer) {
		if w, ok := waiting.LoadAndDelete(answer.CorrelationID); ok {
			w.(chan []byte) <- answer.Body
		}
	}, nil)
	require.NoError(t, err)
	ctx := testContext(t)
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() {
			id, w := fmt.Sprint(i), make(chan []byte, 1)
			waiting.Store(id, w)
			assert.NoError(t, a.Notify(ctx, broker.Notification{MessageID: "m" + id, ReplyTo: queue, CorrelationID: id}))
			select {
			case body := <-w:
				assert.Equal(t, "m"+id, string(body))
			case <-ctx.Done():
				assert.Fail(t, "no answer", id)
			}
		})
	}
	wg.Wait()
}
