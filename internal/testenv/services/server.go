package services

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Server is an installed server in a folder of its own. It can be ended and
// begun again with the data, the address and the settings that it had.
type Server struct {
	// Name is that of the Service, Value what its variable would hold.
	Name, Value string

	home    *home
	command func() *exec.Cmd
	child   *child
	// tool is the server's own program to control it, where it has one.
	tool func(args ...string) (*exec.Cmd, error)
}

// serve starts a server and has Stop end whichever run of it is the last.
func (sup *Supervisor) serve(name, value string, h *home, command func() *exec.Cmd) (*Server, error) {
	s := &Server{Name: name, Value: value, home: h, command: command}
	if err := s.Start(); err != nil {
		return nil, err
	}
	sup.OnStop(func() { s.child.stop() })
	return s, nil
}

// StartInstalled starts the installed servers of all services and waits until
// they answer. What is not installed it installs where it can: see BringUp.
func (sup *Supervisor) StartInstalled(ctx context.Context) (map[string]*Server, error) {
	servers := map[string]*Server{}
	var missing []Service
	for _, s := range All() {
		server, err := s.start(ctx, sup)
		if errors.Is(err, errNotInstalled) {
			missing = append(missing, s)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		servers[s.Name] = server
	}
	if len(missing) > 0 {
		if err := sup.installDebian(ctx, missing); err != nil {
			return nil, fmt.Errorf("install what is missing: %w", err)
		}
	}
	for _, s := range missing {
		server, err := s.start(ctx, sup)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		servers[s.Name] = server
	}
	for _, server := range servers {
		if err := server.Await(ctx); err != nil {
			return nil, err
		}
	}
	return servers, nil
}

// Start begins the server; it does not wait until it answers. The last run
// must have ended.
func (s *Server) Start() error {
	c, err := s.home.spawn(s.command())
	if err != nil {
		return fmt.Errorf("start %s: %w", s.Name, err)
	}
	s.child = c
	return nil
}

// Await waits until the server answers, its process ends, or time is up.
func (s *Server) Await(ctx context.Context) error {
	for _, service := range All() {
		if service.Name != s.Name {
			continue
		}
		if _, err := new(Supervisor).await(ctx, service, s.Value, s.child); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	return nil
}

// Kill ends the server as a power cut does, and waits until it is gone.
func (s *Server) Kill() {
	Signal(s.child.cmd, kill)
	<-s.child.ended
}

// Pause stops the server where it stands: its connections stay open and nobody
// answers. Resume lets it go on.
func (s *Server) Pause() { Signal(s.child.cmd, pause) }

// Resume ends a Pause.
func (s *Server) Resume() { Signal(s.child.cmd, resume) }

// Ended reports whether the server has ended, by itself or by Kill.
func (s *Server) Ended() bool {
	select {
	case <-s.child.ended:
		return true
	default:
		return false
	}
}

// Control runs the program with which the server is controlled, as its account
// and with its settings, and returns what it printed: rabbitmqctl for RabbitMQ;
// the others have none. It is killed when ctx ends.
func (s *Server) Control(ctx context.Context, args ...string) (string, error) {
	if s.tool == nil {
		return "", fmt.Errorf("%s: %w: a program to control it", s.Name, errNotInstalled)
	}
	cmd, err := s.tool(args...)
	if err != nil {
		return "", fmt.Errorf("%s: %w", s.Name, err)
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("%s: %w", s.Name, err)
	}
	defer context.AfterFunc(ctx, func() { Signal(cmd, kill) })()
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s: %s: %w: %s", s.Name, strings.Join(args, " "), errors.Join(err, ctx.Err()), strings.TrimSpace(out.String()))
	}
	return out.String(), nil
}
