package services

import (
	"context"
	"errors"
	"fmt"
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

// AllWays are the ways of BringUp, in the usual order.
var AllWays = []string{wayEnv, wayRunning, wayInstalled, wayDebian, wayCompose}

// Service is one of the servers that the tests need. Its value is what its
// variable holds: the form that package testenv documents.
type Service struct {
	// Name is redis, mysql or rabbitmq.
	Name string
	// Variable is the environment variable of tests that holds the value.
	Variable string
	usual    string // value on the usual port
	pkg      string // Debian's package
	// where is the value without credentials, to be printed.
	where func(value string) string
	// probe logs in and returns the server's name and version.
	probe func(ctx context.Context, value string) (string, error)
	// start starts the installed server; it does not wait until it answers.
	start func(ctx context.Context, sup *Supervisor) (*Server, error)
	// composed gives the value for the port that compose was told to use.
	composed func(port int) string
}

// All are the services that the tests need.
func All() []Service {
	return []Service{
		{
			Name: "redis", Variable: "GATEWAY_TEST_REDIS", usual: "127.0.0.1:6379", pkg: "redis-server",
			where: redisWhere, probe: probeRedis, start: startRedis,
			composed: func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) },
		},
		{
			Name: "mysql", Variable: "GATEWAY_TEST_MYSQL", usual: "root@tcp(127.0.0.1:3306)/", pkg: "mariadb-server",
			where: mysqlWhere, probe: probeMySQL, start: startMySQL,
			composed: func(port int) string { return fmt.Sprintf("root:%s@tcp(127.0.0.1:%d)/", composePassword, port) },
		},
		{
			Name: "rabbitmq", Variable: "GATEWAY_TEST_RABBITMQ", usual: rabbitURL(5672), pkg: "rabbitmq-server",
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

// BringUp returns the value of every Service, each by the first way that
// works, and prints which that was.
func (sup *Supervisor) BringUp(ctx context.Context, all []Service, ways []string) (map[string]string, error) {
	for _, w := range ways {
		if !slices.Contains(AllWays, w) {
			return nil, fmt.Errorf("unknown way %q: use some of %s", w, strings.Join(AllWays, ","))
		}
	}
	values := make(map[string]string, len(all))
	missing := all
	tried := map[string][]string{} // Service name: what did not work, and why
	for _, way := range ways {
		if len(missing) == 0 {
			break
		}
		found, err := sup.try(ctx, way, missing, tried)
		if err != nil {
			return nil, err
		}
		var left []Service
		for _, s := range missing {
			f, ok := found[s.Name]
			if !ok {
				left = append(left, s)
				continue
			}
			values[s.Name] = f.value
			_, _ = fmt.Fprintf(sup.Log, "%-9s %-22s %-34s %s\n", s.Name, s.where(f.value), f.version, f.how)
		}
		missing = left
	}
	if len(missing) > 0 {
		return nil, explain(missing, tried)
	}
	return values, nil
}

// found is a Service that answers.
type found struct {
	value, version, how string
}

// try tries one way for every missing service. It returns an error only where
// going on makes no sense.
func (sup *Supervisor) try(ctx context.Context, way string, missing []Service, tried map[string][]string) (map[string]found, error) {
	got := map[string]found{}
	note := func(s Service, err error) { tried[s.Name] = append(tried[s.Name], way+": "+err.Error()) }
	switch way {
	case wayEnv:
		for _, s := range missing {
			value := os.Getenv(s.Variable)
			if value == "" {
				continue
			}
			version, err := probeOnce(ctx, s, value)
			if err != nil { // asked for by name: nothing else will do
				return nil, fmt.Errorf("%s is set, but %s does not answer there: %w", s.Variable, s.Name, err)
			}
			got[s.Name] = found{value, version, "named by " + s.Variable}
		}
	case wayRunning:
		for _, s := range missing {
			version, err := probeOnce(ctx, s, s.usual)
			if err != nil {
				note(s, err)
				continue
			}
			got[s.Name] = found{s.usual, version, "was running already"}
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
			version, err := sup.await(ctx, s, values[s.Name], nil)
			if err != nil {
				note(s, err)
				continue
			}
			got[s.Name] = found{values[s.Name], version, "started for this run with docker compose"}
		}
	}
	return got, ctx.Err()
}

// startInstalled starts the servers side by side and waits for them after.
func (sup *Supervisor) startInstalled(ctx context.Context, missing []Service, how string, note func(Service, error)) (map[string]found, error) {
	type pending struct {
		server *Server
		err    error
	}
	begin := func(s Service) pending {
		server, err := s.start(ctx, sup)
		return pending{server, err}
	}
	starting := map[string]pending{}
	for _, s := range slices.Backward(missing) { // RabbitMQ takes longest
		starting[s.Name] = begin(s)
	}
	got := map[string]found{}
	for _, s := range missing {
		p := starting[s.Name]
		var version string
		if p.err == nil {
			version, p.err = sup.await(ctx, s, p.server.Value, p.server.child)
		}
		if errors.Is(p.err, errEnded) && ctx.Err() == nil {
			// Another process may have taken the port between our look and the
			// server's. Once more, on others.
			if p = begin(s); p.err == nil {
				version, p.err = sup.await(ctx, s, p.server.Value, p.server.child)
			}
		}
		if p.err != nil {
			note(s, p.err)
			continue
		}
		got[s.Name] = found{p.server.Value, version, how}
	}
	return got, ctx.Err()
}

// await probes until the Service answers, its process ends, or time is up.
func (sup *Supervisor) await(ctx context.Context, s Service, value string, c *child) (string, error) {
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

func probeOnce(ctx context.Context, s Service, value string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	return s.probe(ctx, value)
}

func explain(missing []Service, tried map[string][]string) error {
	var b strings.Builder
	var packages []string
	for _, s := range missing {
		packages = append(packages, s.pkg)
		_, _ = fmt.Fprintf(&b, "\nno %s for the tests:", s.Name)
		for _, line := range tried[s.Name] {
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
