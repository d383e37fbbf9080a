package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv/services"
)

// procVariable hands its configuration to a child; who finds it set is one.
const procVariable = "GATEWAY_CHAOS_PROC"

// accessKey signs the tokens of the devices.
const accessKey = "chaos-chaos-chaos-chaos-chaos-chaos"

// The database and its user, who has no right to write while it is read-only.
const (
	database = "chaos"
	dbUser   = "chaos"
)

// The roles of children.
const (
	roleNode   = "node"
	roleSender = "sender"
	roleFlood  = "flood"
	// roleOriginal is the original SDK and gateway.
	roleOriginal = "original"
)

// procConfig is what a child needs to know.
type procConfig struct {
	Role   string
	Name   string // with the number of the start, so that no two have the same
	Redis  string
	MySQL  string
	Rabbit string
	Listen string // of a node
	Users  int
	Rate   int
	Seed   uint64
	Pause  time.Duration // of the database, for flood

	// program is this one if empty; clock is how far off its clock is.
	program string
	clock   time.Duration
}

func (c procConfig) gateway() gateway.Config {
	return gateway.Config{
		Redis:     gateway.RedisConfig{Addrs: []string{c.Redis}},
		MySQL:     gateway.MySQLConfig{Addr: c.MySQL, User: dbUser, DB: database},
		RabbitMQ:  gateway.RabbitMQConfig{Addrs: []string{c.Rabbit}, User: "guest", Password: "guest"},
		AccessKey: accessKey,
	}
}

// runProc is main of a child.
func runProc(raw string) int {
	var c procConfig
	if err := json.Unmarshal([]byte(raw), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("proc", c.Name)
	if err := takeClock(); err != nil {
		log.Error("not started", "error", err)
		return 2
	}
	out := &recorder{w: os.Stdout}
	if c.Role == roleOriginal {
		return runOriginal(c, log, out)
	}
	client, err := openClient(c, log)
	if err != nil {
		log.Error("not started", "error", err)
		return 1
	}
	switch c.Role {
	case roleNode:
		err = runNode(c, client, log, out)
	case roleSender:
		err = runSender(c, client, log, out)
	case roleFlood:
		err = runFlood(c, client, log, out)
	}
	if err != nil {
		log.Error("ended", "error", err)
		return 1
	}
	return 0
}

// openClient tries until the backends answer: a process may be started while
// one of them is still down.
func openClient(c procConfig, log *slog.Logger) (*gateway.Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for {
		client, err := gateway.New(ctx, c.gateway(), gateway.WithLogger(log))
		if err == nil {
			return client, nil
		}
		log.Warn("backends are not ready", "error", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// startTime bounds the start of a process.
const startTime = time.Minute

// proc is a running child.
type proc struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	up    chan struct{}
	ended chan struct{}
	// ending says that it was told to end, or killed.
	ending atomic.Bool
}

// startProc starts a child; what it prints goes to each record by record.
func startProc(dir string, c procConfig, each func(record)) (*proc, error) {
	program := c.program
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(dir, c.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // in our own temporary folder
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(program) //nolint:gosec,noctx // this very program, or an earlier version of it; kill ends it
	cmd.Env = append(os.Environ(), procVariable+"="+string(raw))
	if c.clock != 0 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", clockVariable, int(c.clock.Seconds())))
	}
	cmd.Stderr = log
	services.Isolate(cmd)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p := &proc{name: c.Name, cmd: cmd, stdin: stdin, up: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(stdout)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			var r record
			// The last line of a process that was killed may be cut off: its
			// send did not return to anyone who could tell.
			if json.Unmarshal(lines.Bytes(), &r) != nil {
				continue
			}
			if r.Kind == kindUp {
				close(p.up)
			}
			each(r)
		}
		_ = cmd.Wait() // how it ended is for who ended it
		if !p.ending.Load() {
			each(record{Kind: kindDied, From: c.Name, Error: cmd.ProcessState.String()})
		}
	}()
	return p, nil
}

// awaitUp waits until the child says that it is ready.
func (p *proc) awaitUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	select {
	case <-p.up:
		return nil
	case <-p.ended:
		return fmt.Errorf("%s ended before it was ready; see its log", p.name)
	case <-ctx.Done():
		return fmt.Errorf("%s is not ready: %w", p.name, ctx.Err())
	}
}

// tell gives an order to the child that ends it.
func (p *proc) tell(order string) error {
	p.ending.Store(true)
	return p.order(order)
}

// order gives an order to the child.
func (p *proc) order(order string) error {
	_, err := io.WriteString(p.stdin, order+"\n")
	return err
}

// kill ends the child at once, and waits until all it printed is read.
func (p *proc) kill() {
	p.ending.Store(true)
	services.Signal(p.cmd, syscall.SIGKILL)
	<-p.ended
}

var errNotEnded = errors.New("does not end")

// terminate asks the child to end.
func (p *proc) terminate() {
	p.ending.Store(true)
	services.Signal(p.cmd, syscall.SIGTERM)
}

// wait waits until the child has ended by itself; one that does not is killed.
func (p *proc) wait(within time.Duration) error {
	began := sampleLoad()
	for ended := false; !ended; {
		select {
		case <-p.ended:
			ended = true
		case <-time.After(100 * time.Millisecond):
			if began.over(within) {
				p.kill()
				return fmt.Errorf("%s %w within %v", p.name, errNotEnded, time.Since(began.at).Round(time.Second))
			}
		}
	}
	if code := p.cmd.ProcessState.ExitCode(); code > 0 {
		return fmt.Errorf("%s ended with exit code %d", p.name, code)
	}
	return nil
}
