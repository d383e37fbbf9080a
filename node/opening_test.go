package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/testenv"
)

// What is sent to a connection that has no socket yet, because it is just being
// accepted or moves here, is bounded; beyond that it is not left out in silence.
func TestTooMuchBeforeTheSocket(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	client, err := gateway.New(t.Context(), gateway.Embedded(t.TempDir()))
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	n, err := New(client, Options{MaxQueue: 10, MaxQueueBytes: 1000})
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Shutdown(t.Context())) }()
	for name, size := range map[string]int{"frames": 1, "bytes": 300} {
		s := newSession(n, newConnectionID(), "default", "json.reliable.webpubsub.azure.v1", protocol.JSONReliableV1, "")
		message := protocol.NewShared(protocol.Message{Data: protocol.Data{Type: protocol.Binary, Bytes: make([]byte, size)}})
		taken := 0
		for s.send(outFrame{message: message}) {
			taken++
			require.LessOrEqual(t, taken, 10, name)
			require.Nil(t, s.farewell, name)
		}
		require.Positive(t, taken, name)
		if name == "bytes" {
			require.Less(t, taken, 4)
		}
		require.NotNil(t, s.farewell, name)
		require.EqualValues(t, 1008, s.farewell.code, name)
		require.False(t, s.send(outFrame{message: message}), name)
	}
}
