package node

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/testenv"
)

// TestOneAnswerIsSent: of all answers to a command, on whichever node, the
// client that waits is sent the one that the row has.
func TestOneAnswerIsSent(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	client, err := gateway.New(t.Context(), gateway.Embedded(t.TempDir()))
	require.NoError(t, err)
	defer func() { assert.NoError(t, client.Close()) }()
	asked, err := client.SendCommand(t.Context(), "ann", "work", 1, gateway.NoWait())
	require.NoError(t, err)
	var mu sync.Mutex
	var sent []broker.Answer
	c := *core.Of(client)
	c.Answered = func(queue string, a broker.Answer) bool {
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, "queue", queue)
		sent = append(sent, a)
		return true
	}
	var wg sync.WaitGroup
	for _, response := range []string{"1", "2"} {
		node := newAnswers(&c)
		defer node.stop()
		for range 3 {
			wg.Go(func() {
				assert.NoError(t, node.record(t.Context(), asked.MessageID, "request", "queue", []byte(response)))
			})
		}
	}
	wg.Wait()
	require.Len(t, sent, 1)
	m, err := client.Message(t.Context(), asked.MessageID)
	require.NoError(t, err)
	require.Equal(t, string(m.Response), string(sent[0].Body))
}
