package examples_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/testenv"
)

// session is a block of README.md: a command and what it prints.
var session = regexp.MustCompile("(?m)^```\n\\$ go run \\./examples/(\\w+)(.*)\n((?s:.*?))^```$")

// Every program prints what README.md says, and every folder is in it.
func TestPrograms(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	bin := build(t)
	sessions := session.FindAllStringSubmatch(string(readme), -1)
	require.Len(t, sessions, 6)
	for _, s := range sessions {
		name, args, output := s[1], strings.Fields(s[2]), s[3]
		if name == "shutdown" {
			continue // it runs until it is stopped: TestShutdown
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			out, err := command(ctx, t, filepath.Join(bin, name), args...).CombinedOutput()
			require.NoError(t, err, string(out))
			require.Equal(t, output, string(out))
		})
	}
	folders, err := filepath.Glob("*/main.go")
	require.NoError(t, err)
	require.NotEmpty(t, folders)
	for _, folder := range folders {
		require.Contains(t, string(readme), "]("+folder+")")
	}
}

// A service that is told to stop ends by itself, says so to systemd, and
// reports success.
func TestShutdown(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	socket := filepath.Join(t.TempDir(), "notify")
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	defer func() { _ = systemd.Close() }()
	told := func() string {
		state := make([]byte, 64)
		require.NoError(t, systemd.SetReadDeadline(time.Now().Add(30*time.Second)))
		n, err := systemd.Read(state)
		require.NoError(t, err)
		return string(state[:n])
	}

	bin := build(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := command(ctx, t, filepath.Join(bin, "shutdown"), "-listen", "127.0.0.1:0")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewReader(stdout)
	ready, err := lines.ReadString('\n')
	require.NoError(t, err)
	address := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(ready)
	require.NotNil(t, address, ready)
	require.Equal(t, "READY=1", told())
	response, err := get(ctx, "http://"+address[1]+"/readyz")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response)

	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Equal(t, "STOPPING=1", told())
	rest, err := io.ReadAll(lines)
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	require.Contains(t, string(readme), strings.Replace(ready, address[1], "127.0.0.1:8080", 1)+string(rest)+"```\n")
}

func get(ctx context.Context, url string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// binaries is the folder of the programs, which are compiled once.
var binaries = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gateway-examples-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir+"/", "./...").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return dir, err
})

func build(t *testing.T) string {
	t.Helper()
	dir, err := binaries()
	require.NoError(t, err)
	return dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := binaries(); dir != "" {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// command runs without the services that the environment may name.
func command(ctx context.Context, t *testing.T, path string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(ctx, path, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "MSG_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	return cmd
}
