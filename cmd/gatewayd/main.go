// Gatewayd is a node as one program, and what its operator needs: it holds the
// WebSocket connections of users' devices and delivers to them what services
// send with package gateway, over the same Redis, MySQL and RabbitMQ.
//
//	gatewayd doctor
//	gatewayd serve --migrate
//
// It is configured by the MSG_* variables and by flags, which win;
// docs/configuration.md lists them. What it prints for scripts goes to standard
// output, everything else to standard error.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/message-gateway/gateway"
)

// Exit codes.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 2
	exitTimeout  = 3
	exitAnswer   = 4
	exitNotThere = 5
)

// program is what a command sees of the process.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string // as os.Environ
	// redirect brings what libraries log for the process into a log.
	redirect func(*slog.Logger)
}

func main() {
	p := &program{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ(), redirect: redirectLogs}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	// The next signal has its usual effect: it ends the process.
	context.AfterFunc(ctx, stop)
	os.Exit(p.run(ctx, os.Args[1:]))
}

// run finds the command, runs it, and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	root := newRoot(p)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	var config *gateway.ConfigError
	var usage *usageError
	var exit *exitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		p.printf(p.stderr, "%s: %v\nRun '%s --help' for its flags and examples.\n", cmd.CommandPath(), err, cmd.CommandPath())
		return exitUsage
	case errors.As(err, &config):
		p.printf(p.stderr, "%s: %v\nRun 'gatewayd help variables' for what each one means.\n", cmd.CommandPath(), config)
		return exitUsage
	case errors.As(err, &exit):
		if exit.err != nil {
			p.printf(p.stderr, "%s: %v\n", cmd.CommandPath(), exit.err)
		}
		return exit.code
	default:
		p.printf(p.stderr, "%s: %v\n", cmd.CommandPath(), err)
		return exitFailure
	}
}

// printf writes for people; there is nobody to tell if that fails.
func (p *program) printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// getenv is a variable of the process, without those of --env-file.
func (p *program) getenv(name string) string {
	value := ""
	for _, pair := range p.environ {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			value = v
		}
	}
	return value
}

// usageError is a mistake on the command line.
type usageError struct{ err error }

// Error says what the mistake is.
func (e *usageError) Error() string { return e.err.Error() }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// exitError ends the program with a code of its own. A nil err has been
// reported already.
type exitError struct {
	code int
	err  error
}

// Error is that of the cause.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap gives the cause to errors.Is and errors.As.
func (e *exitError) Unwrap() error { return e.err }
