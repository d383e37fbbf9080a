package main

import (
	"encoding/json"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
	"github.com/message-gateway/gateway/node"
)

func readerOf(s string) io.Reader { return strings.NewReader(s) }

// realEnvironment are the variables of the real services, with names of the
// test's own on them.
func realEnvironment(t *testing.T, more ...string) []string {
	t.Helper()
	testenv.Count(t, testenv.Real)
	host, port, err := net.SplitHostPort(testenv.Redis(t))
	require.NoError(t, err)
	db := testenv.MySQL(t)
	dbHost, dbPort, err := net.SplitHostPort(db.Addr)
	require.NoError(t, err)
	broker, err := url.Parse(testenv.RabbitMQ(t))
	require.NoError(t, err)
	password, _ := broker.User.Password()
	prefix := "gwd" + testenv.Unique()
	return append([]string{
		"MSG_REDIS_HOST=" + host, "MSG_REDIS_PORT=" + port, "MSG_REDIS_KEY_PREFIX=" + prefix + ":",
		"MSG_MYSQL_HOST=" + dbHost, "MSG_MYSQL_PORT=" + dbPort, "MSG_MYSQL_USER=" + db.User, "MSG_MYSQL_PASSWORD=" + db.Passwd, "MSG_MYSQL_DB=" + db.DBName,
		"MSG_RABBITMQ_HOST=" + broker.Hostname(), "MSG_RABBITMQ_PORT=" + or(broker.Port(), "5672"),
		"MSG_RABBITMQ_USERNAME=" + broker.User.Username(), "MSG_RABBITMQ_PASSWORD=" + password,
		"MSG_RABBITMQ_VHOST=" + or(strings.TrimPrefix(broker.Path, "/"), "/"), "MSG_RABBITMQ_NAME_PREFIX=" + prefix + ".",
		"MSG_ACCESS_KEY=" + testKey, "MSG_ENDPOINT=http://127.0.0.1:8080",
	}, more...)
}

// open is a client with these variables.
func openClient(t *testing.T, environ []string) *gateway.Client {
	t.Helper()
	variables := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		variables[name] = value
	}
	cfg, err := gateway.LoadConfigFrom(variables)
	require.NoError(t, err)
	client, err := gateway.New(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	require.NoError(t, json.Unmarshal([]byte(text), &v), "%s", text)
	return v
}

// eachEnvironment runs test on the embedded backend and on real services.
func eachEnvironment(t *testing.T, test func(t *testing.T, environ []string)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		testenv.Count(t, testenv.Embedded)
		test(t, []string{"MSG_EMBEDDED_DIR=" + t.TempDir(), "MSG_ACCESS_KEY=" + testKey, "MSG_ENDPOINT=http://127.0.0.1:8080"})
	})
	t.Run("real", func(t *testing.T) {
		t.Parallel()
		test(t, realEnvironment(t))
	})
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	environ := realEnvironment(t)
	require.Contains(t, execute(t, environ, "", "status").stderr, "gatewayd migrate")
	got := execute(t, environ, "", "migrate", "--status")
	require.Equal(t, exitOK, got.code)
	require.Contains(t, got.stdout, "create the table push_messages")
	planned := decode[migration](t, execute(t, environ, "", "migrate", "--dry-run", "--json").stdout)
	require.False(t, planned.Done)
	require.False(t, planned.Schema.Exists, "nothing was done")
	require.Len(t, planned.Actions, 1)
	require.Contains(t, execute(t, environ, "", "migrate").stdout, "done:\n  - create the table")
	again := decode[migration](t, execute(t, environ, "", "migrate", "--json").stdout)
	require.Empty(t, again.Actions)
	require.Empty(t, again.Schema.MissingIndexes)
	require.Contains(t, execute(t, environ, "", "migrate", "--status").stdout, "nothing to do")
	require.Equal(t, exitOK, execute(t, environ, "", "status").code)

	// Only the database matters.
	alone := append(environ, "MSG_REDIS_PORT=1", "MSG_RABBITMQ_PORT=1")
	require.Equal(t, exitOK, execute(t, alone, "", "migrate").code)
	down := execute(t, append(environ, "MSG_MYSQL_PORT=1", "MSG_MYSQL_PASSWORD="+testPassword), "", "migrate")
	require.Equal(t, exitFailure, down.code)
	require.Contains(t, down.stderr, "127.0.0.1:1")
}

