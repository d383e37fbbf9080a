package node_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

// rawHandshake is a handshake by hand: the body of a refusal counts.
func rawHandshake(t *testing.T, h *host, session string) (status int, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.server.URL+"/client/hubs/default", nil)
	require.NoError(t, err)
	r.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
	}
	if session != "" {
		r.AddCookie(&http.Cookie{Name: "session", Value: session, Quoted: true})
	}
	response, err := h.server.Client().Do(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return response.StatusCode, ""
	}
	raw, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(raw)
}

func testMaxConnections(t *testing.T, w *world) {
	const limit = 5
	h := w.node(t, node.Options{MaxConnections: limit})
	url := h.url(t, user())
	type outcome struct {
		d      *devicetest.Device
		status int
	}
	const tries = 24
	outcomes := make(chan outcome, tries)
	for range tries {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), devicetest.Patience)
			defer cancel()
			d, response, err := devicetest.Dial(ctx, devicetest.Options{URL: url, Subprotocol: devicetest.JSON})
			switch {
			case err == nil:
				outcomes <- outcome{d: d, status: 101}
			case response != nil:
				outcomes <- outcome{status: response.StatusCode}
			default:
				outcomes <- outcome{}
			}
		}()
	}
	counts := map[int]int{}
	var accepted []*devicetest.Device
	for range tries {
		o := <-outcomes
		counts[o.status]++
		if o.d != nil {
			accepted = append(accepted, o.d)
		}
	}
	assert.Equal(t, map[int]int{101: limit, 429: tries - limit}, counts)
	for _, d := range accepted {
		d.Drop()
	}
	require.Eventually(t, func() bool { return h.Connections() == 0 }, devicetest.Patience, 5*time.Millisecond)
	h.connect(t, user(), devicetest.JSON)
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	w := newEmbedded(t)
	anyone := func(*http.Request) (node.Identity, error) { return node.Identity{UserID: "u"}, nil }
	for name, c := range map[string]struct {
		opts    node.Options
		allowed []string
		refused []string
	}{
		"tokens": {node.Options{}, []string{"", "https://anywhere.example.com", "null"}, nil},
		"authenticator": {
			node.Options{Authenticator: anyone}, []string{"", "HOST"},
			[]string{"https://evil.example.com", "null", "http://", "::"},
		},
		"listed": {
			node.Options{Authenticator: anyone, Origins: []string{"https://app.example.com", "https://*.example.org"}},
			[]string{"", "https://app.example.com", "HTTPS://APP.example.com", "https://a.example.org"},
			[]string{
				"http://app.example.com", "https://app.example.com.evil.com", "https://example.org", "https://a.b.example.org",
				"https://evilexample.org", "https://.example.org", "http://a.example.org", "https://a.example.org:8443", "HOST", "null",
			},
		},
		"any":  {node.Options{Authenticator: anyone, Origins: []string{"*"}}, []string{"https://a.example.org", "null"}, nil},
		"none": {node.Options{Origins: []string{}}, []string{""}, []string{"HOST", "https://a.example.org"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := w.node(t, c.opts)
			try := func(origin string, status int) {
				header := http.Header{}
				if origin == "HOST" {
					origin = h.server.URL
				}
				if origin != "" {
					header.Set("Origin", origin)
				}
				assert.Equal(t, status, dialStatus(t, devicetest.Options{URL: h.url(t, "u"), Header: header}), origin)
			}
			for _, origin := range c.allowed {
				try(origin, 101)
			}
			for _, origin := range c.refused {
				try(origin, 403)
			}
		})
	}
}

func TestNoWebSocket(t *testing.T) {
	t.Parallel()
	h := newEmbedded(t).node(t, node.Options{})
	for _, c := range []struct {
		method, path string
		header       http.Header
		status       int
	}{
		{http.MethodGet, "/client/hubs/default", nil, 400},
		{http.MethodGet, "/client/hubs/default", http.Header{"Connection": {"Upgrade"}, "Upgrade": {"h2c"}}, 400},
		{http.MethodPost, "/client/hubs/default", nil, 405},
		{http.MethodGet, "/nowhere", nil, 400},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, nil)
		r.Header = c.header.Clone()
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, r)
		assert.Equal(t, c.status, recorder.Code, "%s %s %v", c.method, c.path, c.header)
	}
}

func TestNewRefusesBadOptions(t *testing.T) {
	t.Parallel()
	_, err := node.New(nil, node.Options{})
	require.Error(t, err)
	w := newEmbedded(t)
	for name, opts := range map[string]node.Options{
		"RecoveryWindow": {RecoveryWindow: -1}, "PingInterval": {PingInterval: -1}, "SweepInterval": {SweepInterval: -1},
		"RetryInterval": {RetryInterval: -1}, "HandlerTimeout": {HandlerTimeout: -1}, "MaxFrame": {MaxFrame: -1},
		"MaxQueue": {MaxQueue: -1}, "MaxQueueBytes": {MaxQueueBytes: -1}, "MaxConnections": {MaxConnections: -1},
		"Retention": {Retention: -2}, "HandoverTimeout": {HandoverTimeout: -1}, "MaxGroups": {MaxGroups: -1}, "MaxStreams": {MaxStreams: -1},
		"MaxAckIDs": {MaxAckIDs: -1}, "MaxPermissions": {MaxPermissions: -1}, "MaxPatterns": {MaxPatterns: -1},
		"MaxPatternLength": {MaxPatternLength: -1}, "MaxPatternStars": {MaxPatternStars: -1},
		"StreamIdle": {StreamIdle: -1}, "MaxStreamIdle": {MaxStreamIdle: -1}, "MaxIdempotencyKeys": {MaxIdempotencyKeys: -2}, "ReconnectionLifetime": {ReconnectionLifetime: -1},
		"StreamIdle is longer than MaxStreamIdle, 24h0m0s": {StreamIdle: 25 * time.Hour},
		"StreamIdle is longer than MaxStreamIdle, 1s":      {StreamIdle: 2 * time.Second, MaxStreamIdle: time.Second},
	} {
		_, err := node.New(w.client, opts)
		require.ErrorIs(t, err, node.ErrInvalidOptions, name)
		require.ErrorContains(t, err, name)
	}
}

func TestPrefixMount(t *testing.T) {
	t.Parallel()
	w := newEmbedded(t)
	h := w.node(t, node.Options{})
	mux := http.NewServeMux()
	mux.Handle("/push/client/", h.Node)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	u := user()
	access, err := w.client.ClientAccessToken(t.Context(), u, gateway.WithEndpoint(server.URL+"/push"))
	require.NoError(t, err)
	parsed, err := url.Parse(access.URL)
	require.NoError(t, err)
	require.Equal(t, "/push/client/hubs/default", parsed.Path)
	d := devicetest.Connect(t, devicetest.Options{URL: access.URL, Subprotocol: devicetest.Reliable})
	require.Equal(t, u, d.Connected.UserID)
}
