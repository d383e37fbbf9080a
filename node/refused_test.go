package node_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
	"github.com/message-gateway/gateway/rest"
)

// refusals reads what the node has counted as refused, by reason.
func refusals(t *testing.T, reader *sdk.ManualReader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(context.Background(), &all))
	counts := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "gateway.node.refused" {
				for _, p := range sum.DataPoints {
					reason, _ := p.Attributes.Value("reason")
					counts[reason.AsString()] += p.Value
				}
			}
		}
	}
	return counts
}

// TestHostileInputIsCounted: whatever is refused is counted once, under its
// reason, and leaves nothing behind.
func TestHostileInputIsCounted(t *testing.T) {
	t.Parallel()
	w := newEmbedded(t)
	reader := sdk.NewManualReader()
	client := openClient(t, w.cfg, gateway.WithMeterProvider(sdk.NewMeterProvider(sdk.WithReader(reader))))
	h := w.nodeOn(t, client, node.Options{REST: &rest.Options{MaxBody: 10}, MaxFrame: 1000})
	transport := &http.Transport{DisableKeepAlives: true}
	token := func(method jwt.SigningMethod, key any, audience string, lifetime time.Duration) string {
		signed, err := jwt.NewWithClaims(method, jwt.MapClaims{"aud": h.server.URL + audience, "sub": "u", "exp": time.Now().Add(lifetime).Unix()}).SignedString(key)
		require.NoError(t, err)
		return signed
	}
	good := func(audience string) string {
		return token(jwt.SigningMethodHS256, []byte(accessKey), audience, time.Minute)
	}
	request := func(method, target, bearer, body string) int {
		r, err := http.NewRequestWithContext(t.Context(), method, h.server.URL+target, strings.NewReader(body))
		require.NoError(t, err)
		if bearer != "" {
			r.Header.Set("Authorization", "Bearer "+bearer)
		}
		response, err := transport.RoundTrip(r)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	dial := func(target, bearer string) int {
		if bearer != "" {
			target += "?access_token=" + url.QueryEscape(bearer)
		}
		return dialStatus(t, devicetest.Options{URL: h.wsURL(target), Subprotocol: devicetest.JSON})
	}
	frame := func(sub string, op websocket.MessageType, payload string) int {
		d := h.connect(t, user(), sub)
		require.NoError(t, d.TrySendRaw(op, []byte(payload)))
		return int(d.Ended(t))
	}
	const hub, send = "/client/hubs/default", "/api/hubs/default/:send"
	hs256, none := jwt.SigningMethodHS256, jwt.SigningMethodNone
	key, unsafe := []byte(accessKey), jwt.UnsafeAllowNoneSignatureType
	for name, c := range map[string]struct {
		attempt func() int
		status  int
		reason  string
	}{
		"no token":           {func() int { return dial(hub, "") }, 401, "unauthorized"},
		"garbage":            {func() int { return dial(hub, "a.b.c") }, 401, "unauthorized"},
		"huge token":         {func() int { return dial(hub, strings.Repeat("a", 70_000)) }, 401, "unauthorized"},
		"expired":            {func() int { return dial(hub, token(hs256, key, hub, -time.Hour)) }, 401, "unauthorized"},
		"alg none":           {func() int { return dial(hub, token(none, unsafe, hub, time.Hour)) }, 401, "unauthorized"},
		"another algorithm":  {func() int { return dial(hub, token(jwt.SigningMethodHS512, key, hub, time.Hour)) }, 401, "unauthorized"},
		"another key":        {func() int { return dial(hub, token(hs256, []byte(strings.ToUpper(accessKey)), hub, time.Hour)) }, 401, "unauthorized"},
		"another hub":        {func() int { return dial(hub, good("/client/hubs/other")) }, 401, "unauthorized"},
		"a service's token":  {func() int { return dial(hub, good("/api/hubs/default")) }, 401, "unauthorized"},
		"path trick":         {func() int { return dial("/client/hubs/other/../default", good(hub)) }, 400, "bad_request"},
		"escaped path trick": {func() int { return dial("/client/hubs/other%2F..%2Fdefault", good(hub)) }, 400, "bad_request"},
		"no hub":             {func() int { return dial("/client/hubs/", good(hub)) }, 400, "bad_request"},
		"no WebSocket":       {func() int { return request("GET", hub, "", "") }, 400, "no_websocket"},
		"unknown frame":      {func() int { return frame(devicetest.JSON, websocket.MessageText, `{"type":"x"}`) }, 1007, "frame"},
		"wrong type":         {func() int { return frame(devicetest.JSON, websocket.MessageText, `{"type":"joinGroup","group":1}`) }, 1007, "frame"},
		"no protobuf":        {func() int { return frame(devicetest.Protobuf, websocket.MessageBinary, "\xff") }, 1007, "frame"},
		"wrong opcode":       {func() int { return frame(devicetest.JSON, websocket.MessageBinary, `{"type":"ping"}`) }, 1003, "opcode"},
		"huge frame":         {func() int { return frame(devicetest.JSON, websocket.MessageText, strings.Repeat("x", 1001)) }, 1009, "frame_size"},
		"no UTF-8":           {func() int { return frame(devicetest.JSON, websocket.MessageText, "\xff") }, 1007, "websocket"},
		"REST: no token":     {func() int { return request("POST", send, "", "") }, 401, "rest_401"},
		"REST: expired":      {func() int { return request("POST", send, token(hs256, key, send, -time.Hour), "") }, 401, "rest_401"},
		"REST: alg none":     {func() int { return request("POST", send, token(none, unsafe, send, time.Hour), "") }, 401, "rest_401"},
		"REST: another hub":  {func() int { return request("POST", send, good("/api/hubs/other/:send"), "") }, 401, "rest_401"},
		"REST: another user": {func() int {
			return request("POST", "/api/hubs/default/users/a%252Fb/:send", good("/api/hubs/default/users/a%2Fb/:send"), "")
		}, 401, "rest_401"},
		"REST: a device's":      {func() int { return request("POST", send, good(hub), "") }, 401, "rest_401"},
		"REST: path trick":      {func() int { return request("POST", "/api/hubs/default/users/../:send", good(send), "") }, 401, "rest_401"},
		"REST: slashes":         {func() int { return request("POST", "/api/hubs//default/:send", good(send), "") }, 404, "rest_404"},
		"REST: method":          {func() int { return request("DELETE", send, good(send), "") }, 405, "rest_405"},
		"REST: filter":          {func() int { return request("POST", send+"?filter=((", good(send), "") }, 400, "rest_400"},
		"REST: repeated option": {func() int { return request("POST", send+"?filter=true&filter=true", good(send), "") }, 400, "rest_400"},
		"REST: huge body":       {func() int { return request("POST", send, good(send), strings.Repeat("x", 11)) }, 413, "rest_413"},
		"REST: group": {func() int {
			return request("HEAD", "/api/hubs/default/groups/"+strings.Repeat("g", 1025), good(send), "")
		}, 400, "rest_400"},
	} {
		before := refusals(t, reader)
		assert.Equal(t, c.status, c.attempt(), name)
		// A connection ends for the device before the node has counted it.
		assert.Eventually(t, func() bool { return refusals(t, reader)[c.reason] == before[c.reason]+1 }, devicetest.Patience, time.Millisecond, name)
		after := refusals(t, reader)
		after[c.reason]--
		if before[c.reason] == 0 {
			delete(after, c.reason)
		}
		assert.Equal(t, before, after, "%s is counted once", name)
	}
	assert.Eventually(t, func() bool { return h.Connections() == 0 }, devicetest.Patience, time.Millisecond)
	exists, err := w.client.Hub("default").GroupExists(t.Context(), "g")
	require.NoError(t, err)
	assert.False(t, exists)
}