func TestSendAndStatus(t *testing.T) {
	t.Parallel()
	eachEnvironment(t, func(t *testing.T, environ []string) {
		require.Equal(t, exitOK, execute(t, environ, "", "migrate").code)
		user := "user_" + testenv.Unique()
		got := execute(t, environ, "", "send", "realtime", user, "--text", "hello")
		require.Equal(t, exitOK, got.code, "%s", got.stderr)
		require.Equal(t, receipt{Kind: "realtime", UserID: user, Outcome: outcomePublished}, decode[receipt](t, got.stdout))

		id := "id-" + testenv.Unique()
		for range 2 { // the id makes it safe to repeat
			got = execute(t, environ, `{"n":1}`, "send", "reliable", user, "-", "--id", id, "--sender", "server:cron")
			require.Equal(t, exitOK, got.code, "%s", got.stderr)
			require.Equal(t, receipt{Kind: "reliable", UserID: user, MessageID: id, Outcome: outcomeStored}, decode[receipt](t, got.stdout))
		}
		got = execute(t, environ, "", "send", "reliable", "somebody else", "1", "--id", id)
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.stderr, "belongs to another message")
		require.Empty(t, got.stdout)

		got = execute(t, environ, "", "send", "reliable", user, "1", "--fail-if-offline")
		require.Equal(t, exitNotThere, got.code)
		require.Equal(t, outcomeOffline, decode[receipt](t, got.stdout).Outcome)
		got = execute(t, environ, "", "send", "command", user, "ASK", "--timeout", "2s")
		require.Equal(t, exitTimeout, got.code)
		timedOut := decode[receipt](t, got.stdout)
		require.Equal(t, outcomeTimeout, timedOut.Outcome)
		require.NotEmpty(t, timedOut.MessageID)
		got = execute(t, environ, "", "send", "command", user, "ASK", `{"q":1}`, "--no-wait")
		require.Equal(t, exitOK, got.code)
		require.Equal(t, outcomeStored, decode[receipt](t, got.stdout).Outcome)

		message := decode[messageOutput](t, execute(t, environ, "", "status", "message", id, "--json").stdout)
		require.Equal(t, "PENDING", message.Status)
		require.Equal(t, "server:cron", message.Sender)
		require.Nil(t, message.Payload, "what users write is shown on demand only")
		text := execute(t, environ, "", "status", "message", id, "--payload").stdout
		require.Contains(t, text, "reliable  PENDING")
		require.Contains(t, text, `"n"`)
		got = execute(t, environ, "", "status", "message", "missing")
		require.Equal(t, exitNotThere, got.code)
		require.Contains(t, got.stderr, `no message has the id "missing"`)

		state := decode[userOutput](t, execute(t, environ, "", "status", "user", user, "--json", "--limit", "1").stdout)
		require.False(t, *state.Online)
		require.Len(t, state.Unfinished, 1)
		require.Equal(t, id, state.Unfinished[0].ID)
		require.True(t, state.More)
		require.Contains(t, execute(t, environ, "", "status", "user", user).stdout, "offline")
		require.Contains(t, execute(t, environ, "", "status", "user", "nobody").stdout, "nothing is unfinished")

		counts := decode[countsOutput](t, execute(t, environ, "", "status", "--json").stdout)
		require.Equal(t, 2, counts.Counts["PENDING"])
		require.Equal(t, 1, counts.Counts["TIMED_OUT"])
		require.Contains(t, execute(t, environ, "", "status", "--limit", "2").stdout, "2 or more")
	})
}

// Purge deletes with --yes only, and only what ended.
func TestPurge(t *testing.T) {
	t.Parallel()
	eachEnvironment(t, func(t *testing.T, environ []string) {
		require.Equal(t, exitOK, execute(t, environ, "", "migrate").code)
		storeFinished(t, environ, 3, 2*time.Hour)
		require.Equal(t, exitOK, execute(t, environ, "", "send", "reliable", "ada", "1").code)
		purge := func(args ...string) (run, purgeOutput) {
			got := execute(t, environ, "", append([]string{"purge", "--json"}, args...)...)
			return got, decode[purgeOutput](t, got.stdout)
		}
		_, young := purge("--older-than", "3h", "--yes")
		require.Zero(t, young.Deleted)
		refused, out := purge("--older-than", "1h")
		require.Equal(t, 3, out.Found)
		require.Equal(t, exitUsage, refused.code)
		require.Contains(t, refused.stderr, "--yes")
		dry, out := purge("--older-than", "1h", "--dry-run", "--limit", "2")
		require.Equal(t, exitOK, dry.code)
		require.Equal(t, 2, out.Found)
		require.True(t, out.More)
		_, out = purge("--older-than", "1h", "--yes", "--limit", "2", "--batch", "1", "--pause", "1ms")
		require.Equal(t, 2, out.Deleted)
		require.True(t, out.More)
		got := execute(t, environ, "", "purge", "--older-than", "1h", "--yes")
		require.Contains(t, got.stdout, "deleted 1 rows")
		counts := decode[countsOutput](t, execute(t, environ, "", "status", "--json").stdout).Counts
		require.Equal(t, 1, counts["PENDING"], "unfinished messages stay")
		require.Zero(t, counts["FINISHED"])
	})
}

