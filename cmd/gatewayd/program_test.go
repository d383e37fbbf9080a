package main

import (
	"bytes"
	"debug/elf"
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"log/slog"
)

var update = flag.Bool("update", false, "write the help texts to testdata")

// run is one command in this process.
type run struct {
	code           int
	stdout, stderr string
}

func testProgram(t *testing.T, environ ...string) *program {
	t.Helper()
	return &program{
		stdin: strings.NewReader(""), stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}, environ: environ,
		redirect: func(*slog.Logger) {},
	}
}

// execute runs a command in this process.
func execute(t *testing.T, environ []string, stdin string, args ...string) run {
	t.Helper()
	p := testProgram(t, environ...)
	var stdout, stderr bytes.Buffer
	p.stdin, p.stdout, p.stderr = strings.NewReader(stdin), &stdout, &stderr
	code := p.run(t.Context(), args)
	for _, secret := range []string{testKey, testPassword} {
		require.NotContains(t, stdout.String(), secret)
		require.NotContains(t, stderr.String(), secret)
	}
	return run{code, stdout.String(), stderr.String()}
}

// allCommands are all commands and topics, the root first.
func allCommands(p *program) []*cobra.Command {
	var list []*cobra.Command
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		c.InitDefaultHelpFlag()
		list = append(list, c)
		for _, child := range c.Commands() {
			if child.Name() != "help" && child.Name() != "completion" {
				walk(child)
			}
		}
	}
	walk(newRoot(p))
	return list
}

// Every command explains itself, with examples; `go test -run Help -update`
// writes the texts.
func TestHelp(t *testing.T) {
	t.Parallel()
	written := map[string]bool{}
	for _, cmd := range allCommands(testProgram(t)) {
		path := strings.Fields(cmd.CommandPath())[1:]
		name := "gatewayd"
		if len(path) > 0 {
			name = strings.Join(path, "-")
		}
		got := execute(t, nil, "", append([]string{"help"}, path...)...)
		require.Equal(t, exitOK, got.code)
		require.Empty(t, got.stderr)
		file := filepath.Join("testdata", "help", name+".txt")
		written[file] = true
		if *update {
			require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
			require.NoError(t, os.WriteFile(file, []byte(got.stdout), 0o600))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, string(want), got.stdout, "if it is meant: go test ./cmd/gatewayd -run Help -update")
		if cmd.Runnable() {
			require.NotEmpty(t, cmd.Example, name)
			require.NotEmpty(t, cmd.Long, name)
			flagged := execute(t, nil, "", append(path, "--help")...)
			require.Equal(t, got, flagged, "--help says the same")
		}
	}
	files, err := filepath.Glob("testdata/help/*.txt")
	require.NoError(t, err)
	require.Len(t, files, len(written), "a text of a command that is gone")
}

// The commands in help texts and documentation exist, with the flags they name.
func TestExamplesParse(t *testing.T) {
	t.Parallel()
	found := 0
	texts := []string{rootLong}
	for _, cmd := range allCommands(testProgram(t)) {
		texts = append(texts, cmd.Example)
	}
	for _, file := range []string{"../../README.md", "../../docs/operations.md", "../../docs/configuration.md"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		texts = append(texts, string(text))
	}
	for _, text := range texts {
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			at := strings.Index(line, "gatewayd ")
			if at < 0 || strings.ContainsAny(line[:at], "`|#") || !strings.HasPrefix(line, "gatewayd ") && !strings.HasPrefix(line, "MSG_") {
				continue
			}
			words := exampleWords(line[at:])
			cmd, rest, err := newRoot(testProgram(t)).Find(words[1:])
			require.NoError(t, err, line)
			require.NotEqual(t, "gatewayd", cmd.Name(), line)
			require.NoError(t, cmd.ParseFlags(rest), line)
			if cmd.Args != nil && !strings.Contains(line, "   ") {
				require.NoError(t, cmd.Args(cmd, cmd.Flags().Args()), line)
			}
			found++
		}
	}
	require.Greater(t, found, 20)
}

