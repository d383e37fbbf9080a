package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/node/console"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "the token of the console's tests, 0123456789"

// source is a node that is not there.
type source struct {
	console.Source // the tests call nothing else
	mu             sync.Mutex
	nodesCalls     int
	nodesErr       error
	block          chan struct{} // Users waits for it, if there
	entered        chan struct{} // Users says that it waits
}

func (s *source) Node() console.Node { return console.Node{ID: "n1", Connections: 7} }

func (s *source) Nodes(context.Context) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodesCalls++
	return 3, s.nodesErr
}

func (s *source) Count(context.Context, string, string) (int, error) { return 42, nil }

func (s *source) Hubs(int) []console.Hub { return []console.Hub{{Name: "default", Connections: 7}} }

func (s *source) Users(q console.Query) []console.User {
	if s.block != nil {
		s.entered <- struct{}{}
		<-s.block
	}
	users := make([]console.User, q.Limit)
	for i := range users {
		users[i] = console.User{ID: q.After + "x" + strings.Repeat("i", i), Connections: 1}
	}
	return users
}

// site is a console over HTTP with a browser's cookies.
type site struct {
	*console.Handler
	source *source
	server *httptest.Server
	client *http.Client
	log    *lockedBuffer
}

func newSite(t *testing.T, opts console.Options) *site {
	t.Helper()
	testenv.Count(t, testenv.Embedded)
	s := &site{source: &source{}, log: &lockedBuffer{}}
	client, err := gateway.New(t.Context(), gateway.Embedded(""), gateway.WithLogger(slog.New(slog.NewTextHandler(s.log, nil))))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	opts.Token = token
	s.Handler, err = console.New(client, s.source, opts)
	require.NoError(t, err)
	s.server = httptest.NewServer(s.Handler)
	t.Cleanup(s.server.Close)
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	s.client = &http.Client{Jar: jar, Transport: s.server.Client().Transport}
	return s
}

// do sends a request; a body makes it a POST.
func (s *site) do(t *testing.T, path, contentType, body string, header ...string) (*http.Response, string) {
	t.Helper()
	method := http.MethodGet
	if contentType != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.server.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := s.client.Do(r)
	require.NoError(t, err)
	raw, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	return res, string(raw)
}

func (s *site) login(t *testing.T, token string) (*http.Response, string) {
	t.Helper()
	return s.do(t, "/console/login", "application/x-www-form-urlencoded", url.Values{"token": {token}}.Encode())
}

// get reads JSON with the token in a header.
func get[T any](t *testing.T, s *site, path string) (v T) {
	t.Helper()
	res, body := s.do(t, path, "", "", "Authorization", "Bearer "+token)
	require.Equal(t, http.StatusOK, res.StatusCode, body)
	require.NoError(t, json.Unmarshal([]byte(body), &v))
	return v
}

func (s *site) post(t *testing.T, path string, v any) (int, map[string]any) {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	res, body := s.do(t, path, "application/json", string(raw), "Authorization", "Bearer "+token)
	answer := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	return res.StatusCode, answer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
