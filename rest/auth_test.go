package rest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/rest"
)

// The example of section 2.2: what an official client signed.
const example = hubPath + "/:send?api-version=2024-12-01&excluded=a&excluded=b%2Cc&filter=userId%20eq%20%27o%27%27x%27"

func TestAudiences(t *testing.T) {
	t.Parallel()
	h, _ := newFake(t, rest.Options{Endpoints: []string{"https://public.test", "http://other.test:8080/Pre%20fix/", "https://port.test:443"}})
	path, query, _ := strings.Cut(example, "?")
	user := hubPath + "/users/u%2F1%20%C3%A4/:send"
	for _, c := range []struct {
		name, target, audience string
		accepted               bool
	}{
		{"full URL", example, base + example, true},
		{"without query", example, base + path, true},
		{"slash, no query", example, base + path + "/", true},
		{"slash before the query", example, base + path + "/?" + query, true},
		{"empty query", example, base + path + "?", true},
		{"case", example, "HTTP://GATEWAY.test" + strings.ToUpper(path), true},
		{"case with query", example, strings.ToUpper(base + example), true},
		{"decoded query", example, base + path + "?api-version=2024-12-01&excluded=a&excluded=b,c&filter=userId eq 'o''x'", true},
		{"order of the query", example, base + path + "?filter=userId+eq+%27o%27%27x%27&excluded=a&excluded=b%2cc&api-version=2024-12-01", true},
		{"another query", example, base + path + "?api-version=2024-12-01", false},
		{"another filter", example, base + strings.Replace(example, "userId", "connectionId", 1), false},
		{"another excluded", example, base + strings.Replace(example, "excluded=a", "excluded=z", 1), false},
		{"a query where there is none", path, base + example, false},

		{"https on an http hop", example, "https://" + host + example, true},
		{"default port", example, "http://" + host + ":80" + path, true},
		{"default port of https", example, "https://" + host + ":443" + path, true},
		{"another port", example, "http://" + host + ":8080" + path, false},
		{"port of the other scheme", example, "http://" + host + ":443" + path, false},
		{"endpoint", example, "https://public.test" + example, true},
		{"endpoint in http", example, "http://PUBLIC.test" + path, true},
		{"endpoint with default port", example, "https://port.test" + path, true},
		{"endpoint with prefix", example, "http://other.test:8080/Pre%20fix" + example, true},
		{"endpoint with prefix, decoded", example, "https://other.test:8080/pre fix" + path, true},
		{"endpoint without its prefix", example, "http://other.test:8080" + path, false},
		{"prefix of the request", "/sub" + example, base + "/sub" + example, true},
		{"prefix of the request missing", "/sub" + example, base + example, false},
		{"prefix that the request has not", example, base + "/sub" + example, false},
		{"prefix added by a proxy", "/sub" + example, "https://public.test" + example, true},
		{"another host", example, "http://other.test" + path, false},
		{"host in userinfo", example, "http://" + host + "@evil.test" + path, false},
		{"ws", example, "ws://" + host + path, false},
		{"no scheme", example, host + path, false},
		{"path only", example, path, false},
		{"no path", example, base, false},
		{"empty", example, "", false},
		{"client URL", example, base + "/client/hubs/chat", false},
		{"Entra", example, "https://webpubsub.azure.com", false},
		{"another hub", example, base + strings.Replace(path, "chat", "chat2", 1), false},
		{"another operation", example, base + hubPath + "/:closeConnections", false},
		{"parent", example, base + hubPath, false},
		{"child", example, base + path + "/x", false},
		{"fragment", example, base + path + "#", false},

		{"raw encoded id", user, base + user, true},
		{"escapes in lower case", user, base + strings.ToLower(user), true},
		{"decoded but for the slash", user, base + hubPath + "/users/u%2F1 ä/:send", true},
		{"escaped verb", strings.Replace(user, ":send", "%3Asend", 1), base + user, true},
		{"slash instead of its escape", user, base + hubPath + "/users/u/1%20%C3%A4/:send", false},
		{"bad escape", user, base + hubPath + "/users/u%2/:send", false},
		{"double encoded", hubPath + "/users/a%252Fb/:send", base + hubPath + "/users/a%252Fb/:send", true},
		{"wire form of another id", hubPath + "/users/a%252Fb/:send", base + hubPath + "/users/a%2Fb/:send", false},
		{"too much encoded", hubPath + "/users/a%2Fb/:send", base + hubPath + "/users/a%252Fb/:send", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRequest("POST", c.target, "")
			r.Header.Set("Authorization", "Bearer "+tokenFor(c.audience))
			w := serve(h, r)
			if c.accepted {
				assert.Equal(t, http.StatusAccepted, w.Code)
				return
			}
			assert.Equal(t, http.StatusUnauthorized, w.Code)
			assert.Empty(t, w.Body.String())
		})
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	audience := base + example
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	hs256 := func(key string, claims map[string]any) string { return sign(key, jwt.SigningMethodHS256, claims) }
	good := tokenFor(audience)
	parts := strings.Split(good, ".")
	unsigned, err := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"aud": audience, "exp": in(time.Minute)}).SignedString(jwt.UnsafeAllowNoneSignatureType)
	require.NoError(t, err)
	access, err := openClient(t).Hub("chat").ClientAccessToken(t.Context(), "u", gateway.WithEndpoint(base))
	require.NoError(t, err)
	for _, c := range []struct {
		name     string
		header   []string
		accepted bool
	}{
		{"good", []string{"Bearer " + good}, true},
		{"scheme in any case", []string{"bEARER   " + good + " "}, true},
		{"secondary key", []string{"Bearer " + hs256(secondaryKey, map[string]any{"aud": audience, "exp": in(time.Minute)})}, true},
		{"audience in a list", []string{"Bearer " + hs256(accessKey, map[string]any{"aud": []string{"x", audience}, "exp": in(time.Minute)})}, true},
		{"python's name claim", []string{"Bearer " + hs256(accessKey, map[string]any{"aud": audience, "exp": in(time.Minute), "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name": "u"})}, true},
		{"expired within the leeway", []string{"Bearer " + hs256(accessKey, map[string]any{"aud": audience, "exp": in(-4 * time.Minute)})}, true},
		{"not yet, within the leeway", []string{"Bearer " + hs256(accessKey, map[string]any{"aud": audience, "exp": in(time.Hour), "nbf": in(4 * time.Minute)})}, true},
		{"expired", []string{"Bearer " + hs256(accessKey, map[string]any{"aud": audience, "exp": in(-6 * time.Minute)})}, false},
		{"not yet", []string{"Bearer " + hs256(accessKey, map[string]any{"aud": audience, "exp": in(time.Hour), "nbf": in(6 * time.Minute)})}, false},
		{"without exp", []string{"Bearer " + hs256(accessKey, map[string]any{"aud": audience})}, false},
		{"exp is text", []string{"Bearer " + hs256(accessKey, map[string]any{"aud": audience, "exp": "tomorrow"})}, false},
		{"without aud", []string{"Bearer " + hs256(accessKey, map[string]any{"exp": in(time.Minute)})}, false},
		{"aud is a number", []string{"Bearer " + hs256(accessKey, map[string]any{"aud": 1, "exp": in(time.Minute)})}, false},
		{"another key", []string{"Bearer " + hs256(strings.ToUpper(accessKey), map[string]any{"aud": audience, "exp": in(time.Minute)})}, false},
		{"HS384", []string{"Bearer " + sign(accessKey, jwt.SigningMethodHS384, map[string]any{"aud": audience, "exp": in(time.Minute)})}, false},
		{"HS512", []string{"Bearer " + sign(accessKey, jwt.SigningMethodHS512, map[string]any{"aud": audience, "exp": in(time.Minute)})}, false},
		{"unsigned", []string{"Bearer " + unsigned}, false},
		{"signature removed", []string{"Bearer " + parts[0] + "." + parts[1] + "."}, false},
		{"two parts", []string{"Bearer " + parts[0] + "." + parts[1]}, false},
		{"a client's token", []string{"Bearer " + access.Token}, false},
		{"no header", nil, false},
		{"empty", []string{""}, false},
		{"scheme only", []string{"Bearer"}, false},
		{"no scheme", []string{good}, false},
		{"basic", []string{"Basic " + good}, false},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, false},
		{"huge", []string{"Bearer " + strings.Repeat("a", 1<<20)}, false},
		{"dots", []string{"Bearer " + strings.Repeat(".", 1<<15)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			hub.take()
			r := newRequest("POST", example, "not read")
			for _, value := range c.header {
				r.Header.Add("Authorization", value)
			}
			w := serve(h, r)
			if c.accepted {
				assert.Equal(t, http.StatusAccepted, w.Code)
				return
			}
			assert.Equal(t, http.StatusUnauthorized, w.Code)
			assert.Empty(t, w.Body.String())
			assert.Equal(t, "Bearer", w.Header().Get("WWW-Authenticate"))
			assert.NotEmpty(t, w.Header().Get("api-supported-versions"))
			assert.Empty(t, hub.take())
		})
	}
	// A token in the query is for WebSocket clients only.
	r := newRequest("POST", hubPath+"/:send?access_token="+tokenFor(base+hubPath+"/:send"), "")
	assert.Equal(t, http.StatusUnauthorized, serve(h, r).Code)
}

