package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
)

// supervisor runs the processes of the nodes.
type supervisor struct {
	ctx   context.Context
	out   *output
	nodes []*process
}

func supervise(ctx context.Context, kind string, count int, options json.RawMessage) (err error) {
	out := &output{f: os.Stdout}
	s := &supervisor{ctx: ctx, out: out}
	b, err := openBackend(ctx, kind)
	if err != nil {
		return err
	}
	defer func() {
		for _, p := range s.nodes {
			p.end()
		}
		err = errors.Join(err, b.remove())
	}()
	cfg := nodeConfig{Backend: b.config, AccessKey: randomKey(), SecondaryKey: randomKey()}
	if err := json.Unmarshal(options, &cfg.Options); err != nil {
		return fmt.Errorf("options: %w", err)
	}
	endpoints := make([]string, count)
	for i := range count {
		cfg.Addr = freeAddr(ctx)
		endpoints[i] = "http://" + cfg.Addr
		s.nodes = append(s.nodes, &process{index: i, config: cfg, out: out})
	}
	for _, p := range s.nodes {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	env, err := b.config.env()
	if err != nil {
		return err
	}
	out.line(map[string]any{"ready": map[string]any{
		"endpoints": endpoints, "accessKey": cfg.AccessKey, "secondaryKey": cfg.SecondaryKey, "env": env,
	}})
	commands(bufio.NewReader(os.Stdin), out, s.do)
	return nil
}

func randomKey() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

// freeAddr picks a port outside the range from which the kernel serves other
// programs, so that a node that was killed finds it free again.
func freeAddr(ctx context.Context) string {
	for {
		var b [2]byte
		_, _ = rand.Read(b[:]) // never fails, see crypto/rand
		port := 20000 + (int(b[0])<<8|int(b[1]))%10000
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if err == nil {
			_ = l.Close() // nothing was accepted
			return addr
		}
	}
}

func (s *supervisor) do(c command) (any, error) {
	if c.Node < 0 || c.Node >= len(s.nodes) {
		return nil, fmt.Errorf("there is no node %d", c.Node)
	}
	p := s.nodes[c.Node]
	switch c.Op {
	case "kill":
		return "killed", p.kill()
	case "pause":
		return "paused", p.signal(syscall.SIGSTOP)
	case "resume":
		return "resumed", p.signal(syscall.SIGCONT)
	case "stop":
		return "stopped", p.stop(s.ctx)
	case "start":
		return "started", p.start(s.ctx)
	default:
		return p.call(s.ctx, c)
	}
}

// process is a node's process. Its methods may be called from several
// goroutines.
type process struct {
	index  int
	config nodeConfig
	out    *output

	mu      sync.Mutex
	cmd     *exec.Cmd
	in      io.WriteCloser
	done    chan struct{}
	next    int
	waiting map[int]chan reply
}

// reply is the line with which a node answers.
type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
	Event  json.RawMessage `json:"event"`
	Ready  bool            `json:"ready"`
}

var errNotRunning = errors.New("the node is not running")

// start runs the process and waits until it serves.
func (p *process) start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return errors.New("the node is running")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "-node") //nolint:gosec // this very program
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	first, err := json.Marshal(p.config) //nolint:gosec // the keys go to a process of this very program
	if err != nil {
		return err
	}
	if _, err := in.Write(append(first, '\n')); err != nil {
		return err
	}
	p.cmd, p.in, p.done, p.waiting = cmd, in, make(chan struct{}), map[int]chan reply{}
	ready := make(chan struct{})
	go p.read(cmd, bufio.NewReader(stdout), ready, p.done)
	select {
	case <-ready:
		return nil
	case <-p.done:
		return fmt.Errorf("node %d ended at once", p.index)
	}
}

func (p *process) read(cmd *exec.Cmd, lines *bufio.Reader, ready, done chan struct{}) {
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var r reply
		if err := json.Unmarshal(line, &r); err != nil {
			fmt.Fprintf(os.Stderr, "node %d: %s", p.index, line)
			continue
		}
		switch {
		case r.Ready:
			close(ready)
		case r.Event != nil:
			p.out.line(map[string]any{"node": p.index, "event": r.Event})
		default:
			p.mu.Lock()
			c := p.waiting[r.ID]
			delete(p.waiting, r.ID)
			p.mu.Unlock()
			if c != nil {
				c <- r
			}
		}
	}
	_ = cmd.Wait() // it was killed, or told to end
	close(done)
}

// call sends a command to the node and waits for the answer.
func (p *process) call(ctx context.Context, c command) (json.RawMessage, error) {
	answer := make(chan reply, 1)
	p.mu.Lock()
	if p.cmd == nil {
		p.mu.Unlock()
		return nil, errNotRunning
	}
	p.next++
	c.ID = p.next
	p.waiting[c.ID] = answer
	done := p.done
	raw, err := json.Marshal(c)
	if err == nil {
		_, err = p.in.Write(append(raw, '\n'))
	}
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case r := <-answer:
		if r.Error != "" {
			return nil, errors.New(r.Error)
		}
		return r.Result, nil
	case <-done:
		return nil, errNotRunning
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// kill is what the power does: no goodbye.
func (p *process) kill() error {
	cmd, forget := p.letGo()
	if cmd == nil {
		return errNotRunning
	}
	err := cmd.Process.Kill()
	forget()
	return err
}

func (p *process) signal(sig os.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return errNotRunning
	}
	return p.cmd.Process.Signal(sig)
}

// letGo returns the process, which is not this one any more, and how to wait
// for its end.
func (p *process) letGo() (cmd *exec.Cmd, forget func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd, p.cmd = p.cmd, nil
	in, done := p.in, p.done
	return cmd, func() {
		_ = in.Close() // its input ends, and so does the process
		<-done
	}
}

// stop lets the node shut down as an operator does.
func (p *process) stop(ctx context.Context) error {
	_, err := p.call(ctx, command{Op: "shutdown"})
	if cmd, forget := p.letGo(); cmd != nil {
		forget()
	}
	return err
}

// end ends the process if it runs.
func (p *process) end() {
	if cmd, forget := p.letGo(); cmd != nil {
		_ = cmd.Process.Kill() // it may have ended
		forget()
	}
}
