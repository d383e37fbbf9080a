// Command testservices finds or starts the Redis, MySQL and RabbitMQ that the
// tests need, runs a command with their addresses in its environment, and
// stops what it started, also after a failure or Ctrl-C. It never touches a
// service that it did not start. Use it through scripts/test-services.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/message-gateway/gateway/internal/testenv/services"
)

const usage = `Usage: test-services [flags] run -- COMMAND [ARG…]
       test-services [flags] up

run  runs COMMAND with GATEWAY_TEST_REDIS, GATEWAY_TEST_MYSQL and
     GATEWAY_TEST_RABBITMQ set to services that answer, and with
     GATEWAY_TEST_REQUIRE=1. It exits as COMMAND did.
up   prints the same variables for a shell and holds the services until Ctrl-C.

For each service it takes the first way that works:
  env        what the GATEWAY_TEST_* variable names
  running    what answers on the usual port of 127.0.0.1 (Redis without a
             password, MySQL as root without a password, RabbitMQ as guest)
  installed  the installed server, in a temporary folder on a free port
  debian     the same, after installing Debian's package (as root)
  compose    deploy/compose.yaml, where a Docker engine answers

Flags:
`

func init() {
	// Children are told to end when the thread that started them does (see
	// package services). The main thread lives as long as this process.
	runtime.LockOSThread()
}

func main() {
	os.Exit(realMain(os.Args[1:], os.Stdout, os.Stderr))
}

func realMain(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("test-services", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = io.WriteString(stderr, usage)
		flags.PrintDefaults()
	}
	use := flags.String("use", envOr("GATEWAY_TEST_USE", strings.Join(services.AllWays, ",")),
		"ways to try, in this order; default from GATEWAY_TEST_USE")
	compose := flags.String("compose", "deploy/compose.yaml", "compose file for the way `compose`")
	msg := flags.Bool("msg", false, "also set the MSG_* variables of an application, with a MySQL database that is dropped at the end")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	mode, command, err := parseCommand(flags.Args())
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "test-services: %v\n", err)
		flags.Usage()
		return 2
	}

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started := make(chan struct{})
	go func() { // a signal while services start ends the start
		select {
		case s := <-signals:
			signals <- s
			cancel()
		case <-started:
		}
	}()

	sup := &services.Supervisor{Log: stderr, ComposeFile: *compose}
	defer sup.Stop()
	values, err := sup.BringUp(ctx, services.All(), strings.Split(*use, ","))
	var extra []string
	if err == nil && *msg {
		extra, err = sup.ApplicationEnv(ctx, values)
	}
	close(started)
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "test-services: %v\n", err)
		return 1
	}

	set := []string{"GATEWAY_TEST_REQUIRE=1"}
	for _, s := range services.All() {
		set = append(set, s.Variable+"="+values[s.Name])
	}
	set = append(set, extra...)
	if mode == "up" {
		for _, kv := range set {
			key, value, _ := strings.Cut(kv, "=")
			_, _ = fmt.Fprintf(stdout, "export %s='%s'\n", key, value)
		}
		_, _ = fmt.Fprintln(stderr, "services are up; Ctrl-C stops those that were started here")
		<-signals
		return 0
	}
	return runCommand(command, set, signals, stderr)
}

func parseCommand(args []string) (mode string, command []string, err error) {
	if len(args) == 0 {
		return "", nil, errors.New("say run or up")
	}
	mode, rest := args[0], args[1:]
	if len(rest) > 0 && rest[0] == "--" {
		rest = rest[1:]
	}
	switch {
	case mode == "up" && len(rest) == 0:
		return mode, nil, nil
	case mode == "run" && len(rest) > 0:
		return mode, rest, nil
	case mode == "run":
		return "", nil, errors.New("run needs a command")
	default:
		return "", nil, fmt.Errorf("unknown arguments %q", args)
	}
}

// runCommand runs the command in a process group of its own, so that a signal
// can be passed on to all of it, and returns its exit code.
func runCommand(command, env []string, signals <-chan os.Signal, stderr io.Writer) int {
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // runs what the caller asked for; signals end it, below
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, stderr
	services.Isolate(cmd)
	if err := cmd.Start(); err != nil {
		_, _ = fmt.Fprintf(stderr, "test-services: %v\n", err)
		return 127
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	asked := false
	for {
		select {
		case s := <-signals:
			if asked { // it did not listen the first time
				services.Signal(cmd, os.Kill)
				continue
			}
			asked = true
			services.Signal(cmd, s)
		case err := <-done:
			if asked {
				services.Signal(cmd, os.Kill) // what the command left behind in its group
				return 130
			}
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() >= 0 {
				return exit.ExitCode()
			}
			if err != nil {
				_, _ = fmt.Fprintf(stderr, "test-services: %v\n", err)
				return 1
			}
			return 0
		}
	}
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
