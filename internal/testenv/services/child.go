package services

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// errEnded says that a server ended before it answered, errNotInstalled that
// its program is missing.
var (
	errEnded        = errors.New("the server ended")
	errNotInstalled = errors.New("not installed")
)

const stopTime = 20 * time.Second

// child is a server that was started here.
type child struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// home is the temporary folder of one server and the account it runs as: that
// of its package where this process is root, as servers refuse or should not
// be root.
type home struct {
	dir     string
	account *account
}

// newHome makes a folder that is deleted in the end. It must be asked for
// before the server is started: what is stopped last was begun first.
func (sup *Supervisor) newHome(name string) (*home, error) {
	// Short, for the length of a Unix socket's path is limited.
	dir, err := os.MkdirTemp("", "gw-"+name+"-")
	if err != nil {
		return nil, err
	}
	sup.OnStop(func() {
		if err := os.RemoveAll(dir); err != nil {
			_, _ = fmt.Fprintf(sup.Log, "test-services: %v\n", err)
		}
	})
	h := &home{dir: dir, account: accountFor(name)}
	return h, h.account.own(dir)
}

func (h *home) path(name string) string { return filepath.Join(h.dir, name) }

// write makes a file that the server can read.
func (h *home) write(name, content string) (string, error) {
	path := h.path(name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return "", err
	}
	return path, h.account.own(path)
}

// command prepares a program that runs in the folder with an environment of
// its own: what the caller's shell says about its own servers must not matter.
func (h *home) command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...) //nolint:gosec,noctx // an installed server; Supervisor.stop ends it, not a ctx
	cmd.Dir = h.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + h.dir, "TMPDIR=" + h.dir, "LANG=C.UTF-8"}
	isolate(cmd, h.account)
	return cmd
}

// spawn starts a program that is ended with the others.
func (sup *Supervisor) spawn(h *home, cmd *exec.Cmd) (*child, error) {
	c, err := h.spawn(cmd)
	if err != nil {
		return nil, err
	}
	sup.OnStop(c.stop)
	return c, nil
}

// spawn starts a program whose output goes to a file in its folder, after that
// of its earlier runs.
func (h *home) spawn(cmd *exec.Cmd) (*child, error) {
	log := h.path(filepath.Base(cmd.Path) + ".log")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // a path in our own temporary folder
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, log: log, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

// stop asks the server to end, waits, and in the end kills its process group.
func (c *child) stop() {
	Signal(c.cmd, terminate)
	select {
	case <-c.ended:
	case <-time.After(stopTime):
	}
	Signal(c.cmd, os.Kill) // also what it left behind in its group
	<-c.ended
}

func (c *child) logTail() string {
	content, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return "its last words:\n" + strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// look returns the first of the programs that is installed.
func look(candidates ...string) (string, error) {
	for _, c := range candidates {
		if path, err := exec.LookPath(c); err == nil {
			return path, nil
		}
		for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/usr/libexec"} { // not on everyone's PATH
			if path, err := exec.LookPath(filepath.Join(dir, c)); err == nil && !filepath.IsAbs(c) {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%w: none of %s", errNotInstalled, strings.Join(candidates, ", "))
}

// wait waits until the program has ended and says how.
func (c *child) wait(ctx context.Context) error {
	select {
	case <-c.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	if state := c.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("%v: %s", state, c.logTail())
	}
	return nil
}
