package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/node"
)

// A flag wins over a variable of the process, and that over the file.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "env")
	require.NoError(t, os.WriteFile(file, []byte(`
# a comment
; another
MSG_REDIS_HOST=file
MSG_MYSQL_HOST = "file with a space"
MSG_MYSQL_PASSWORD='`+testPassword+`'
MSG_RABBITMQ_HOST=file
MSG_ORIGINS=
MSG_RETENTION=1h
MSG_SHUTDOWN_TIMEOUT=1h
`), 0o600))
	p := testProgram(t, "MSG_REDIS_HOST=process", "MSG_RABBITMQ_HOST=process", "MSG_HUB=", "MSG_SHUTDOWN_TIMEOUT=2h", "MSG_MAX_CONNECTIONS=many")
	cmd := find(t, p, "serve")
	require.NoError(t, cmd.ParseFlags([]string{"--env-file", file, "--redis-host", "flag", "--retention", "2h", "--redis-cluster"}))
	s, err := p.settings(cmd)
	require.NoError(t, err)
	require.Equal(t, "flag", s.variables["MSG_REDIS_HOST"])
	require.Equal(t, "process", s.variables["MSG_RABBITMQ_HOST"])
	require.Equal(t, "file with a space", s.variables["MSG_MYSQL_HOST"])
	require.Equal(t, testPassword, s.variables["MSG_MYSQL_PASSWORD"])
	require.Equal(t, "true", s.variables["MSG_REDIS_CLUSTER"])
	require.NotContains(t, s.variables, "MSG_ORIGINS")
	for flag, want := range map[string]time.Duration{"retention": 2 * time.Hour, "shutdown-timeout": 2 * time.Hour} {
		got, err := cmd.Flags().GetDuration(flag)
		require.NoError(t, err)
		require.Equal(t, want, got, flag)
	}
	require.ErrorContains(t, s.err(), `MSG_MAX_CONNECTIONS: "many" is no number`)
}

// What serve tells the node about rates, proxies and the console.
func TestServeOptions(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	parse := func(token string, args ...string) (serveSettings, error) {
		require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
		fs := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		var s serveSettings
		s.addTo(fs)
		require.NoError(t, fs.Parse(append(args, "--console-token-file", file)))
		all := &settings{variables: map[string]string{"MSG_ACCESS_KEY": testPassword}, names: map[string]string{}}
		s.validate(all)
		return s, all.err()
	}
	long := "a token for the console, 0123456789abcdef"
	s, err := parse(long, "--trusted-proxies", "10.0.0.0/8, ::1/128", "--address-connection-rate", "2.5", "--user-message-rate", "20")
	require.NoError(t, err)
	opts := s.options()
	require.Equal(t, long, opts.Console.Token)
	require.Equal(t, node.Rate{PerSecond: 2.5}, opts.RateLimits.ConnectionsPerAddress)
	require.Equal(t, node.Rate{PerSecond: 20}, opts.RateLimits.MessagesPerUser)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.RemoteAddr, r.Header = "10.1.2.3:4", http.Header{"X-Forwarded-For": {"192.0.2.1"}}
	require.Equal(t, "192.0.2.1", opts.RateLimits.Address(r).String())

	_, err = parse("short", "--trusted-proxies", "10.0.0.1", "--address-connection-rate", "-1", "--user-message-rate", "-1")
	for _, want := range []string{
		"MSG_CONSOLE_TOKEN_FILE: the token in the file has fewer than 32 bytes", `MSG_TRUSTED_PROXIES: "10.0.0.1" is no network`,
		"MSG_ADDRESS_CONNECTION_RATE: must not be negative", "MSG_USER_MESSAGE_RATE: must not be negative",
	} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "short")
}

func find(t *testing.T, p *program, names ...string) *cobra.Command {
	t.Helper()
	cmd, _, err := newRoot(p).Find(names)
	require.NoError(t, err)
	return cmd
}

// Errors about a file quote nothing of it.
func TestBadEnvFile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"MSG_HUB=a\n" + testPassword + "\n":           "line 2 is not NAME=VALUE",
		"MSG_MYSQL_PASSWORD=\"" + testPassword + "\n": "line 1 has a quote that is not closed",
		"export MSG_MYSQL_PASSWORD=" + testPassword:   "line 1 is not NAME=VALUE",
		"='":           "line 1 is not NAME=VALUE",
		"MSG_HUB=\"":   "line 1 has a quote",
		"MSG_HUB='x\"": "line 1 has a quote",
	} {
		file := filepath.Join(t.TempDir(), "env")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		got := execute(t, nil, "", "status", "--env-file", file)
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.stderr, want)
	}
}

func TestPayloads(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "payload.json")
	require.NoError(t, os.WriteFile(file, []byte(`{"from":"file"}`), 0o600))
	for _, test := range []struct {
		argument, stdin string
		text            bool
		want, failure   string
	}{
		{argument: `{"a":1}`, want: `{"a":1}`},
		{argument: "@" + file, want: `{"from":"file"}`},
		{argument: "-", stdin: `[1,2]`, want: `[1,2]`},
		{argument: "-", stdin: "line\n", text: true, want: `"line\n"`},
		{argument: "hello", text: true, want: `"hello"`},
		{argument: "@", text: true, want: `"@"`},
		{argument: "hello", failure: "use --text"},
		{argument: "", failure: "is no JSON value"},
		{argument: "\xff", text: true, failure: "not valid UTF-8"},
		{argument: "-", stdin: "{", failure: "standard input is no JSON value"},
	} {
		p := testProgram(t)
		p.stdin = readerOf(test.stdin)
		got, err := p.payload(test.argument, test.text)
		if test.failure != "" {
			require.ErrorContains(t, err, test.failure)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, test.want, string(got))
	}
}
