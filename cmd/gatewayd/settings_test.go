package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
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
