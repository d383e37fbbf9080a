package rest_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/rest"
)

// samePath reports whether a target fits a pattern with parts in braces.
func samePath(pattern, target string) bool {
	path, _, _ := strings.Cut(target, "?")
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		if !strings.HasPrefix(want[i], "{") && !strings.EqualFold(want[i], got[i]) {
			return false
		}
	}
	return true
}

func TestExoticIDs(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	hub.found = true
	for _, id := range []string{
		"a/b", "ä", "a,b", "a+b", "%", "u/1 ä", "%2F", "a%2Fb", "..", ".", "//", ":send", "a?b#c", "a;b", `a"b`, "a\\b", "a\x00b", "\n", "'", "日本語", "api/hubs/x", "groups", strings.Repeat("ä", 1024),
	} {
		for encoding, escaped := range map[string]string{
			"path": url.PathEscape(id), "every byte": escapeAll(id), "lower case": strings.ToLower(escapeAll(id)),
		} {
			for target, want := range map[string]string{
				"/users/" + escaped: "user " + id + " exists",
				"/groups/" + escaped + "?api-version=2024-12-01":      "group " + id + " exists",
				"/connections/" + escaped:                             "connection " + id + " exists",
				"/groups/" + escaped + "/connections/" + escaped:      "add connection " + id + " to " + id,
				"/users/" + escaped + "/groups/" + escaped:            "add user " + id + " to " + id,
				"/permissions/sendToGroup/connections/" + escaped:     `check sendToGroup ` + id + ` ""`,
				"/users/" + escaped + "/:send?filter=userId%20ne%201": "send user " + id + " gateway.Binary  1 options",
			} {
				if strings.TrimSpace(id) == "" && strings.Contains(target, "/groups/") {
					continue // no valid group
				}
				method := map[byte]string{'a': "PUT", 's': "POST"}[want[0]]
				if method == "" {
					method = "HEAD"
				}
				w := do(h, method, hubPath+target, "")
				calls := hub.take()
				if assert.Less(t, w.Code, 300, "%s %s: %s", encoding, target, w.Body) {
					assert.Equal(t, want, calls[len(calls)-1], encoding)
				}
			}
		}
	}
}

