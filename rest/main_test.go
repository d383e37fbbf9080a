package rest_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	accessKey    = "an access key of the REST tests, 0123456789"
	secondaryKey = "the other access key of the tests, 0123456789"
	host         = "gateway.test"
	base         = "http://" + host
)

// openClient is an embedded client that is closed with the test.
func openClient(t testing.TB, change ...func(*gateway.Config)) *gateway.Client {
	t.Helper()
	testenv.Count(t, testenv.Embedded)
	cfg := gateway.Embedded(t.TempDir())
	cfg.AccessKey, cfg.SecondaryAccessKey = accessKey, secondaryKey
	for _, f := range change {
		f(&cfg)
	}
	client, err := gateway.New(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return client
}

// newHandler is a handler over an embedded client.
func newHandler(t testing.TB, opts rest.Options) *rest.Handler {
	t.Helper()
	h, err := rest.New(openClient(t), opts)
	require.NoError(t, err)
	return h
}

// newFake is a handler over a hub that notes what is called.
func newFake(t testing.TB, opts rest.Options, change ...func(*gateway.Config)) (*rest.Handler, *fakeHub) {
	t.Helper()
	fake := &fakeHub{page: gateway.DefaultLimits().Page}
	for _, f := range change {
		var cfg gateway.Config
		f(&cfg)
		fake.page = cmp.Or(cfg.Limits.Page, fake.page)
	}
	h, err := rest.NewWithHubs(openClient(t, change...), opts, func(name string) rest.Hub {
		fake.note("hub %q", name)
		return fake
	})
	require.NoError(t, err)
	return h, fake
}

// sign makes a token; nil claims are left out.
func sign(key string, method jwt.SigningMethod, claims map[string]any) string {
	signed, err := jwt.NewWithClaims(method, jwt.MapClaims(claims)).SignedString([]byte(key))
	if err != nil {
		panic(err)
	}
	return signed
}

// tokenFor is what official clients sign: the URL of the call.
func tokenFor(audience string) string {
	return sign(accessKey, jwt.SigningMethodHS256, map[string]any{"aud": audience, "exp": time.Now().Add(time.Minute).Unix()})
}

// newRequest is a request as it comes off the wire, without token.
func newRequest(method, target, body string, header ...string) *http.Request {
	r := httptest.NewRequestWithContext(context.Background(), method, target, strings.NewReader(body))
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// do makes a call with a good token. Target starts with a slash.
func do(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := newRequest(method, target, body, header...)
	r.Header.Set("Authorization", "Bearer "+tokenFor(base+target))
	return serve(h, r)
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// errorBody is what official clients read.
type errorBody struct {
	Code       string  `json:"code"`
	Message    string  `json:"message"`
	Target     *string `json:"target"`
	Details    any     `json:"details"`
	InnerError any     `json:"innererror"`
}

// wantError checks status, header and body of an error.
func wantError(t testing.TB, w *httptest.ResponseRecorder, status int, code string) errorBody {
	t.Helper()
	require.Equal(t, status, w.Code, w.Body)
	assert.Equal(t, code, w.Header().Get("x-ms-error-code"))
	assert.Equal(t, "application/json; charset=utf-8", w.Header().Get("Content-Type"))
	var body errorBody
	var all map[string]any
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body), w.Body)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &all))
	assert.Len(t, all, 5, "flat, and complete")
	assert.Equal(t, code, body.Code)
	assert.NotEmpty(t, body.Message)
	return body
}

// fakeHub notes calls, and answers them with err, found and members.
type fakeHub struct {
	mu      sync.Mutex
	calls   []string
	err     error
	found   bool
	members []gateway.GroupConnection
	page    int // Limits.Page of the client
	// entered, if not nil, gets a value per send, which then waits for its end.
	entered chan struct{}
}

func (f *fakeHub) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// take returns what was called since the last time.
func (f *fakeHub) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

