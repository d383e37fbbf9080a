// Gatewayd is a node as one program: it holds the WebSocket connections of
// users' devices and delivers to them what services send with package gateway,
// over the same Redis, MySQL and RabbitMQ.
//
//	gatewayd serve --migrate
//
// It is configured by the MSG_* variables; docs/configuration.md lists them.
// It logs JSON to standard error and exits with 0 after a clean end, 1 after a
// failure at run time, and 2 after wrong usage or configuration.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/message-gateway/gateway"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// command is one subcommand. Each has a file of its own.
type command struct {
	name, summary string
	run           func(ctx context.Context, p *program, args []string) error
}

// commands are in the order in which help lists them.
var commands = []command{serveCommand, versionCommand}

// program is what a command sees of the process.
type program struct {
	stdout, stderr io.Writer
	getenv         func(string) string
}

func main() {
	p := &program{stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(p.run(context.Background(), os.Args[1:]))
}

// run finds the command, runs it, and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		p.usage(p.stderr)
		return exitUsage
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		p.usage(p.stdout)
		return exitOK
	}
	for _, c := range commands {
		if c.name == args[0] {
			return p.exitCode(c, c.run(ctx, p, args[1:]))
		}
	}
	p.printf(p.stderr, "gatewayd: there is no command %q\n\n", args[0])
	p.usage(p.stderr)
	return exitUsage
}

// exitCode says what went wrong and with which code the process ends.
func (p *program) exitCode(c command, err error) int {
	var config *gateway.ConfigError
	var usage *usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &usage):
		p.printf(p.stderr, "gatewayd %s: %v\nRun 'gatewayd %s --help' for its flags.\n", c.name, err, c.name)
		return exitUsage
	case errors.As(err, &config):
		p.printf(p.stderr, "gatewayd %s: %v\n", c.name, config)
		return exitUsage
	case errors.Is(err, errLogged):
		return exitFailure
	default:
		p.printf(p.stderr, "gatewayd %s: %v\n", c.name, err)
		return exitFailure
	}
}

func (p *program) usage(w io.Writer) {
	p.printf(w, "Gatewayd holds the WebSocket connections of users' devices.\n\nUsage:\n\n  gatewayd COMMAND [flags]\n\nCommands:\n\n")
	for _, c := range commands {
		p.printf(w, "  %-10s %s\n", c.name, c.summary)
	}
	p.printf(w, "\n'gatewayd COMMAND --help' shows the flags of a command.\n")
}

// printf writes for people; there is nobody to tell if that fails.
func (p *program) printf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// errLogged is the error of a command that has logged why it failed.
var errLogged = errors.New("see the log")

// usageError is a mistake on the command line.
type usageError struct{ err error }

// Error says what the mistake is.
func (e *usageError) Error() string { return e.err.Error() }
