package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node/console"
)

func TestOptionsThatAreRefused(t *testing.T) {
	t.Parallel()
	client, err := gateway.New(t.Context(), gateway.Embedded(""))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	long := strings.Repeat("x", console.MinToken)
	for name, opts := range map[string]console.Options{
		"no token":          {},
		"a short token":     {Token: long[1:]},
		"no first slash":    {Token: long, Path: "console/"},
		"no last slash":     {Token: long, Path: "/console"},
		"everything":        {Token: long, Path: "/"},
		"nothing between":   {Token: long, Path: "//"},
		"negative lifetime": {Token: long, SessionLifetime: -time.Second},
	} {
		_, err := console.New(client, &source{}, opts)
		require.ErrorIs(t, err, console.ErrInvalidOptions, name)
		assert.NotContains(t, err.Error(), long[1:], name)
	}
	_, err = console.New(nil, &source{}, console.Options{Token: long})
	require.Error(t, err)
	_, err = console.New(client, nil, console.Options{Token: long})
	require.Error(t, err)
	assert.NotContains(t, fmt.Sprintf("%v %+v %s", console.Options{Token: long}, &console.Options{Token: long}, console.Options{Token: long}), long)
}

// Whoever has neither token nor session sees the login form and nothing else.
func TestNothingWithoutToken(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	for _, path := range []string{"overview?x=1", "connections?x=1", "users?x=1", "groups?x=1", "group?group=g", "messages?user=u", "message?id=1"} {
		for name, header := range map[string][]string{
			"nothing":          nil,
			"a wrong token":    {"Authorization", "Bearer " + token + "x"},
			"another scheme":   {"Authorization", "Basic " + token},
			"an empty token":   {"Authorization", "Bearer "},
			"an empty session": {"Cookie", "gateway_console="},
			"a session":        {"Cookie", "gateway_console=99999999999.AAAA"},
			"the token itself": {"Cookie", "gateway_console=" + url.QueryEscape(token)},
		} {
			res, body := s.do(t, "/console/api/"+path, "", "", header...)
			assert.Equal(t, http.StatusUnauthorized, res.StatusCode, "%s with %s", path, name)
			assert.NotContains(t, body, "n1")
		}
		res, _ := s.do(t, "/console/api/"+path+"&token="+url.QueryEscape(token), "", "")
		assert.Equal(t, http.StatusUnauthorized, res.StatusCode, "a token in the URL of %s", path)
	}
	res, body := s.do(t, "/console/api/send", "application/json", `{"kind":"reliable","user":"u","payload":"1"}`)
	assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
	assert.NotContains(t, body, "id")
	res, body = s.do(t, "/console/", "", "")
	assert.Equal(t, http.StatusOK, res.StatusCode)
	assert.Contains(t, body, `type="password"`)
	assert.NotContains(t, body, "app.js")
}

func TestLogin(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	for _, wrong := range []string{"", "x", token[1:], token + " ", strings.ToUpper(token), strings.Repeat("x", 100_000)} {
		res, body := s.login(t, wrong)
		assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
		assert.Contains(t, body, "not the token")
		assert.Empty(t, res.Cookies())
	}
	// The token counts in the body only.
	res, _ := s.do(t, "/console/login?token="+url.QueryEscape(token), "application/x-www-form-urlencoded", "")
	assert.Equal(t, http.StatusUnauthorized, res.StatusCode)

	follow := s.client.CheckRedirect
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, _ = s.login(t, token)
	s.client.CheckRedirect = follow
	require.Equal(t, http.StatusSeeOther, res.StatusCode)
	assert.Equal(t, "./", res.Header.Get("Location"))
	require.Len(t, res.Cookies(), 1)
	cookie := res.Cookies()[0]
	assert.True(t, cookie.HttpOnly)
	assert.Equal(t, http.SameSiteStrictMode, cookie.SameSite)
	assert.False(t, cookie.Secure, "it came over plain HTTP")
	assert.NotContains(t, cookie.Value, token)
	assert.WithinDuration(t, time.Now().Add(12*time.Hour), cookie.Expires, time.Minute)

	_, body := s.do(t, "/console/", "", "")
	assert.Contains(t, body, "app.js", "the cookie opens the console")
	res, _ = s.do(t, "/console/api/overview", "", "")
	assert.Equal(t, http.StatusOK, res.StatusCode)

	_, body = s.do(t, "/console/logout", "application/x-www-form-urlencoded", "")
	assert.Contains(t, body, `type="password"`)
	res, _ = s.do(t, "/console/api/overview", "", "")
	assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
	assert.NotContains(t, s.log.String(), token)
	assert.Contains(t, s.log.String(), "wrong token for the console")
}

func TestCookieIsSecureBehindTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, _ := s.do(t, "/console/login", "application/x-www-form-urlencoded", url.Values{"token": {token}}.Encode(), "X-Forwarded-Proto", "https")
	require.Len(t, res.Cookies(), 1)
	assert.True(t, res.Cookies()[0].Secure)
}

func TestSessionEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{SessionLifetime: time.Nanosecond})
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, _ := s.login(t, token)
	require.Len(t, res.Cookies(), 1)
	res, _ = s.do(t, "/console/api/overview", "", "", "Cookie", res.Cookies()[0].Name+"="+res.Cookies()[0].Value)
	assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
}

// A session of another token, or with a later end, is none.
func TestSessionsCannotBeMade(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	s.client.Jar = nil
	res, _ := s.login(t, token)
	value := res.Cookies()[0].Value
	res, _ = s.do(t, "/console/api/overview", "", "", "Cookie", "gateway_console="+value)
	require.Equal(t, http.StatusOK, res.StatusCode)
	end, mac, _ := strings.Cut(value, ".")
	for _, forged := range []string{"9" + end + "." + mac, end + ".", end, "." + mac, end + "." + mac[:len(mac)-1], value + "."} {
		res, _ = s.do(t, "/console/api/overview", "", "", "Cookie", "gateway_console="+forged)
		assert.Equal(t, http.StatusUnauthorized, res.StatusCode, forged)
	}
}

// Other sites can neither frame the console, nor send with its cookie.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	for _, path := range []string{"/console/", "/console/app.js", "/console/api/overview", "/console/nothing", "/console"} {
		res, body := s.do(t, path, "", "")
		policy := res.Header.Get("Content-Security-Policy")
		assert.Contains(t, policy, "default-src 'none'")
		assert.Contains(t, policy, "frame-ancestors 'none'")
		assert.NotContains(t, policy, "unsafe")
		assert.Equal(t, "DENY", res.Header.Get("X-Frame-Options"))
		assert.Equal(t, "nosniff", res.Header.Get("X-Content-Type-Options"))
		assert.Equal(t, "no-referrer", res.Header.Get("Referrer-Policy"))
		assert.Empty(t, res.Header.Get("Access-Control-Allow-Origin"))
		assert.NotContains(t, body, "<script>")
	}
	_, _ = s.login(t, token)
	for name, header := range map[string][]string{
		"cross-site": {"Sec-Fetch-Site", "cross-site"},
		"same-site":  {"Sec-Fetch-Site", "same-site"},
		"old":        {"Origin", "https://evil.example"},
	} {
		for _, path := range []string{"/console/api/send", "/console/login", "/console/logout"} {
			res, _ := s.do(t, path, "text/plain", `{"kind":"reliable","user":"u","payload":"1"}`, header...)
			assert.Equal(t, http.StatusForbidden, res.StatusCode, "%s %s", name, path)
		}
	}
	res, body := s.do(t, "/console/api/send", "application/json", `{"kind":"reliable","user":"u","payload":"1"}`, "Sec-Fetch-Site", "same-origin")
	assert.Equal(t, http.StatusOK, res.StatusCode, body)
}
