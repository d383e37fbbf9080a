package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	wayEnv       = "env"
	wayRunning   = "running"
	wayInstalled = "installed"
	wayDebian    = "debian"
	wayCompose   = "compose"
)

var allWays = []string{wayEnv, wayRunning, wayInstalled, wayDebian, wayCompose}

// service is one of the servers that the tests need. Its value is what its
// variable holds: the form that package testenv documents.
type service struct {
	name     string
	variable string
	usual    string // value on the usual port
	pkg      string // Debian's package
	// where is the value without credentials, to be printed.
	where func(value string) string
	// probe logs in and returns the server's name and version.
	probe func(ctx context.Context, value string) (string, error)
	// start starts the installed server; it does not wait until it answers.
	start func(ctx context.Context, sup *supervisor) (value string, c *child, err error)
	// composed gives the value for the port that compose was told to use.
	composed func(port int) string
}

func services() []service {
	return []service{
		{
			name: "redis", variable: "GATEWAY_TEST_REDIS", usual: "127.0.0.1:6379", pkg: "redis-server",
			where: redisWhere, probe: probeRedis, start: startRedis,
			composed: func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) },
		},
		{
			name: "mysql", variable: "GATEWAY_TEST_MYSQL", usual: "root@tcp(127.0.0.1:3306)/", pkg: "mariadb-server",
			where: mysqlWhere, probe: probeMySQL, start: startMySQL,
			composed: func(port int) string { return fmt.Sprintf("root:%s@tcp(127.0.0.1:%d)/", composePassword, port) },
		},
		{
			name: "rabbitmq", variable: "GATEWAY_TEST_RABBITMQ", usual: rabbitURL(5672), pkg: "rabbitmq-server",
			where: rabbitWhere, probe: probeRabbit, start: startRabbit,
			composed: func(port int) string {
				return fmt.Sprintf("amqp://%s:%s@127.0.0.1:%d/", rabbitUser, composePassword, port)
			},
		},
	}
}

// rabbitUser is the account that a new RabbitMQ has, and its password.
const rabbitUser = "guest"

func rabbitURL(port int) string {
	return fmt.Sprintf("amqp://%s:%s@127.0.0.1:%d/", rabbitUser, rabbitUser, port)
}

const (
	probeTime = 3 * time.Second
	startTime = 2 * time.Minute
)

// bringUp returns the value of every service, each by the first way that
// works, and prints which that was.
func (sup *supervisor) bringUp(ctx context.Context, all []service, ways []string) (map[string]string, error) {
	for _, w := range ways {
		if !slices.Contains(allWays, w) {
			return nil, fmt.Errorf("unknown way %q: use some of %s", w, strings.Join(allWays, ","))
		}
	}
	values := make(map[string]string, len(all))
	missing := all
	tried := map[string][]string{} // service name: what did not work, and why
	for _, way := range ways {
		if len(missing) == 0 {
			break
		}
		found, err := sup.try(ctx, way, missing, tried)
		if err != nil {
			return nil, err
		}
		var left []service
		for _, s := range missing {
			f, ok := found[s.name]
			if !ok {
				left = append(left, s)
				continue
			}
			values[s.name] = f.value
			_, _ = fmt.Fprintf(sup.log, "%-9s %-22s %-34s %s\n", s.name, s.where(f.value), f.version, f.how)
		}
		missing = left
	}
	if len(missing) > 0 {
		return nil, explain(missing, tried)
	}
	return values, nil
}

// found is a service that answers.
type found struct {
	value, version, how string
}