// escapeAll escapes every byte, as no client does.
func escapeAll(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		b.WriteString("%" + string(hex[s[i]>>4]) + string(hex[s[i]&15]))
	}
	return b.String()
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	hub.found = true
	for _, c := range []struct {
		method, target string
		status         int
	}{
		// Prefixes, case, escapes of what is literal.
		{"POST", "/sub/api/hubs/chat/:send", 202},
		{"POST", "/api/v1/api/hubs/chat/:send", 202},
		{"POST", "/a//b/../api/hubs/chat/:send", 202},
		{"POST", "/API/HUBS/CHAT/:SEND", 202},
		{"POST", "/api/hubs/chat/%3Asend", 202},
		{"POST", "/api/hubs/chat/%3asend", 202},
		{"POST", "/api/hubs/ch%61t/:send", 202},
		{"HEAD", "/api/hubs/chat/Users/u", 200},
		{"POST", "/api/hubs/a_%60%2C.%5B1%5D/:send", 202},
		// Not there: nothing is cleaned, and no empty part is a value.
		{"POST", "/hubs/chat/:send", 404},
		{"POST", "/api/hubs//:send", 404},
		{"POST", "//api//hubs/chat/:send", 404},
		{"POST", "/api/hubs/chat/users//:send", 404},
		{"POST", "/api/hubs/chat/:send/", 404},
		{"DELETE", "/api/hubs/chat/users/u/groups/", 404},
		{"POST", "/api/hubs/chat/users/a/b/:send", 404},
		{"POST", "/api/hubs/chat/users/u/../:send", 404},
		{"POST", "/api/hubs/chat/:unknown", 404},
		{"POST", "/api/hubs/chat", 404},
		{"POST", "/", 404},
		{"POST", "/api/" + strings.Repeat("/api", 5000), 404},
		{"POST", "/api" + strings.Repeat("/a", 30000), 404},
		{"POST", "/api/" + strings.Repeat("a", 70000), 414},
		// Wrong methods.
		{"GET", "/api/hubs/chat/:send", 405},
		{"get", "/api/hubs/chat/groups/g/connections", 405},
		{"OPTIONS", "/api/hubs/chat/users/u/:send", 405},
		{"POST", "/api/hubs/chat/users/u", 405},
		// Names.
		{"POST", "/api/hubs/1chat/:send", 400},
		{"POST", "/api/hubs/ch%20at/:send", 400},
		{"POST", "/api/hubs/" + strings.Repeat("a", 129) + "/:send", 400},
		{"HEAD", "/api/hubs/chat/groups/%20", 400},
		{"HEAD", "/api/hubs/chat/groups/" + strings.Repeat("g", 1025), 400},
		{"HEAD", "/api/hubs/chat/users/%FF", 400},
		{"HEAD", "/api/hubs/chat/connections/%C3", 400},
		{"PUT", "/api/hubs/chat/permissions/other/connections/c", 400},
		{"PUT", "/api/hubs/chat/permissions/1/connections/c", 400},
		// Versions.
		{"POST", "/api/hubs/chat/:send?api-version=2021-10-01", 202},
		{"POST", "/api/hubs/chat/:send?api-version=2022-11-01", 202},
		{"POST", "/api/hubs/chat/:send?api-version=2023-07-01", 202},
		{"POST", "/api/hubs/chat/:send?API-Version=2024-01-01", 202},
		{"POST", "/api/hubs/chat/:send?api%2Dversion=2024-12-01", 202},
		{"POST", "/api/hubs/chat/:send?api-version=2099-01-01", 400},
		{"POST", "/api/hubs/chat/:send?api-version=", 400},
		{"POST", "/api/hubs/chat/:send?api-version", 400},
		{"POST", "/api/hubs/chat/:send?api-version=%zz", 400},
		{"POST", "/api/hubs/chat/:send?api-version=2024-12-01&api-version=2024-12-01", 400},
		{"HEAD", "/api/health?api-version=2020-01-01", 400},
	} {
		w := do(h, c.method, c.target, "")
		calls := hub.take()
		if !assert.Equal(t, c.status, w.Code, "%s %.80s: %s", c.method, c.target, w.Body) {
			continue
		}
		assert.Empty(t, w.Header().Get("Location"))
		switch {
		case c.status >= 400 && c.method != "HEAD":
			wantError(t, w, c.status, map[int]string{
				400: "Error.BadRequest", 404: "Error.NotFound", 405: "Error.MethodNotAllowed", 414: "Error.UriTooLong",
			}[c.status])
			assert.Empty(t, calls)
		case c.status >= 400:
			assert.Equal(t, "Error.BadRequest", w.Header().Get("x-ms-error-code"))
		}
	}
	w := do(h, "PATCH", hubPath+"/permissions/sendToGroup/connections/c", "")
	assert.Equal(t, "PUT, HEAD, DELETE", w.Header().Get("Allow"))
}

// TestMounts goes through what stands in front of a handler.
func TestMounts(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	hub.found = true
	stripped := http.StripPrefix("/sub", h)
	target := "/sub" + hubPath + "/users/a%2Fb%20ä"
	for _, audience := range []string{base + target, base + hubPath + "/users/a%2Fb%20ä"} {
		r := newRequest("HEAD", target, "")
		r.Header.Set("Authorization", "Bearer "+tokenFor(audience))
		assert.Equal(t, http.StatusOK, serve(stripped, r).Code, audience)
	}
	// The absolute form, as proxies send it.
	r := newRequest("HEAD", base+hubPath+"/users/u", "")
	r.Header.Set("Authorization", "Bearer "+tokenFor(base+hubPath+"/users/u"))
	assert.Equal(t, http.StatusOK, serve(h, r).Code)
}

func TestServes(t *testing.T) {
	t.Parallel()
	h := newHandler(t, rest.Options{})
	for target, want := range map[string]bool{
		"/api/hubs/chat/:send": true, "/sub/api/hubs/x": true, "/API/Hubs/x": true, "/api/health": true, "/sub/API/health": true,
		"/api/hubs/chat//..//x": true,
		"/client/hubs/chat":     false, "/api/healthy": false, "/api/health/x": false, "/api": false, "/api/": false, "/": false, "/api/hubs": false,
	} {
		assert.Equal(t, want, h.Serves(newRequest("GET", target, "")), target)
	}
}

// TestOverTheWire sees what net/http makes of targets.
func TestOverTheWire(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	hub.found = true
	server := httptest.NewServer(h)
	defer server.Close()
	target := hubPath + "/users/..%2F%2E%2E//x"
	for target, status := range map[string]int{
		target: 404, hubPath + "/users/%2E%2E%2Fa%3F": 200, hubPath + "/users/a'b": 200,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodHead, server.URL+target, nil)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+tokenFor(server.URL+target))
		response, err := server.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, status, response.StatusCode, target)
	}
}
