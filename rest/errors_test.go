package rest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/rest"
)

// verify checks a client access token and returns its claims.
func verify(t testing.TB, raw string) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) { return []byte(accessKey), nil }, jwt.WithValidMethods([]string{"HS256"}))
	require.NoError(t, err)
	return claims
}

func TestErrorsOfHubs(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	h, hub := newFake(t, rest.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	secret := errors.New("dial tcp 10.1.2.3:6379: password wrong")
	for _, c := range []struct {
		err         error
		send, close int
		code        [2]string
	}{
		{gateway.ErrClosed, 503, 503, [2]string{"Error.ServiceUnavailable", "Error.ServiceUnavailable"}},
		{fmt.Errorf("%w: %w", gateway.ErrClosed, secret), 503, 503, [2]string{"Error.ServiceUnavailable", "Error.ServiceUnavailable"}},
		{gateway.ErrOverloaded, 429, 429, [2]string{"Error.TooManyRequests", "Error.TooManyRequests"}},
		{fmt.Errorf("%w: %w", gateway.ErrNodeUnanswered, secret), 500, 503, [2]string{"Error.InternalServerError", "Error.ServiceUnavailable"}},
		{secret, 500, 503, [2]string{"Error.InternalServerError", "Error.ServiceUnavailable"}},
		{context.DeadlineExceeded, 500, 503, [2]string{"Error.InternalServerError", "Error.ServiceUnavailable"}},
		{fmt.Errorf("gateway: send: %w", gateway.ErrPayloadTooLarge), 413, 413, [2]string{"Error.PayloadTooLarge", "Error.PayloadTooLarge"}},
		{fmt.Errorf("gateway: send: %w", gateway.ErrInvalidPayload), 400, 400, [2]string{"Error.BadRequest", "Error.BadRequest"}},
	} {
		hub.err = c.err
		log.Reset()
		for i, w := range []struct {
			method, path string
			status       int
		}{{"POST", "/:send", c.send}, {"DELETE", "/connections/c?reason=top-secret", c.close}} {
			answer := do(h, w.method, hubPath+w.path, "")
			wantError(t, answer, w.status, c.code[i])
			assert.NotContains(t, answer.Body.String(), "10.1.2.3")
			assert.Equal(t, w.status == 503 || w.status == 429, answer.Header().Get("Retry-After") != "", "%d", w.status)
		}
		if c.send >= 500 {
			assert.Contains(t, log.String(), "operation=hubs/{hub}/:send")
			assert.NotContains(t, log.String(), "secret")
			assert.NotContains(t, log.String(), "Bearer")
		} else {
			assert.Empty(t, log.String())
		}
	}
}

func TestErrorBodyNamesTheConnection(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	hub.err = gateway.ErrConnectionNotFound
	w := do(h, "PUT", hubPath+"/permissions/sendToGroup/connections/c9", "")
	assert.JSONEq(t, `{"code":"Info.Connection.NotExisted","message":"Connection `+"`c9`"+` is not found.","target":"Connection","details":null,"innererror":null}`, w.Body.String())
	w = do(h, "PUT", hubPath+"/groups/g/connections/%3Cc%22%0A", "")
	body := wantError(t, w, http.StatusNotFound, "Error.Connection.NotExisted")
	assert.Contains(t, body.Message, "<c\"\n")
}

func TestTooManyCalls(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{MaxCalls: 1, Timeout: time.Minute})
	hub.entered = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int)
	r := newRequest("POST", hubPath+"/:send", "x").WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+tokenFor(base+hubPath+"/:send"))
	go func() { done <- serve(h, r).Code }()
	<-hub.entered
	w := do(h, "HEAD", hubPath+"/users/u", "")
	assert.Equal(t, http.StatusTooManyRequests, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	assert.Equal(t, http.StatusUnauthorized, serve(h, newRequest("HEAD", hubPath+"/users/u", "")).Code, "the token comes first")
	assert.Equal(t, http.StatusOK, serve(h, newRequest("HEAD", "/api/health", "")).Code)
	cancel()
	assert.Equal(t, http.StatusInternalServerError, <-done)
	hub.found = true
	assert.Equal(t, http.StatusOK, do(h, "HEAD", hubPath+"/users/u", "").Code)
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{Timeout: 10 * time.Millisecond})
	hub.entered = make(chan struct{}, 1)
	wantError(t, do(h, "POST", hubPath+"/:send", "x"), http.StatusInternalServerError, "Error.InternalServerError")
}

func TestClosedClient(t *testing.T) {
	t.Parallel()
	client := openClient(t)
	h, err := rest.New(client, rest.Options{})
	require.NoError(t, err)
	require.NoError(t, client.Close())
	w := do(h, "POST", hubPath+"/:send", "x")
	wantError(t, w, http.StatusServiceUnavailable, "Error.ServiceUnavailable")
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	client := openClient(t)
	_, err := rest.New(nil, rest.Options{})
	require.Error(t, err)
	for name, opts := range map[string]rest.Options{
		"MaxBody": {MaxBody: -1}, "MaxCalls": {MaxCalls: -1}, "Timeout": {Timeout: -1}, "ReadTimeout": {ReadTimeout: -1},
		"scheme": {Endpoints: []string{"ws://a"}}, "host": {Endpoints: []string{"https:///a"}}, "query": {Endpoints: []string{"https://a?b"}}, "user": {Endpoints: []string{"https://u@a"}}, "no URL": {Endpoints: []string{"%"}},
	} {
		_, err := rest.New(client, opts)
		require.ErrorIs(t, err, rest.ErrInvalidOptions, name)
	}
	_, err = rest.New(client, rest.Options{Endpoints: []string{"https://a/b"}})
	require.NoError(t, err)
}