// TestOrderOfChecks pairs each mistake with one that is found later.
func TestOrderOfChecks(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{MaxBody: 4})
	for _, c := range []struct {
		name, method, target, contentType, body string
		token                                   bool
		status                                  int
	}{
		{"route before version", "POST", "/api/nothing?api-version=x", "", "", false, 404},
		{"method before version", "PATCH", hubPath + "/:send?api-version=x", "", "", false, 405},
		{"name before token", "POST", "/api/hubs/1/:send", "", "", false, 400},
		{"version before token", "POST", hubPath + "/:send?api-version=x", "", "", false, 400},
		{"token before query", "POST", hubPath + "/:send?filter=x", "", "", false, 401},
		{"token before escapes", "POST", hubPath + "/:send?filter=%zz", "", "", false, 401},
		{"token before content type", "POST", hubPath + "/:send", "image/png", "", false, 401},
		{"token before size", "POST", hubPath + "/:send", "", "too large", false, 401},
		{"filter before content type", "POST", hubPath + "/:send?filter=x", "image/png", "", true, 400},
		{"filter before size", "POST", hubPath + "/:send?filter=x", "", "too large", true, 400},
		{"ttl before size", "POST", hubPath + "/:send?messageTtlSeconds=301", "", "too large", true, 400},
		{"content type before size", "POST", hubPath + "/:send", "image/png", "too large", true, 415},
		{"size before JSON", "POST", hubPath + "/:send", "application/json", "{{{{{{", true, 413},
	} {
		r := newRequest(c.method, c.target, c.body)
		if c.contentType != "" {
			r.Header.Set("Content-Type", c.contentType)
		}
		if c.token {
			r.Header.Set("Authorization", "Bearer "+tokenFor(base+c.target))
		}
		assert.Equal(t, c.status, serve(h, r).Code, c.name)
		assert.NotContains(t, hub.take(), "send")
	}
}
