package node_test

import (
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){"log/noPayloads": testLogHoldsNoPayloads})

// testLogHoldsNoPayloads: at the finest level, and also for what fails, the log
// has ids and never what was sent, nor what lets anyone in.
func testLogHoldsNoPayloads(t *testing.T, w *world) {
	secret := "payload-" + testenv.Unique()
	var buf lockedBuffer
	log := slog.New(slog.NewJSONHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client := openClient(t, w.cfg, gateway.WithLogger(log))
	h := w.nodeOn(t, client, node.Options{})
	u := user()
	target := h.url(t, u)
	d := devicetest.Connect(t, devicetest.Options{URL: target, Subprotocol: devicetest.JSON})

	require.NoError(t, client.SendRealtime(t.Context(), u, secret))
	d.Message(t)
	_, err := client.SendReliable(t.Context(), u, secret)
	require.NoError(t, err)
	d.Acknowledge(t, d.Envelope(t).ID)
	_, err = client.SendReliable(t.Context(), u, json.RawMessage(`{"bad":`+secret))
	require.Error(t, err)
	assert.NotContains(t, err.Error(), secret)

	c := sendCommand(t, client, u, secret, gateway.WithTimeout(time.Minute))
	e := d.Envelope(t)
	d.Event(t, "response", secret)                                                      // not the object that it must be
	d.Event(t, "response", map[string]string{"requestId": "none of ours", "x": secret}) // of no command
	d.Event(t, "unknown", secret)                                                       // nobody handles it
	require.True(t, d.Respond(t, e.RequestID, secret).Success)
	_, err = c.wait(t)
	require.NoError(t, err)
	d.SendRaw(t, websocket.MessageText, []byte(`{"type":"`+secret)) // ends the connection
	d.Ended(t)

	// A token that is almost right is refused.
	parsed, err := url.Parse(target)
	require.NoError(t, err)
	token := parsed.Query().Get("access_token")
	wrong := strings.Replace(target, token, token+"x", 1)
	_, response, err := devicetest.Dial(t.Context(), devicetest.Options{URL: wrong, Subprotocol: devicetest.JSON})
	require.Error(t, err)
	require.Equal(t, 401, response.StatusCode)

	require.Eventually(t, func() bool { return strings.Contains(buf.String(), "device disconnected") }, devicetest.Patience, time.Millisecond)
	text := buf.String()
	assert.Contains(t, text, `"user_id":"`+u+`"`)
	assert.Contains(t, text, `"connection_id":"`)
	for what, hidden := range map[string]string{
		"payload": secret, "token": token, "access key": accessKey, "other access key": secondaryKey,
	} {
		assert.NotContains(t, text, hidden, what)
	}
	if password := w.cfg.RabbitMQ.Password; password != "" {
		assert.NotContains(t, text, ":"+password+"@")
	}
}
