package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/message-gateway/gateway/internal/testenv"
)

// composePassword is handed to the containers that are started for one run; it
// is no secret, as their ports are open to this machine only.
const composePassword = "gateway-test"

const policyFile = "/usr/sbin/policy-rc.d"

// installDebian installs the packages of the missing services without letting
// them start a server of their own on the usual ports.
func (sup *Supervisor) installDebian(ctx context.Context, missing []Service) error {
	if os.Geteuid() != 0 {
		return errors.New("not root")
	}
	apt, err := exec.LookPath("apt-get")
	if err != nil {
		return errors.New("no apt-get")
	}
	// Exit code 101 forbids the packages' scripts to start services. A policy
	// that the machine has already is left as it is.
	policy, err := os.OpenFile(policyFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755) //nolint:gosec // it must be executable
	switch {
	case err == nil:
		defer func() { _ = os.Remove(policyFile) }()
		_, err = policy.WriteString("#!/bin/sh\nexit 101\n")
		if err := errors.Join(err, policy.Close()); err != nil {
			return err
		}
	case !errors.Is(err, os.ErrExist):
		return err
	}
	packages := make([]string, 0, len(missing))
	for _, s := range missing {
		packages = append(packages, s.pkg)
	}
	_, _ = fmt.Fprintf(sup.Log, "installing with apt-get: %s\n", strings.Join(packages, " "))
	for _, args := range [][]string{
		{"update", "-q"},
		append([]string{"install", "-q", "-y", "--no-install-recommends"}, packages...),
	} {
		args = append([]string{"-o", "DPkg::Lock::Timeout=300"}, args...)
		if err := tool(ctx, []string{"DEBIAN_FRONTEND=noninteractive"}, apt, args...); err != nil {
			return err
		}
	}
	return nil
}

// composeUp starts the missing services as containers on free ports and
// returns their values.
func (sup *Supervisor) composeUp(ctx context.Context, missing []Service) (map[string]string, error) {
	docker, err := exec.LookPath("docker")
	if err != nil {
		return nil, errors.New("no docker")
	}
	if err := tool(ctx, nil, docker, "info"); err != nil {
		return nil, fmt.Errorf("no Docker engine answers: %w", err)
	}
	if err := tool(ctx, nil, docker, "compose", "version"); err != nil {
		return nil, fmt.Errorf("docker has no compose: %w", err)
	}
	env := []string{"MYSQL_ROOT_PASSWORD=" + composePassword, "RABBITMQ_USER=" + rabbitUser, "RABBITMQ_PASSWORD=" + composePassword}
	values := map[string]string{}
	base := []string{"compose", "-p", "gateway-test-" + testenv.Unique(), "-f", sup.ComposeFile}
	up := append(base[:len(base):len(base)], "up", "--detach", "--wait")
	for _, s := range missing {
		port, err := freePort(ctx)
		if err != nil {
			return nil, err
		}
		env = append(env, fmt.Sprintf("%s_PORT=%d", strings.ToUpper(s.Name), port))
		values[s.Name] = s.composed(port)
		up = append(up, s.Name)
	}
	sup.OnStop(func() { // ctx may be over by then
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		down := append(base[:len(base):len(base)], "down", "--volumes", "--remove-orphans")
		if err := tool(ctx, env, docker, down...); err != nil {
			_, _ = fmt.Fprintf(sup.Log, "test-services: %v\n", err)
		}
	})
	_, _ = fmt.Fprintf(sup.Log, "starting containers (%s)\n", sup.ComposeFile)
	return values, tool(ctx, env, docker, up...)
}

// tool runs a program to its end; its output matters only when it fails.
func tool(ctx context.Context, env []string, path string, args ...string) error {
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // apt-get or docker, with arguments made here
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		lines := strings.Split(string(bytes.TrimSpace(out)), "\n")
		return fmt.Errorf("%s %s: %w\n%s", path, strings.Join(args, " "), err, strings.Join(lines[max(0, len(lines)-8):], "\n"))
	}
	return nil
}
