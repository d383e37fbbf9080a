package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// coldStart runs a program until it prints a line that starts with a mark, in
// milliseconds.
func coldStart(name, mark string, command string, args ...string) side {
	return side{name, func(ctx context.Context, _ time.Duration) (figures, error) {
		cmd := exec.CommandContext(ctx, command, args...) //nolint:gosec // what was built here, or this program itself
		cmd.Env = []string{"TMPDIR=" + os.TempDir(), "HOME=" + os.Getenv("HOME")}
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			return figures{}, err
		}
		began := time.Now()
		if err := cmd.Start(); err != nil {
			return figures{}, err
		}
		f := figures{Ops: 1}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if f.Value == 0 && strings.HasPrefix(lines.Text(), mark) {
				f.Value = float64(time.Since(began).Nanoseconds()) / 1e6
			}
		}
		if err := cmd.Wait(); err != nil {
			return f, err
		}
		if f.Value == 0 {
			return f, fmt.Errorf("%s did not print %q", command, mark)
		}
		f.CPU = float64((cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Microseconds())
		return f, nil
	}}
}

func coldstart(ctx context.Context, b *bench) ([]line, error) {
	dir, err := os.MkdirTemp("", "gwbench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "quickstart")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/message-gateway/gateway/examples/quickstart") //nolint:gosec // a folder of our own
	if text, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the quickstart: %w: %s", err, text)
	}
	ours := coldStart("quickstart", "Realtime:", binary)
	f, err := interleave(ctx, b.plan(15, 0), ours)
	if err != nil {
		return nil, err
	}
	l := alone(millis, f[0], below(100, "ms"))
	l.Note = "from the start of the process to its line about the first message received; CPU is that of the whole program"
	return []line{l}, nil
}
