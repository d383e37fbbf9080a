package node_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"handshake/paths":          testPaths,
	"handshake/tokens":         testTokens,
	"handshake/subprotocols":   testSubprotocols,
	"handshake/connected":      testConnectedFrame,
	"handshake/authenticator":  testAuthenticator,
	"handshake/maxConnections": testMaxConnections,
})

// sign makes a token of the test's own.
func sign(t *testing.T, key string, claims jwt.MapClaims) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(key))
	require.NoError(t, err)
	return signed
}

// dialStatus connects and returns the HTTP status: 101 if the node accepted.
func dialStatus(t *testing.T, opts devicetest.Options) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
	defer cancel()
	d, response, err := devicetest.Dial(ctx, opts)
	if err == nil {
		d.Drop()
		return http.StatusSwitchingProtocols
	}
	require.NotNil(t, response, "the node answered: %v", err)
	return response.StatusCode
}

func testPaths(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	for _, c := range []struct {
		path   string
		prefix string // in the audience
		hub    string
		status int
	}{
		{"/client/hubs/default", "", "default", 101},
		{"/client/hubs/DeFault", "", "default", 101},
		{"/client/hubs/default/", "", "default", 101},
		{"/client/hubs/another", "", "another", 101},
		{"/client?hub=default", "", "default", 101},
		{"/client/?hub=default", "", "default", 101},
		{"/client/?HUB=default", "", "default", 101},
		{"/push/eu/client/hubs/default", "/push/eu", "default", 101},
		{"/push/client/?hub=default", "/push", "default", 101},
		{"/client/hubs/default", "", "other", 401},
		{"/push/client/hubs/default", "/pull", "default", 401},
		{"/client/hubs/", "", "default", 400},
		{"/client/hubs/1abc", "", "1abc", 400},
		{"/client/hubs/a%2Fb", "", "a/b", 400},
		{"/client/hubs/" + strings.Repeat("h", 129), "", strings.Repeat("h", 129), 400},
		{"/client", "", "default", 400},
		{"/client/other", "", "default", 400},
		{"/", "", "default", 400},
	} {
		t.Run(c.path+" for "+c.prefix+c.hub, func(t *testing.T) {
			separator := "?"
			if strings.Contains(c.path, "?") {
				separator = "&"
			}
			token := sign(t, accessKey, jwt.MapClaims{
				"aud": h.server.URL + c.prefix + "/client/hubs/" + c.hub, "exp": time.Now().Add(time.Minute).Unix(), "sub": user(),
			})
			status := dialStatus(t, devicetest.Options{
				URL: h.wsURL(c.path) + separator + "access_token=" + token, Subprotocol: devicetest.JSON,
			})
			assert.Equal(t, c.status, status)
		})
	}
}

func testTokens(t *testing.T, w *world) {
	cfg := w.cfg
	cfg.Endpoints = []string{"https://push.example.com/base"}
	h := w.nodeOn(t, openClient(t, cfg), node.Options{})
	here := h.server.URL + "/client/hubs/default"
	soon := time.Now().Add(time.Minute).Unix()
	for name, c := range map[string]struct {
		key    string
		claims jwt.MapClaims
		status int
	}{
		"good":                {accessKey, jwt.MapClaims{"aud": here, "exp": soon}, 101},
		"secondary key":       {secondaryKey, jwt.MapClaims{"aud": here, "exp": soon}, 101},
		"list of audiences":   {accessKey, jwt.MapClaims{"aud": []string{"x", here}, "exp": soon}, 101},
		"audience in capital": {accessKey, jwt.MapClaims{"aud": strings.ToUpper(here), "exp": soon}, 101},
		"role as string":      {accessKey, jwt.MapClaims{"aud": here, "exp": soon, "role": "webpubsub.sendToGroup"}, 101},
		"within the skew":     {accessKey, jwt.MapClaims{"aud": here, "exp": time.Now().Add(-4 * time.Minute).Unix()}, 101},
		"endpoint":            {accessKey, jwt.MapClaims{"aud": "https://push.example.com/base/client/hubs/default", "exp": soon}, 101},
		"endpoint over http":  {accessKey, jwt.MapClaims{"aud": "http://push.example.com:80/base/client/hubs/default", "exp": soon}, 101},
		"other path":          {accessKey, jwt.MapClaims{"aud": "https://push.example.com/client/hubs/default", "exp": soon}, 401},
		"other host":          {accessKey, jwt.MapClaims{"aud": "http://evil.example.com/client/hubs/default", "exp": soon}, 401},
		"other hub":           {accessKey, jwt.MapClaims{"aud": h.server.URL + "/client/hubs/other", "exp": soon}, 401},
		"expired":             {accessKey, jwt.MapClaims{"aud": here, "exp": time.Now().Add(-6 * time.Minute).Unix()}, 401},
		"not yet":             {accessKey, jwt.MapClaims{"aud": here, "exp": soon, "nbf": time.Now().Add(6 * time.Minute).Unix()}, 401},
		"without expiry":      {accessKey, jwt.MapClaims{"aud": here}, 401},
		"without audience":    {accessKey, jwt.MapClaims{"exp": soon}, 401},
		"wrong key":           {"a wrong access key of the node's tests", jwt.MapClaims{"aud": here, "exp": soon}, 401},
		"bad group":           {accessKey, jwt.MapClaims{"aud": here, "exp": soon, "webpubsub.group": "  "}, 400},
	} {
		t.Run(name, func(t *testing.T) {
			token := sign(t, c.key, c.claims)
			assert.Equal(t, c.status, dialStatus(t, devicetest.Options{URL: h.wsURL("/client/hubs/default?access_token=" + token)}), "in the query")
			assert.Equal(t, c.status, dialStatus(t, devicetest.Options{
				URL: h.wsURL("/client/hubs/default"), Header: http.Header{"Authorization": {"Bearer " + token}},
			}), "in the header")
		})
	}
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"aud": here, "exp": soon}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)
	for _, query := range []string{"", "?access_token=", "?access_token=abc", "?access_token=" + none} {
		assert.Equal(t, 401, dialStatus(t, devicetest.Options{URL: h.wsURL("/client/hubs/default" + query)}), query)
	}
}