// storeFinished stores messages that finished some time ago.
func storeFinished(t *testing.T, environ []string, n int, ago time.Duration) {
	t.Helper()
	p := testProgram(t, environ...)
	cmd := find(t, p, "status")
	cmd.SetContext(t.Context())
	s, err := p.openFor(cmd)
	require.NoError(t, err)
	var rows []*store.Message
	for i := range n {
		rows = append(rows, &store.Message{
			ID: "old-" + testenv.Unique(), UserID: "ada", PushType: wire.Reliable, Seq: int64(i + 1), Payload: json.RawMessage("1"),
			Status: wire.Finished, FinishedAt: s.Now().Add(-ago),
		})
	}
	_, err = s.Insert(t.Context(), rows)
	require.NoError(t, err)
	require.NoError(t, s.close())
}

// A node, a device with a token of the program, and commands that it answers.
func TestCommandIsAnswered(t *testing.T) {
	t.Parallel()
	environ := realEnvironment(t)
	client := openClient(t, environ)
	require.NoError(t, client.Migrate(t.Context()))
	address := serveDevices(t, client, node.Options{})
	got := execute(t, environ, "", "token", "ada", "--endpoint", "http://"+address, "--role", "webpubsub.sendToGroup", "--lifetime", "1m")
	require.Equal(t, exitOK, got.code, "%s", got.stderr)
	answerCommands(t, strings.TrimSpace(got.stdout))
	require.Eventually(t, func() bool {
		return *decode[userOutput](t, execute(t, environ, "", "status", "user", "ada", "--json").stdout).Online
	}, patience, 20*time.Millisecond)

	got = execute(t, environ, "", "send", "command", "ada", "ANSWER", `{"x":1}`, "--timeout", "20s", "--fail-if-offline")
	require.Equal(t, exitOK, got.code, "%s", got.stderr)
	answered := decode[receipt](t, got.stdout)
	require.Equal(t, outcomeAnswered, answered.Outcome)
	require.JSONEq(t, `{"x":1}`, string(answered.Response))
	got = execute(t, environ, "", "send", "command", "ada", "REFUSE", "--timeout", "20s")
	require.Equal(t, exitAnswer, got.code)
	refused := decode[receipt](t, got.stdout)
	require.Equal(t, outcomeRefused, refused.Outcome)
	require.Equal(t, &receiptError{Code: "no", Message: "not today"}, refused.Error)
	text := execute(t, environ, "", "status", "message", answered.MessageID).stdout
	require.Contains(t, text, "command  FINISHED")
	require.Contains(t, text, "answered")

	// Redis is down: nobody knows who is online, and the rest is shown.
	state := decode[userOutput](t, execute(t, append(environ, "MSG_REDIS_PORT=1"), "", "status", "user", "ada", "--json").stdout)
	require.Nil(t, state.Online)
	require.Contains(t, state.OnlineError, "127.0.0.1:1")
}

func TestToken(t *testing.T) {
	t.Parallel()
	environ := []string{"MSG_ACCESS_KEY=" + testKey, "MSG_ENDPOINT=https://push.example.com/base", "MSG_REDIS_PORT=broken, and not looked at"}
	out := decode[tokenOutput](t, execute(t, environ, "", "token", "ada", "--hub", "chat", "--group", "room1", "--json").stdout)
	require.Equal(t, "chat", out.Hub)
	require.Equal(t, "wss://push.example.com/base/client/hubs/chat?access_token="+out.Token, out.URL)
	require.WithinDuration(t, time.Now().Add(time.Hour), out.ExpiresAt, time.Minute)
	anonymous := execute(t, environ, "", "token")
	require.Equal(t, exitOK, anonymous.code)
	require.True(t, strings.HasPrefix(anonymous.stdout, "wss://push.example.com/base/client/hubs/default?access_token="))
	for want, args := range map[string][]string{
		"--hub: ":        {"token", "ada", "--hub", "2nd"},
		"--endpoint: ":   {"token", "ada", "--endpoint", "push"},
		"--lifetime 1ms": {"token", "ada", "--lifetime", "1ms"},
		"unexpected":     {"token", "ada", "bob"},
	} {
		got := execute(t, environ, "", args...)
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.stderr, want)
		require.Empty(t, got.stdout)
	}
}

// With the embedded backend of a node that runs, the folder is taken.
func TestEmbeddedFolderInUse(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	environ := []string{"MSG_EMBEDDED_DIR=" + t.TempDir(), "MSG_ACCESS_KEY=" + testKey}
	p := start(t, environ, "--listen", "127.0.0.1:0")
	p.awaitLine(t, "listening")
	for _, args := range [][]string{{"status"}, {"send", "realtime", "ada", "1"}} {
		got := execute(t, environ, "", args...)
		require.Equal(t, exitFailure, got.code)
		require.Contains(t, got.stderr, "in use by another process")
	}
	got := execute(t, environ, "", "doctor")
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.stdout, "stop the node first")
}
