package rest_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/message-gateway/gateway/internal/odata"
	"github.com/message-gateway/gateway/rest"
)

// FuzzTarget: whatever the target is, nothing panics, the status is one of the
// contract, and what reaches a hub are valid names.
func FuzzTarget(f *testing.F) {
	for _, op := range operations {
		f.Add(op.method, hubPath+op.path)
	}
	for _, seed := range []string{
		example, "/api/health", "/sub/api/hubs/chat/%3Asend", "/api/hubs/chat/users/u%2F1%20%C3%A4/:send", "/api/hubs/%zz/:send", "//api//hubs//chat", "/api/api/hubs/api/hubs/chat/:send",
		"/api/hubs/chat/users/%00/:send?api-version=2024-12-01&api-version=1", "/api/hubs/chat/users/%FF", "*", "/api/hubs/chat/users/..%2f..", "/api/hubs/chat/:send?a;b&%&=&&filter=%27",
	} {
		f.Add("POST", seed)
	}
	h, hub := newFake(f, rest.Options{})
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return // net/http refuses it
		}
		r := &http.Request{Method: method, URL: u, RequestURI: target, Host: host, Header: http.Header{}, Body: http.NoBody}
		unsigned := serve(h, r)
		if u.Path != "" && unsigned.Code < 400 && !strings.HasSuffix(strings.ToLower(u.Path), "/api/health") {
			t.Fatalf("%s %q without token: %d", method, target, unsigned.Code)
		}
		r.Header.Set("Authorization", "Bearer "+tokenFor(base+strings.TrimSuffix(target, "#")))
		hub.take()
		w := serve(h, r)
		if !slices.Contains([]int{200, 202, 204, 400, 401, 404, 405, 414, 415, 501}, w.Code) {
			t.Fatalf("%s %q: %d", method, target, w.Code)
		}
		if w.Code == 401 && unsigned.Code == 401 && !strings.Contains(target, "?") && !strings.ContainsAny(target, "#") && !strings.HasSuffix(u.Path, "/") {
			t.Fatalf("%q does not fit its own token", target)
		}
		for _, call := range hub.take() {
			if !utf8.ValidString(call) {
				t.Fatalf("%q reached the hub as %q", target, call)
			}
		}
		if w.Code >= 400 && w.Code != 401 && w.Header().Get("x-ms-error-code") == "" && method != http.MethodHead {
			t.Fatalf("%s %q: %d without code", method, target, w.Code)
		}
	})
}

// FuzzAuthorization: nothing but a good token is let in.
func FuzzAuthorization(f *testing.F) {
	good := tokenFor(base + example)
	for _, seed := range []string{
		"", "Bearer", "Bearer ", "Bearer " + good, "bearer  " + good, "Basic " + good, good, "Bearer ..", "Bearer a.b.c", "Bearer " + good + ".x", "Bearer " + good[:len(good)-1],
		"Bearer eyJhbGciOiJub25lIn0.e30.", "Bearer \x00", "Bearer eyJhbGciOiJIUzI1NiJ9.bnVsbA.x",
	} {
		f.Add(seed)
	}
	h, _ := newFake(f, rest.Options{})
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, example, nil)
		r.Host = host
		r.Header.Set("Authorization", value)
		w := serve(h, r)
		fields := strings.Fields(value)
		ok := len(fields) == 2 && strings.EqualFold(fields[0], "Bearer") && fields[1] == good
		switch {
		case w.Code == http.StatusUnauthorized && w.Body.Len() == 0:
			if ok && strings.HasPrefix(strings.ToLower(value), "bearer "+good) {
				t.Fatalf("refused %q", value)
			}
		case w.Code != http.StatusAccepted || !ok:
			t.Fatalf("%q: %d", value, w.Code)
		}
	})
}

// FuzzFilter: a filter is understood before anything is done, or refused with
// 400; what reaches a hub is the filter that was sent.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		"userId eq 'o''x'", "not (length(userId) gt 5) and 'g1' in groups or userId in ('a',null,1)", "userId in ()", "((", "'", "a;b&c=d#e?f+g%zz", "\x00", "\xff",
		strings.Repeat("(", 200), strings.Repeat("true and ", 200) + "true",
	} {
		f.Add(seed)
	}
	h, hub := newFake(f, rest.Options{})
	f.Fuzz(func(t *testing.T, filter string) {
		target := hubPath + "/:send?filter=" + url.QueryEscape(filter)
		hub.take()
		w := do(h, http.MethodPost, target, "not read before the filter is")
		calls := hub.take()
		_, err := odata.Parse(filter, odata.DefaultLimits())
		switch {
		case err == nil && (w.Code != http.StatusAccepted || len(calls) != 2):
			t.Fatalf("%q: %d %q", filter, w.Code, calls)
		case err != nil && (w.Code != http.StatusBadRequest || len(calls) > 1 || w.Header().Get("x-ms-error-code") != "Error.BadRequest"):
			t.Fatalf("%q: %d %q", filter, w.Code, calls)
		}
		if !json.Valid(w.Body.Bytes()) && w.Body.Len() > 0 {
			t.Fatalf("%q: %q", filter, w.Body)
		}
		// The same in a body.
		raw, err := json.Marshal(map[string]any{"groups": []string{"g"}, "filter": filter})
		if err != nil || !utf8.ValidString(filter) {
			return
		}
		in := do(h, http.MethodPost, hubPath+"/:addToGroups", string(raw), "Content-Type", "application/json")
		if (in.Code == http.StatusOK) != (w.Code == http.StatusAccepted) {
			t.Fatalf("%q: %d in the body, %d in the query", filter, in.Code, w.Code)
		}
		hub.take()
	})
}
