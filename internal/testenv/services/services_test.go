package services

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// fake is a service of which only the named values answer.
func fake(name string, answering ...string) Service {
	return Service{
		Name: name, Variable: "TEST_SERVICES_" + strings.ToUpper(name), usual: "usual", pkg: name + "-server",
		where: func(v string) string { return v },
		probe: func(_ context.Context, value string) (string, error) {
			for _, a := range answering {
				if value == a {
					return name + " 1", nil
				}
			}
			return "", errors.New("no answer from " + value)
		},
		start: func(context.Context, *Supervisor) (*Server, error) {
			return nil, errors.New("not installed: " + name)
		},
	}
}

func bringUp(t *testing.T, s Service, ways ...string) (value, log string, err error) {
	t.Helper()
	var b strings.Builder
	sup := &Supervisor{Log: &b}
	defer sup.Stop()
	values, err := sup.BringUp(t.Context(), []Service{s}, ways)
	return values[s.Name], b.String(), err
}

func TestNamedServiceComesFirst(t *testing.T) {
	t.Setenv("TEST_SERVICES_DB", "named")
	value, log, err := bringUp(t, fake("db", "named", "usual"), wayEnv, wayRunning)
	if err != nil || value != "named" {
		t.Fatalf("value %q, error %v", value, err)
	}
	if !strings.Contains(log, "named by TEST_SERVICES_DB") {
		t.Errorf("log %q", log)
	}
}

func TestNamedServiceThatDoesNotAnswerIsAnError(t *testing.T) {
	t.Setenv("TEST_SERVICES_DB", "elsewhere")
	if value, _, err := bringUp(t, fake("db", "usual"), wayEnv, wayRunning); err == nil {
		t.Fatalf("took %q instead of what was named", value)
	}
}

func TestRunningServiceIsUsed(t *testing.T) {
	t.Parallel()
	value, _, err := bringUp(t, fake("db", "usual"), wayEnv, wayRunning)
	if err != nil || value != "usual" {
		t.Fatalf("value %q, error %v", value, err)
	}
}

func TestMissingServiceSaysWhatWasTriedAndWhatToInstall(t *testing.T) {
	t.Parallel()
	_, _, err := bringUp(t, fake("db"), wayEnv, wayRunning, wayInstalled)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"no answer from usual", "not installed: db", "apt-get install db-server"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}

func TestUnknownWayIsAnError(t *testing.T) {
	t.Parallel()
	if _, _, err := bringUp(t, fake("db", "usual"), "magic"); err == nil {
		t.Fatal("no error")
	}
}

func TestServerThatEndsIsStartedOnceMoreAndItsFolderGoes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("not run: needs a Unix shell")
	}
	var homes []string
	s := fake("db")
	s.start = func(_ context.Context, sup *Supervisor) (*Server, error) {
		h, err := sup.newHome("db")
		if err != nil {
			return nil, err
		}
		homes = append(homes, h.dir)
		return sup.serve("db", "started", h, func() *exec.Cmd {
			return h.command("/bin/sh", "-c", "echo port taken; exit 1")
		})
	}
	_, _, err := bringUp(t, s, wayInstalled)
	if err == nil || !strings.Contains(err.Error(), "port taken") {
		t.Errorf("error %v, want the last words of the server", err)
	}
	if len(homes) != 2 {
		t.Errorf("started %d times, want 2", len(homes))
	}
	for _, dir := range homes {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
}

func TestStopEndsTheProcessGroup(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("not run: needs a Unix shell")
	}
	cmd := exec.Command("/bin/sh", "-c", "while :; do sleep 60; done") //nolint:noctx // stop ends it
	isolate(cmd, nil)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(c.ended)
	}()
	c.stop()
	if cmd.ProcessState.Success() {
		t.Error("ended by itself")
	}
}

func TestPlacesShowNoPassword(t *testing.T) {
	t.Parallel()
	for _, got := range []string{
		mysqlWhere("root:secret@tcp(127.0.0.1:3307)/"),
		rabbitWhere("amqp://user:secret@127.0.0.1:5673/"),
	} {
		if _, _, err := net.SplitHostPort(got); err != nil || strings.Contains(got, "secret") {
			t.Errorf("place %q", got)
		}
	}
}