func (f *fakeHub) send(ctx context.Context, target string, payload any, opts []gateway.HubOption) error {
	f.note("send %s %T %s %d options", target, payload, payload, len(opts))
	if f.entered != nil {
		f.entered <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	return f.err
}

func (f *fakeHub) SendToAll(ctx context.Context, payload any, opts ...gateway.HubOption) error {
	return f.send(ctx, "all", payload, opts)
}

func (f *fakeHub) SendToGroup(ctx context.Context, group string, payload any, opts ...gateway.HubOption) error {
	return f.send(ctx, "group "+group, payload, opts)
}

func (f *fakeHub) SendToUser(ctx context.Context, user string, payload any, opts ...gateway.HubOption) error {
	return f.send(ctx, "user "+user, payload, opts)
}

func (f *fakeHub) SendToConnection(ctx context.Context, id string, payload any, opts ...gateway.HubOption) error {
	return f.send(ctx, "connection "+id, payload, opts)
}

func (f *fakeHub) CloseAllConnections(_ context.Context, opts ...gateway.HubOption) error {
	f.note("close all %d options", len(opts))
	return f.err
}

func (f *fakeHub) CloseGroupConnections(_ context.Context, group string, opts ...gateway.HubOption) error {
	f.note("close group %s %d options", group, len(opts))
	return f.err
}

func (f *fakeHub) CloseUserConnections(_ context.Context, user string, opts ...gateway.HubOption) error {
	f.note("close user %s %d options", user, len(opts))
	return f.err
}

func (f *fakeHub) CloseConnection(_ context.Context, id string, opts ...gateway.HubOption) error {
	f.note("close connection %s %d options", id, len(opts))
	return f.err
}

func (f *fakeHub) ConnectionExists(_ context.Context, id string) (bool, error) {
	f.note("connection %s exists", id)
	return f.found, f.err
}

func (f *fakeHub) GroupExists(_ context.Context, group string) (bool, error) {
	f.note("group %s exists", group)
	return f.found, f.err
}

func (f *fakeHub) UserExists(_ context.Context, user string) (bool, error) {
	f.note("user %s exists", user)
	return f.found, f.err
}

func (f *fakeHub) AddConnectionToGroup(_ context.Context, group, id string, _ ...gateway.HubOption) error {
	f.note("add connection %s to %s", id, group)
	return f.err
}

func (f *fakeHub) AddUserToGroup(_ context.Context, group, user string, _ ...gateway.HubOption) error {
	f.note("add user %s to %s", user, group)
	return f.err
}

func (f *fakeHub) AddConnectionsToGroups(_ context.Context, groups []string, filter string, _ ...gateway.HubOption) error {
	f.note("add %q to %q", filter, groups)
	return f.err
}

func (f *fakeHub) RemoveConnectionFromGroup(_ context.Context, group, id string) error {
	f.note("remove connection %s from %s", id, group)
	return f.err
}

func (f *fakeHub) RemoveConnectionFromAllGroups(_ context.Context, id string) error {
	f.note("remove connection %s", id)
	return f.err
}

func (f *fakeHub) RemoveUserFromGroup(_ context.Context, group, user string) error {
	f.note("remove user %s from %s", user, group)
	return f.err
}

func (f *fakeHub) RemoveUserFromAllGroups(_ context.Context, user string) error {
	f.note("remove user %s", user)
	return f.err
}

func (f *fakeHub) RemoveConnectionsFromGroups(_ context.Context, groups []string, filter string) error {
	f.note("remove %q from %q", filter, groups)
	return f.err
}

func (f *fakeHub) GroupConnections(_ context.Context, group, after string, limit int) ([]gateway.GroupConnection, error) {
	f.note("list %s after %q limit %d", group, after, limit)
	if limit > f.page {
		return nil, gateway.ErrInvalidQuery
	}
	var page []gateway.GroupConnection
	for _, m := range f.members {
		if m.ConnectionID > after && len(page) < limit {
			page = append(page, m)
		}
	}
	return page, f.err
}

func (f *fakeHub) GrantPermission(_ context.Context, p gateway.Permission, id, group string) error {
	f.note("grant %s %s %q", p, id, group)
	return f.err
}

func (f *fakeHub) RevokePermission(_ context.Context, p gateway.Permission, id, group string) error {
	f.note("revoke %s %s %q", p, id, group)
	return f.err
}

func (f *fakeHub) HasPermission(_ context.Context, p gateway.Permission, id, group string) (bool, error) {
	f.note("check %s %s %q", p, id, group)
	return f.found, f.err
}

func (f *fakeHub) ClientAccessToken(_ context.Context, user string, opts ...gateway.TokenOption) (gateway.ClientAccess, error) {
	f.note("token %s %d options", user, len(opts))
	return gateway.ClientAccess{Token: "made"}, f.err
}

var _ rest.Hub = (*fakeHub)(nil)