func testSubprotocols(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	for _, c := range []struct {
		offered []string
		chosen  string
	}{
		{nil, ""},
		{[]string{"graphql-ws"}, ""},
		{[]string{devicetest.JSON}, devicetest.JSON},
		{[]string{"JSON.WebPubSub.Azure.V1"}, "JSON.WebPubSub.Azure.V1"},
		{[]string{"mine", devicetest.Reliable, devicetest.JSON}, devicetest.Reliable},
		{[]string{devicetest.Protobuf, devicetest.JSON}, devicetest.Protobuf},
		{[]string{devicetest.ProtobufReliable}, devicetest.ProtobufReliable},
	} {
		t.Run(strings.Join(c.offered, ","), func(t *testing.T) {
			d := devicetest.Connect(t, devicetest.Options{URL: h.url(t, user()), Subprotocols: c.offered})
			assert.Equal(t, c.chosen, d.Subprotocol())
		})
	}
}

func testConnectedFrame(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	for _, subprotocol := range []string{devicetest.JSON, devicetest.Reliable, devicetest.Protobuf, devicetest.ProtobufReliable} {
		t.Run(subprotocol, func(t *testing.T) {
			u := user()
			// What waits must not overtake the connected frame.
			w.reliable(t, u, 1)
			d := h.connect(t, u, subprotocol)
			assert.Equal(t, u, d.Connected.UserID)
			assert.Len(t, d.Connected.ConnectionID, 32)
			reliable := strings.Contains(subprotocol, "reliable")
			assert.Equal(t, reliable, d.Connected.ReconnectionToken != "")
			m := d.Message(t)
			assert.Equal(t, "server", m.From)
			if reliable {
				assert.EqualValues(t, 1, m.SequenceID)
			} else {
				assert.Zero(t, m.SequenceID)
			}
			for range 3 {
				d.Ping(t)
			}
			for range 3 {
				assert.Equal(t, devicetest.TypePong, d.Next(t).Type)
			}
		})
	}
	t.Run("anonymous", func(t *testing.T) {
		d := h.connect(t, "", devicetest.JSON)
		assert.Empty(t, d.Connected.UserID)
		assert.NotEmpty(t, d.Connected.ConnectionID)
	})
}

func testAuthenticator(t *testing.T, w *world) {
	u := user()
	h := w.node(t, node.Options{
		Authenticator: func(r *http.Request) (node.Identity, error) {
			switch cookie, err := r.Cookie("session"); {
			case err != nil:
				return node.Identity{}, errors.New("secret reason")
			case cookie.Value == "banned":
				return node.Identity{}, fmt.Errorf("wrapped: %w", &node.RefuseError{Status: 418, Message: "go away"})
			case cookie.Value == "strange":
				return node.Identity{}, &node.RefuseError{Status: 200, Message: "not a refusal"}
			default:
				return node.Identity{UserID: cookie.Value}, nil
			}
		},
		OnConnect: func(_ context.Context, c *node.ConnectRequest) error {
			switch c.UserID {
			case "refused":
				return errors.New("secret reason")
			case "teapot":
				return &node.RefuseError{Status: 402, Message: "pay first"}
			case "alias":
				c.UserID = u
			case "bad group":
				c.Groups = []string{""}
			}
			return nil
		},
	})
	for cookie, want := range map[string]struct {
		status int
		body   string
	}{
		"": {401, "Unauthorized"}, "banned": {418, "go away"}, "strange": {500, "not a refusal"},
		"refused": {403, "Forbidden"}, "teapot": {402, "pay first"}, "bad group": {400, "a group name is not valid"},
	} {
		status, body := rawHandshake(t, h, cookie)
		assert.Equal(t, want.status, status, cookie)
		assert.Equal(t, want.body, strings.TrimSpace(body), cookie)
	}
	d := devicetest.Connect(t, devicetest.Options{
		URL: h.wsURL("/client/hubs/default"), Subprotocol: devicetest.JSON, Header: http.Header{"Cookie": {"session=alias"}},
	})
	assert.Equal(t, u, d.Connected.UserID)
	w.realtime(t, u, 7)
	assert.JSONEq(t, `7`, string(d.Message(t).Data))
}
