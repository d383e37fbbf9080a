package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv"
)

const (
	patience     = 30 * time.Second
	testPassword = "another-secret-\"quoted\"-that-no-output-shows"
	testKey      = "a-secret-that-no-log-line-may-show-0123456789"
)

var binary string

// silent takes the lines that go-redis writes about servers that are not there.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// TestMain builds the program once; the tests run it as a user would.
func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "gatewayd-")
		if err != nil {
			panic(err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		binary = filepath.Join(dir, "gatewayd")
		build := exec.CommandContext(context.Background(), "go", "build", "-buildvcs=false", "-o", binary, ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		redis.SetLogger(silent{})
		if out, err := build.CombinedOutput(); err != nil {
			panic(string(out) + err.Error())
		}
		return m.Run()
	}())
}

// process is a running gatewayd.
type process struct {
	cmd   *exec.Cmd
	lines chan map[string]any

	mu     sync.Mutex
	stderr bytes.Buffer
}

// environment replaces every MSG_* variable of this process.
func environment(variables ...string) []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MSG_") {
			env = append(env, v)
		}
	}
	// A port of its own for each process, and what the caller says about it.
	return append(append(env, "MSG_ADMIN_LISTEN=127.0.0.1:0"), variables...)
}

func start(t *testing.T, variables []string, args ...string) *process {
	t.Helper()
	p := &process{lines: make(chan map[string]any, 100)}
	p.cmd = exec.CommandContext(t.Context(), binary, append([]string{"serve"}, args...)...)
	p.cmd.Env = environment(variables...)
	pipe, err := p.cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(io.TeeReader(pipe, p)); scanner.Scan(); {
			var line map[string]any
			if json.Unmarshal(scanner.Bytes(), &line) == nil {
				p.lines <- line
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("log of gatewayd:\n%s", p.log())
		}
	})
	return p
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// awaitLine returns the next line of the log with this message.
func (p *process) awaitLine(t *testing.T, message string) map[string]any {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			require.True(t, ok, "gatewayd ended without logging %q:\n%s", message, p.log())
			if line["msg"] == message {
				return line
			}
		case <-timeout:
			require.Fail(t, "no line in the log", "%q in\n%s", message, p.log())
		}
	}
}

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	for range p.lines { // until the pipe ends: Wait must not come before
		continue
	}
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// deviceURL makes a token as a service would: with a client that has the key.
func deviceURL(t *testing.T, address string) string {
	t.Helper()
	cfg := gateway.Embedded("")
	cfg.AccessKey = testKey
	client, err := gateway.New(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	access, err := client.ClientAccessToken(t.Context(), "ada", gateway.WithEndpoint("http://"+address))
	require.NoError(t, err)
	return access.URL
}

func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	options := &websocket.DialOptions{Subprotocols: []string{"json.reliable.webpubsub.azure.v1"}}
	conn, _, err := websocket.Dial(t.Context(), url, options)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

func TestServeUntilTheSignal(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			p := start(t, []string{"MSG_EMBEDDED_DIR=" + t.TempDir(), "MSG_ACCESS_KEY=" + testKey}, "--listen", "127.0.0.1:0", "--migrate")
			address, _ := p.awaitLine(t, "listening")["address"].(string)

			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
			require.NoError(t, err)
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			require.Equal(t, http.StatusOK, response.StatusCode)

			conn := dial(t, deviceURL(t, address))
			var frame struct{ Type, Event, UserID, Message string }
			require.NoError(t, wsjson.Read(ctx, conn, &frame))
			require.Equal(t, "connected", frame.Event)
			require.Equal(t, "ada", frame.UserID)

			require.NoError(t, p.cmd.Process.Signal(sig))
			require.NoError(t, wsjson.Read(ctx, conn, &frame))
			require.Equal(t, "disconnected", frame.Event)
			require.NotEmpty(t, frame.Message)
			_, _, err = conn.Read(ctx)
			require.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err), "got %v", err)

			require.Equal(t, exitOK, p.wait(t))
			require.NotContains(t, p.log(), testKey)
			require.NotContains(t, p.log(), "access_token")
		})
	}
}

// A device that answers nothing must not hold the process up.
func TestServeCutsOffWhatDoesNotEnd(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	p := start(t, []string{"MSG_EMBEDDED_DIR=" + t.TempDir(), "MSG_ACCESS_KEY=" + testKey, "MSG_LISTEN=127.0.0.1:0", "MSG_SHUTDOWN_TIMEOUT=200ms"})
	address, _ := p.awaitLine(t, "listening")["address"].(string)
	_ = dial(t, deviceURL(t, address)) // never reads, so it never answers the close frame

	began := time.Now()
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, exitFailure, p.wait(t))
	require.Less(t, time.Since(began), patience/2)
	require.Contains(t, p.log(), "not shut down within 200ms")
}

func TestServeRefusesABadEnvironment(t *testing.T) {
	t.Parallel()
	p := start(t, []string{
		"MSG_REDIS_PORT=abc", "MSG_MYSQL_HOST=db", "MSG_MYSQL_PASSWORD=" + testKey, "MSG_ACCESS_KEY_SECONDARY=short",
		"MSG_MAX_PAYLOAD=-1", "MSG_LISTEN=nonsense", "MSG_MIGRATE=perhaps", "MSG_SHUTDOWN_TIMEOUT=soon",
	})
	require.Equal(t, exitUsage, p.wait(t))
	for _, name := range []string{
		"MSG_REDIS_PORT", "MSG_REDIS_HOST", "MSG_MYSQL_USER", "MSG_MYSQL_DB", "MSG_RABBITMQ_HOST", "MSG_RABBITMQ_USERNAME",
		"MSG_RABBITMQ_PASSWORD", "MSG_ACCESS_KEY", "MSG_ACCESS_KEY_SECONDARY", "MSG_MAX_PAYLOAD",
		"MSG_LISTEN", "MSG_MIGRATE", "MSG_SHUTDOWN_TIMEOUT",
	} {
		require.Contains(t, p.log(), name+": ")
	}
	require.NotContains(t, p.log(), testKey)
}

func TestServeNamesTheFlagThatIsWrong(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"MSG_EMBEDDED_DIR=" + t.TempDir(), "MSG_ACCESS_KEY=" + testKey, "MSG_LISTEN=127.0.0.1:0"},
		"--listen", "nonsense", "--shutdown-timeout", "-1s")
	require.Equal(t, exitUsage, p.wait(t))
	require.Contains(t, p.log(), "--listen: ")
	require.Contains(t, p.log(), "--shutdown-timeout: ")
}

func TestServeFailsIfThePortIsTaken(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = taken.Close() }()
	p := start(t, []string{"MSG_EMBEDDED_DIR=" + t.TempDir(), "MSG_ACCESS_KEY=" + testKey}, "--listen", taken.Addr().String())
	require.Equal(t, exitFailure, p.wait(t))
	require.Contains(t, p.log(), "address already in use")
}

// The embedded folder is held by this process, so the program cannot have it.
func TestServeFailsIfTheBackendDoes(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	dir := t.TempDir()
	client, err := gateway.New(t.Context(), gateway.Embedded(dir))
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()
	p := start(t, []string{"MSG_EMBEDDED_DIR=" + dir, "MSG_ACCESS_KEY=" + testKey}, "--listen", "127.0.0.1:0")
	require.Equal(t, exitFailure, p.wait(t))
	require.Contains(t, p.log(), "in use by another process")
}
