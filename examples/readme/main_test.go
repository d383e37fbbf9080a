package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/testenv"
)

// The programs in the README are those of this folder.
func TestReadmeShowsThesePrograms(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	for name, language := range map[string]string{"main.go": "go", "device.mjs": "js"} {
		program, err := os.ReadFile(name)
		require.NoError(t, err)
		require.Contains(t, string(readme), "```"+language+"\n"+string(program)+"```\n", name)
		require.LessOrEqual(t, strings.Count(string(program), "\n"), 30, name)
	}
}

// The README in Chinese shows the same programs, commands and picture.
func TestReadmesShowTheSame(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?ms)^```.*?^```$")
	english, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	chinese, err := os.ReadFile("../../README.zh-CN.md")
	require.NoError(t, err)
	require.Equal(t, block.FindAllString(string(english), -1), block.FindAllString(string(chinese), -1))
}

// The program does what the README says, on another port: its own may be taken.
func TestReadmeProgram(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	source, err := os.ReadFile("main.go")
	require.NoError(t, err)
	port := testenv.FreePort(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(string(source), "127.0.0.1:8080", "127.0.0.1:"+port)), 0o600))
	binary := filepath.Join(dir, "program")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", binary, file).CombinedOutput()
	require.NoError(t, err, string(out))

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary)
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stderr)
	next := func(pattern string) string {
		t.Helper()
		require.True(t, lines.Scan(), "the program ended")
		match := regexp.MustCompile(pattern).FindStringSubmatch(lines.Text())
		require.NotNil(t, match, lines.Text())
		return match[1]
	}
	id := next(`message (\S+) is stored, ada is away$`)
	conn := dial(ctx, t, next(`waiting at (ws://\S+)$`))

	e := receive(ctx, t, conn)
	require.Equal(t, id, e.ID)
	require.JSONEq(t, `"you have mail"`, string(e.Payload))
	e = receive(ctx, t, conn)
	require.Equal(t, "ASK_MOOD", e.Type)
	require.NoError(t, wsjson.Write(ctx, conn, map[string]any{
		"type": "event", "event": "response", "dataType": "json", "data": map[string]string{"requestId": e.RequestID, "data": "fine"},
	}))
	require.Equal(t, "fine", next(`ada answered (\w+)$`))
	require.False(t, lines.Scan(), lines.Text())
	require.NoError(t, cmd.Wait())
}

type envelope struct {
	ID, RequestID, Type string
	Payload             json.RawMessage
}

// receive returns what the next message holds.
func receive(ctx context.Context, t *testing.T, conn *websocket.Conn) envelope {
	t.Helper()
	for {
		var frame struct {
			Type string
			Data envelope
		}
		require.NoError(t, wsjson.Read(ctx, conn, &frame))
		if frame.Type == "message" {
			return frame.Data
		}
	}
}

// dial tries until the server listens: the program says its URL first.
func dial(ctx context.Context, t *testing.T, url string) *websocket.Conn {
	t.Helper()
	options := &websocket.DialOptions{Subprotocols: []string{"json.webpubsub.azure.v1"}}
	for {
		conn, _, err := websocket.Dial(ctx, url, options)
		if err == nil {
			t.Cleanup(func() { _ = conn.CloseNow() })
			return conn
		}
		select {
		case <-ctx.Done():
			require.NoError(t, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
