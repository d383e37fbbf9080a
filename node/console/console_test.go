package console_test

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/node/console"
)

func TestPaths(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{Path: "/ops/gateway/"})
	s.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, _ := s.do(t, "/ops/gateway", "", "")
	assert.Equal(t, http.StatusSeeOther, res.StatusCode)
	assert.Equal(t, "gateway/", res.Header.Get("Location"))
	for path, status := range map[string]int{
		"":                http.StatusOK,
		"style.css":       http.StatusOK,
		"index.html":      http.StatusNotFound, // only behind the token, at ""
		"nothing":         http.StatusNotFound,
		"../":             http.StatusNotFound,
		"api/":            http.StatusNotFound,
		"api/overview/":   http.StatusNotFound,
		"assets/app.js":   http.StatusNotFound,
		"%2e%2e/app.js":   http.StatusNotFound,
		"login":           http.StatusMethodNotAllowed,
		"api/send":        http.StatusMethodNotAllowed,
		"api/connections": http.StatusUnauthorized,
	} {
		res, _ := s.do(t, "/ops/gateway/"+path, "", "")
		assert.Equal(t, status, res.StatusCode, path)
	}
	res, _ = s.do(t, "/ops/gateway/api/overview", "application/json", "{}")
	assert.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
	assert.Equal(t, "GET", res.Header.Get("Allow"))
	for path, serves := range map[string]bool{"/ops/gateway": true, "/ops/gateway/x": true, "/ops/gatewayx": false, "/x/ops/gateway/": false} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		require.NoError(t, err)
		assert.Equal(t, serves, s.Serves(r), path)
	}
}

func TestAssetsAreKeptUntilTheyChange(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	res, body := s.do(t, "/console/app.js", "", "")
	assert.Contains(t, res.Header.Get("Content-Type"), "text/javascript")
	assert.NotEmpty(t, body)
	res, body = s.do(t, "/console/app.js", "", "", "If-None-Match", res.Header.Get("Etag"))
	assert.Equal(t, http.StatusNotModified, res.StatusCode)
	assert.Empty(t, body)
}

type overview struct {
	ID          string
	Connections int
	Nodes       *int
	Problem     string
	DefaultHub  string
	Hubs        []struct {
		Name        string
		Connections int
		Everywhere  *int
	}
}

// However many pages are open, other nodes are asked once in a while.
func TestOverviewAsksTheClusterOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			o := get[overview](t, s, "/console/api/overview")
			assert.Equal(t, "n1", o.ID)
			if assert.NotNil(t, o.Nodes) {
				assert.Equal(t, 3, *o.Nodes)
			}
			assert.Equal(t, 42, *o.Hubs[0].Everywhere)
			assert.Equal(t, "default", o.DefaultHub)
		})
	}
	wg.Wait()
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	assert.Less(t, s.source.nodesCalls, 8)
}

// What other nodes do not say is not made up, and the rest is shown.
func TestOverviewWithoutTheCluster(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	s.source.nodesErr = errors.New("the bus is away")
	o := get[overview](t, s, "/console/api/overview")
	assert.Equal(t, 7, o.Connections)
	assert.Nil(t, o.Hubs[0].Everywhere)
	assert.Contains(t, o.Problem, "the bus is away")
}

func TestPagesAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	type users struct {
		Items []struct{ ID string }
		Next  string
	}
	first := get[users](t, s, "/console/api/users")
	assert.Len(t, first.Items, 50)
	assert.Equal(t, first.Items[49].ID, first.Next)
	second := get[users](t, s, "/console/api/users?limit=3&after=z")
	assert.Len(t, second.Items, 3)
	assert.Equal(t, "zx", second.Items[0].ID)
	for _, query := range []string{"limit=0", "limit=-1", "limit=201", "limit=x", "limit=99999999999999999999", "hub=1x", "hub=%00", "hub=a:b"} {
		res, body := s.do(t, "/console/api/users?"+query, "", "", "Authorization", "Bearer "+token)
		assert.Equal(t, http.StatusBadRequest, res.StatusCode, "%s: %s", query, body)
	}
}

// Requests that wait do not pile up.
func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	s.source.block, s.source.entered = make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { get[map[string]any](t, s, "/console/api/users") })
	}
	for range 16 {
		<-s.source.entered
	}
	res, _ := s.do(t, "/console/api/overview", "", "", "Authorization", "Bearer "+token)
	assert.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	close(s.source.block)
	wg.Wait()
	get[overview](t, s, "/console/api/overview")
}

func TestSendsThatAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, console.Options{})
	for name, order := range map[string]map[string]any{
		"no kind":          {"user": "u", "payload": "1"},
		"an unknown kind":  {"kind": "all", "user": "u", "payload": "1"},
		"no user":          {"kind": "reliable", "payload": "1"},
		"no payload":       {"kind": "reliable", "user": "u"},
		"bad JSON":         {"kind": "realtime", "user": "u", "payload": "{"},
		"no command type":  {"kind": "command", "user": "u", "payload": "1", "timeoutSeconds": 1},
		"no timeout":       {"kind": "command", "user": "u", "payload": "1", "type": "x"},
		"a long timeout":   {"kind": "command", "user": "u", "payload": "1", "type": "x", "timeoutSeconds": 601},
		"a timeout beyond": {"kind": "command", "user": "u", "payload": "1", "type": "x", "timeoutSeconds": 1 << 60},
	} {
		status, answer := s.post(t, "/console/api/send", order)
		assert.Equal(t, http.StatusBadRequest, status, name)
		assert.NotEmpty(t, answer["error"], name)
		assert.NotContains(t, answer, "id", name)
	}
	status, _ := s.post(t, "/console/api/send", map[string]any{"kind": "reliable", "user": "u", "payload": strings.Repeat("1", 70_000)})
	assert.Equal(t, http.StatusRequestEntityTooLarge, status)
	res, _ := s.do(t, "/console/api/message?id=nothing", "", "", "Authorization", "Bearer "+token)
	assert.Equal(t, http.StatusNotFound, res.StatusCode)
}
