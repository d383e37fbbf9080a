package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The pages are tested in a browser, by test/browser; this is what is behind
// them.

func newServer(t *testing.T) *httptest.Server {
	t.Helper()
	testenv.Count(t, testenv.Embedded)
	client, err := gateway.New(t.Context(), gateway.Embedded(""))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	s := &site{client: client, hub: client.Hub("default")}
	n, err := node.New(client, node.Options{OnConnected: s.connected, OnDisconnected: s.disconnected})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/client/", n)
	mux.Handle("/", s.handler())
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		assert.NoError(t, n.Shutdown(ctx))
		server.Close()
	})
	return server
}

func request(t *testing.T, server *httptest.Server, method, path, body string, header ...string) (status int, answer map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := server.Client().Do(r)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	assert.Contains(t, res.Header.Get("Content-Security-Policy"), "default-src 'self'")
	if res.Header.Get("Content-Type") == "application/json" {
		require.NoError(t, json.NewDecoder(res.Body).Decode(&answer))
	}
	return res.StatusCode, answer
}

func TestPresenceAndMail(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	status, sent := request(t, server, http.MethodPost, "/send", `{"kind":"reliable","from":"bob","to":"ada","text":"hi"}`)
	require.Equal(t, http.StatusOK, status)
	id, _ := sent["id"].(string)
	_, state := request(t, server, http.MethodGet, "/status?id="+id, "")
	assert.Equal(t, "PENDING", state["status"])

	_, access := request(t, server, http.MethodGet, "/connect?user=ada", "")
	url, _ := access["url"].(string)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	device, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"json.webpubsub.azure.v1"}})
	require.NoError(t, err)
	defer func() { _ = device.CloseNow() }()
	var present, mail bool
	for !present || !mail {
		var f struct {
			Group string
			Data  struct {
				Present []string
				ID      string
				Payload note
			}
		}
		require.NoError(t, wsjson.Read(ctx, device, &f))
		if f.Group == lobby {
			assert.Equal(t, []string{"ada"}, f.Data.Present)
			present = true
		}
		if f.Data.ID == id {
			assert.Equal(t, note{From: "bob", Text: "hi"}, f.Data.Payload)
			mail = true
		}
	}
	require.NoError(t, device.Close(websocket.StatusNormalClosure, ""))
}

func TestRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	for body, want := range map[string]int{
		`{`:                              http.StatusBadRequest,
		`{"kind":"all","to":"ada"}`:      http.StatusBadRequest,
		`{"kind":"reliable"}`:            http.StatusBadRequest,
		strings.Repeat("x", maxBody+1):   http.StatusBadRequest,
		`{"kind":"realtime","to":"ada"}`: http.StatusOK,
	} {
		status, _ := request(t, server, http.MethodPost, "/send", body)
		assert.Equal(t, want, status, body[:min(len(body), 40)])
	}
	status, _ := request(t, server, http.MethodGet, "/status?id=nothing", "")
	assert.Equal(t, http.StatusNotFound, status)
	status, _ = request(t, server, http.MethodPost, "/send", `{"kind":"realtime","to":"ada"}`, "Sec-Fetch-Site", "cross-site")
	assert.Equal(t, http.StatusForbidden, status)
	status, _ = request(t, server, http.MethodGet, "/", "")
	assert.Equal(t, http.StatusOK, status)
}
