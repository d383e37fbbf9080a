// Package child runs this program again as another process and talks to it in
// lines of JSON over its standard streams.
package child

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

type request struct {
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

type answer struct {
	Value json.RawMessage `json:"value,omitempty"`
	Error string          `json:"error,omitempty"`
}

// Handler answers one kind of request.
type Handler func(args json.RawMessage) (any, error)

// Handle makes a Handler of a function.
func Handle[A any](f func(A) (any, error)) Handler {
	return func(raw json.RawMessage) (any, error) {
		var args A
		if err := json.Unmarshal(raw, &args); err != nil {
			return nil, err
		}
		return f(args)
	}
}

// Serve runs in the child: it answers requests until the parent is done with
// it, or gone.
func Serve(handlers map[string]Handler) error {
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	for {
		var req request
		if err := in.Decode(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var a answer
		if handle, ok := handlers[req.Name]; !ok {
			a.Error = "no request " + req.Name
		} else if v, err := handle(req.Args); err != nil {
			a.Error = err.Error()
		} else if a.Value, err = json.Marshal(v); err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

// Process is a child. Its methods may be called by one goroutine at a time.
type Process struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
}

// Start starts this program with these arguments.
func Start(ctx context.Context, args ...string) (*Process, error) {
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
	return &Process{cmd: cmd, in: in, out: json.NewDecoder(bufio.NewReader(out))}, nil
}

// Do sends a request and waits for its answer, into value if that is not nil.
func (p *Process) Do(name string, args, value any) error {
	raw, err := json.Marshal(args)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(p.in).Encode(request{name, raw}); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var a answer
	if err := p.out.Decode(&a); err != nil {
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

// Stop ends the child; only its answers mattered, not how it exits.
func (p *Process) Stop() {
	if p == nil {
		return
	}
	_ = p.in.Close()
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