// try tries one way for every missing service. It returns an error only where
// going on makes no sense.
func (sup *supervisor) try(ctx context.Context, way string, missing []service, tried map[string][]string) (map[string]found, error) {
	got := map[string]found{}
	note := func(s service, err error) { tried[s.name] = append(tried[s.name], way+": "+err.Error()) }
	switch way {
	case wayEnv:
		for _, s := range missing {
			value := os.Getenv(s.variable)
			if value == "" {
				continue
			}
			version, err := probeOnce(ctx, s, value)
			if err != nil { // asked for by name: nothing else will do
				return nil, fmt.Errorf("%s is set, but %s does not answer there: %w", s.variable, s.name, err)
			}
			got[s.name] = found{value, version, "named by " + s.variable}
		}
	case wayRunning:
		for _, s := range missing {
			version, err := probeOnce(ctx, s, s.usual)
			if err != nil {
				note(s, err)
				continue
			}
			got[s.name] = found{s.usual, version, "was running already"}
		}
	case wayInstalled:
		return sup.startInstalled(ctx, missing, "started for this run", note)
	case wayDebian:
		if err := sup.installDebian(ctx, missing); err != nil {
			for _, s := range missing {
				note(s, err)
			}
			return got, ctx.Err()
		}
		return sup.startInstalled(ctx, missing, "installed with apt-get, started for this run", note)
	case wayCompose:
		values, err := sup.composeUp(ctx, missing)
		if err != nil {
			for _, s := range missing {
				note(s, err)
			}
			return got, ctx.Err()
		}
		for _, s := range missing {
			version, err := sup.await(ctx, s, values[s.name], nil)
			if err != nil {
				note(s, err)
				continue
			}
			got[s.name] = found{values[s.name], version, "started for this run with docker compose"}
		}
	}
	return got, ctx.Err()
}

// startInstalled starts the servers side by side and waits for them after.
func (sup *supervisor) startInstalled(ctx context.Context, missing []service, how string, note func(service, error)) (map[string]found, error) {
	type pending struct {
		value string
		child *child
		err   error
	}
	begin := func(s service) pending {
		value, c, err := s.start(ctx, sup)
		return pending{value, c, err}
	}
	starting := map[string]pending{}
	for _, s := range slices.Backward(missing) { // RabbitMQ takes longest
		starting[s.name] = begin(s)
	}
	got := map[string]found{}
	for _, s := range missing {
		p := starting[s.name]
		var version string
		if p.err == nil {
			version, p.err = sup.await(ctx, s, p.value, p.child)
		}
		if errors.Is(p.err, errEnded) && ctx.Err() == nil {
			// Another process may have taken the port between our look and the
			// server's. Once more, on others.
			if p = begin(s); p.err == nil {
				version, p.err = sup.await(ctx, s, p.value, p.child)
			}
		}
		if p.err != nil {
			note(s, p.err)
			continue
		}
		got[s.name] = found{p.value, version, how}
	}
	return got, ctx.Err()
}

// await probes until the service answers, its process ends, or time is up.
func (sup *supervisor) await(ctx context.Context, s service, value string, c *child) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	var ended <-chan struct{}
	if c != nil {
		ended = c.ended
	}
	for {
		version, err := probeOnce(ctx, s, value)
		if err == nil {
			return version, nil
		}
		select {
		case <-ended:
			return "", fmt.Errorf("%w: %s", errEnded, c.logTail())
		case <-ctx.Done():
			if c != nil {
				return "", fmt.Errorf("no answer in time (%w): %s", err, c.logTail())
			}
			return "", fmt.Errorf("no answer in time: %w", err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func probeOnce(ctx context.Context, s service, value string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return s.probe(ctx, value)
}

func explain(missing []service, tried map[string][]string) error {
	var b strings.Builder
	var packages []string
	for _, s := range missing {
		packages = append(packages, s.pkg)
		_, _ = fmt.Fprintf(&b, "\nno %s for the tests:", s.name)
		for _, line := range tried[s.name] {
			_, _ = fmt.Fprintf(&b, "\n  %s", strings.ReplaceAll(line, "\n", "\n    "))
		}
	}
	_, _ = fmt.Fprintf(&b, "\nInstall the servers (Debian: apt-get install %s), or start them, or start Docker, "+
		"or name them in GATEWAY_TEST_REDIS, GATEWAY_TEST_MYSQL and GATEWAY_TEST_RABBITMQ.", strings.Join(packages, " "))
	return errors.New(b.String())
}

// freePort returns a port of 127.0.0.1 that nobody listens on.
func freePort(ctx context.Context) (int, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}

func freePorts(ctx context.Context, n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		var err error
		if ports[i], err = freePort(ctx); err != nil {
			return nil, err
		}
	}
	return ports, nil
}

// supervisor holds what was started, in order, to be stopped in reverse.
type supervisor struct {
	log         io.Writer
	composeFile string
	cleanups    []func()
}

func (sup *supervisor) onStop(f func()) { sup.cleanups = append(sup.cleanups, f) }

func (sup *supervisor) stop() {
	for _, f := range slices.Backward(sup.cleanups) {
		f()
	}
	sup.cleanups = nil
}