// exampleWords splits a line as a shell would, up to a pipe or a comment.
func exampleWords(line string) []string {
	var words []string
	var word strings.Builder
	quote, open := rune(0), false
	flush := func() {
		if open {
			words = append(words, word.String())
			word.Reset()
			open = false
		}
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == '|' || r == '#':
			flush()
			return words
		case r == ' ':
			flush()
		default:
			open = true
			word.WriteRune(r)
		}
	}
	flush()
	return words
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		{[]string{}, exitUsage, "", "Usage:"},
		{[]string{"--help"}, exitOK, "Messages:", ""},
		{[]string{"help", "exit-codes"}, exitOK, "the device did not answer in time", ""},
		{[]string{"help", "variables"}, exitOK, "--redis-host", ""},
		{[]string{"version"}, exitOK, "gatewayd ", ""},
		{[]string{"version", "now"}, exitUsage, "", `unexpected argument "now"`},
		{[]string{"sevre"}, exitUsage, "", "did you mean serve"},
		{[]string{"serve", "--port", "80"}, exitUsage, "", "--port"},
		{[]string{"serve", "now"}, exitUsage, "", `unexpected argument "now"`},
		{[]string{"serve", "--shutdown-timeout", "soon"}, exitUsage, "", "shutdown-timeout"},
		{[]string{"serve", "--access-key", "k"}, exitUsage, "", "unknown flag: --access-key"},
		{[]string{"serve", "--env-file", "/does/not/exist"}, exitUsage, "", "--env-file"},
		{[]string{"send"}, exitUsage, "", "it takes command, realtime, reliable"},
		{[]string{"send", "realtime", "ada"}, exitUsage, "", "PAYLOAD is missing"},
		{[]string{"send", "realtime", "ada", "1", "2"}, exitUsage, "", `unexpected argument "2"`},
		{[]string{"send", "realtime", "ada", "{text}"}, exitUsage, "", "is no JSON value"},
		{[]string{"send", "realtime", "ada", "@/does/not/exist"}, exitUsage, "", "no such file"},
		{[]string{"send", "reliable", "ada", "1", "--timeout", "0s"}, exitUsage, "", "--timeout must be above 0"},
		{[]string{"send", "command", "ada"}, exitUsage, "", "TYPE is missing"},
		{[]string{"status", "messages"}, exitUsage, "", "it takes message, user, or nothing"},
		{[]string{"status", "--limit", "0"}, exitUsage, "", "--limit"},
		{[]string{"status", "user", "ada", "--limit", "9999"}, exitUsage, "", "between 1 and 1000"},
		{[]string{"purge"}, exitUsage, "", "--older-than is required"},
		{[]string{"purge", "--older-than", "1h", "--yes", "--dry-run"}, exitUsage, "", "exclude each other"},
		{[]string{"purge", "--older-than", "-1h"}, exitUsage, "", "negative"},
		{[]string{"purge", "--older-than", "1h", "--batch", "100000"}, exitUsage, "", "between 1 and 10000"},
		{[]string{"doctor", "--timeout", "0s"}, exitUsage, "", "above 0"},
		{[]string{"migrate"}, exitUsage, "", "MSG_MYSQL_HOST: is required"},
		{[]string{"token", "ada"}, exitUsage, "", "MSG_ACCESS_KEY: is required"},
		{[]string{"status", "--log-level", "loud", "--log-format", "xml"}, exitUsage, "", "--log-format: "},
		{[]string{"status", "--redis-db", "x"}, exitUsage, "", "--redis-db: is no number"},
	} {
		t.Run(strings.Join(test.args, " "), func(t *testing.T) {
			t.Parallel()
			got := execute(t, nil, "", test.args...)
			require.Equal(t, test.code, got.code, "%s", got.stderr)
			require.Contains(t, got.stdout, test.stdout)
			require.Contains(t, got.stderr, test.stderr)
			if test.stdout == "" {
				require.Empty(t, got.stdout)
			}
			if test.stderr == "" {
				require.Empty(t, got.stderr)
			}
		})
	}
}

// The binary needs no C library: it runs in an image with nothing else.
func TestStaticBinary(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("not run: about ELF files of Linux")
	}
	file, err := elf.Open(binary)
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	for _, segment := range file.Progs {
		require.NotEqual(t, elf.PT_INTERP, segment.Type, "it asks for a dynamic linker")
		require.NotEqual(t, elf.PT_DYNAMIC, segment.Type)
	}
}
