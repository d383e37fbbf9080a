package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Commands and answers are lines of JSON on the child's standard streams.

type command struct {
	Name string `json:"name"`
	N    int    `json:"n"`
}

type answer struct {
	Value json.RawMessage `json:"value,omitempty"`
	Error string          `json:"error,omitempty"`
}

// answerCommands runs in the child.
func answerCommands(handlers map[string]func(n int) (any, error)) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var cmd command
		if err := in.Decode(&cmd); errors.Is(err, io.EOF) {
			return nil // the parent is done with us, or gone
		} else if err != nil {
			return err
		}
		var a answer
		handle, ok := handlers[cmd.Name]
		if !ok {
			a.Error = "no command " + cmd.Name
		} else if v, err := handle(cmd.N); err != nil {
			a.Error = err.Error()
		} else if a.Value, err = json.Marshal(v); err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

// child is a process of this program in another role.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

func startChild(ctx context.Context, args ...string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, args...) //nolint:gosec // the program itself, with arguments of its own
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &child{cmd: cmd, in: in, out: json.NewDecoder(bufio.NewReader(out))}, nil
}

// do sends a command and waits for its answer, into value if that is not nil.
func (c *child) do(name string, n int, value any) error {
	if err := json.NewEncoder(c.in).Encode(command{name, n}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var a answer
	if err := c.out.Decode(&a); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if a.Error != "" {
		return fmt.Errorf("%s: %s", name, a.Error)
	}
	if value == nil {
		return nil
	}
	return json.Unmarshal(a.Value, value)
}

// stop ends the child; only its answers mattered, not how it exits.
func (c *child) stop() {
	_ = c.in.Close()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
}

// waitFor asks once a millisecond; that costs every library the same.
func waitFor(done func() bool) error {
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("nothing more came for a minute")
		}
	}
	return nil
}

// raiseFileLimit allows as many files as the system does, and returns how many
// that is. Going over the hard limit takes a privilege.
func raiseFileLimit() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	const want = 1_000_000
	raised := syscall.Rlimit{Cur: max(l.Max, want), Max: max(l.Max, want)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		return raised.Cur
	}
	l.Cur = l.Max
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Cur
}
