package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/testenv"
)

// get returns status and body.
func get(t *testing.T, url string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func TestEndpointsOfAServingNode(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	p := start(t, []string{"MSG_EMBEDDED_DIR=" + t.TempDir(), "MSG_ACCESS_KEY=" + testKey}, "--listen", "127.0.0.1:0", "--pprof")
	line := p.awaitLine(t, "listening")
	address, admin := "http://"+line["address"].(string), "http://"+line["admin"].(string)
	dial(t, deviceURL(t, line["address"].(string)))
	for url, want := range map[string]string{
		address + "/healthz": "ok", admin + "/healthz": "ok", address + "/readyz": "ready", admin + "/readyz": "ready",
		admin + "/debug/pprof/": "goroutine", admin + "/debug/pprof/cmdline": "serve",
	} {
		status, body := get(t, url)
		require.Equal(t, http.StatusOK, status, url)
		require.Contains(t, body, want, url)
	}
	_, metrics := get(t, admin+"/metrics")
	for _, name := range []string{`gateway_node_connections{hub="default",`, "go_goroutines", "process_open_fds", "go_build_info"} {
		require.Contains(t, metrics, "\n"+name)
	}
	for _, private := range []string{"/metrics", "/debug/pprof/"} {
		status, _ := get(t, address+private)
		require.Equal(t, http.StatusBadRequest, status, "%s is not for the public", private)
	}
}

func TestAdminOnTheMainListenerOrNowhere(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	for value, status := range map[string]int{"main": http.StatusOK, "off": http.StatusBadRequest} {
		p := start(t, []string{"MSG_EMBEDDED_DIR=" + t.TempDir(), "MSG_ACCESS_KEY=" + testKey}, "--listen", "127.0.0.1:0", "--admin-listen", value)
		line := p.awaitLine(t, "listening")
		require.Equal(t, value, line["admin"])
		got, _ := get(t, "http://"+line["address"].(string)+"/metrics")
		require.Equal(t, status, got, value)
	}
	p := start(t, []string{"MSG_EMBEDDED_DIR=" + t.TempDir(), "MSG_ACCESS_KEY=" + testKey}, "--admin-listen", "main", "--pprof")
	require.Equal(t, exitUsage, p.wait(t))
	require.Contains(t, p.log(), "--pprof: needs an address of its own")
}

// A unit of Type=notify hears when the node is ready and when it stops, and the
// balancer hears of the end before the devices do.
func TestNotifyAndDelay(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	socket := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	defer func() { _ = systemd.Close() }()
	hear := func() string {
		require.NoError(t, systemd.SetReadDeadline(time.Now().Add(patience)))
		datagram := make([]byte, 100)
		n, err := systemd.Read(datagram)
		require.NoError(t, err)
		return string(datagram[:n])
	}
	p := start(t, []string{"MSG_EMBEDDED_DIR=" + t.TempDir(), "MSG_ACCESS_KEY=" + testKey, "NOTIFY_SOCKET=" + socket},
		"--listen", "127.0.0.1:0", "--shutdown-delay", "2s")
	require.Equal(t, "READY=1", hear())
	address, _ := p.awaitLine(t, "listening")["address"].(string)
	conn := dial(t, deviceURL(t, address))

	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, "STOPPING=1", hear())
	status, body := get(t, "http://"+address+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, "shutting down\n", body)
	status, _ = get(t, "http://"+address+"/healthz")
	require.Equal(t, http.StatusOK, status, "the process lives")
	dial(t, deviceURL(t, address)) // during the delay devices are still taken
	_, frame, err := conn.Read(t.Context())
	require.NoError(t, err)
	require.Contains(t, string(frame), "connected")
	require.Equal(t, exitOK, p.wait(t))
}

func TestNotifyRefusesOtherNetworks(t *testing.T) {
	t.Parallel()
	socket := "vsock:2:1234"
	getenv := func(string) string { return socket }
	require.ErrorContains(t, notify(getenv, "READY=1"), socket)
	socket = ""
	require.NoError(t, notify(getenv, "READY=1"))
	socket = filepath.Join(t.TempDir(), "nobody")
	require.Error(t, notify(getenv, "READY=1"))
}

// Readiness asks once a second at most, gives up after two, and says on the
// public address neither what is down nor where.
func TestReadiness(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var outcome error
		r := &readiness{ping: func(ctx context.Context) error {
			asked++
			if errors.Is(outcome, context.DeadlineExceeded) {
				<-ctx.Done()
			}
			return outcome
		}}
		require.NoError(t, r.check())
		outcome = errors.New("redis at 10.0.0.1: refused")
		require.NoError(t, r.check(), "it was asked just now")
		require.Equal(t, 1, asked)
		time.Sleep(readyAge + time.Millisecond)
		require.Error(t, r.check())
		require.Equal(t, 2, asked)

		e := &endpoints{ready: r, metrics: http.NotFoundHandler()}
		serve := func(h http.Handler) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
			return w
		}
		public, admin := serve(e.public(http.NotFoundHandler(), false)), serve(e.admin())
		require.Equal(t, http.StatusServiceUnavailable, public.Code)
		require.Equal(t, "a backend cannot be reached\n", public.Body.String())
		require.Equal(t, http.StatusServiceUnavailable, admin.Code)
		require.Contains(t, admin.Body.String(), "10.0.0.1")

		outcome = context.DeadlineExceeded
		time.Sleep(readyAge + time.Millisecond)
		before := time.Now()
		require.Error(t, r.check())
		require.Equal(t, readyTimeout, time.Since(before), "on the clock of the test")

		outcome = nil
		time.Sleep(readyAge + time.Millisecond)
		require.NoError(t, r.check())
		r.stop()
		require.ErrorIs(t, r.check(), errStopping)
		require.Equal(t, "shutting down\n", serve(e.public(http.NotFoundHandler(), false)).Body.String())
	})
}

// The log is JSON, or text, from the level on.
func TestLogFormats(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	p := start(t, []string{"MSG_EMBEDDED_DIR=" + t.TempDir(), "MSG_ACCESS_KEY=" + testKey, "MSG_LOG_FORMAT=text"}, "--listen", "nonsense:port:80")
	require.Equal(t, exitUsage, p.wait(t))
	var b strings.Builder
	for _, format := range []string{"json", "text"} {
		s := &settings{variables: map[string]string{"MSG_LOG_FORMAT": format, "MSG_LOG_LEVEL": "warn"}}
		log := s.logger(&b, 0)
		require.Empty(t, s.problems)
		log.Info("quiet")
		log.Warn("loud")
	}
	require.NotContains(t, b.String(), "quiet")
	require.Contains(t, b.String(), `"msg":"loud"`)
	require.Contains(t, b.String(), "msg=loud")
}
