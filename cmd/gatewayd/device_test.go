package main

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket/wsjson"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
)

// serveDevices runs a node in this process and returns its address.
func serveDevices(t *testing.T, client *gateway.Client, options node.Options) string {
	t.Helper()
	n, err := node.New(client, options)
	require.NoError(t, err)
	server := httptest.NewServer(n)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, n.Shutdown(ctx))
		server.Close()
	})
	return strings.TrimPrefix(server.URL, "http://")
}

// answerCommands is a device: it gives a command's data back, and refuses
// commands of the type REFUSE.
func answerCommands(t *testing.T, url string) {
	t.Helper()
	conn := dial(t, url)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-done
	})
	go func() {
		defer close(done)
		for {
			var frame struct {
				Type       string
				From       string
				SequenceID int64
				Data       struct {
					Kind, RequestID, Type string
					Data                  json.RawMessage
				}
			}
			if wsjson.Read(ctx, conn, &frame) != nil {
				return
			}
			if frame.Type != "message" || frame.Data.Kind != "command" {
				continue
			}
			answer := map[string]any{"requestId": frame.Data.RequestID, "data": frame.Data.Data}
			if frame.Data.Type == "REFUSE" {
				answer = map[string]any{"requestId": frame.Data.RequestID, "error": map[string]string{"code": "no", "message": "not today"}}
			}
			for _, out := range []any{
				map[string]any{"type": "sequenceAck", "sequenceId": frame.SequenceID},
				map[string]any{"type": "event", "event": "response", "dataType": "json", "data": answer},
			} {
				if wsjson.Write(ctx, conn, out) != nil {
					return
				}
			}
		}
	}()
}
