package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
)

const serveLong = `Run a node until SIGTERM or SIGINT.

Devices connect to ws://HOST:PORT/client/hubs/default?access_token=TOKEN, with
tokens that services make with Client.ClientAccessToken and the same
MSG_ACCESS_KEY ("gatewayd token" makes one by hand). Service clients of Azure
Web PubSub use the connection string
Endpoint=http://HOST:PORT;AccessKey=MSG_ACCESS_KEY;Version=1.0;

Endpoints for the operator, on --listen and on --admin-listen:

  /healthz   200 while the process lives
  /readyz    200 while the node takes devices and reaches its backends, else 503

and on --admin-listen only, which nobody but this machine reaches by default:

  /metrics       for Prometheus
  /readyz        says which backend is down
  /debug/pprof/  with --pprof

On a signal /readyz says no; after --shutdown-delay devices are told to go to
another node, and what they have acknowledged is written. A second signal ends
the process at once. Under systemd (Type=notify) the node says when it is ready.

With MSG_EMBEDDED_DIR no services are needed, but no other process can use the
folder: services can then only send over the REST data plane, to hubs.

Traces go over OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT says, if it is set;
the other OTEL_ variables of OpenTelemetry's SDK hold.

Exit codes: 0 after a clean shutdown, 1 after a failure, 2 after wrong usage or
configuration.`

const serveExample = `  # With nothing installed.
  MSG_ACCESS_KEY=change-me-to-a-secret-of-32-bytes-or-more gatewayd serve --embedded-dir ./data

  # In production: settings and secrets from a file, for devices of all networks.
  gatewayd serve --env-file /etc/gatewayd/gatewayd.env --listen :8080

  # In Kubernetes: Prometheus and the probes reach the pod's address, and the
  # balancer has five seconds to notice.
  gatewayd serve --listen :8080 --admin-listen :8081 --shutdown-delay 5s`

func newServe(p *program) *cobra.Command {
	var serve serveSettings
	cmd := &cobra.Command{
		Use: "serve [flags]", Short: "Run a node until SIGTERM or SIGINT", Long: serveLong, Example: serveExample,
		Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := p.settings(cmd)
			if err != nil {
				return err
			}
			cfg := all.config()
			log := all.logger(p.stderr, slog.LevelInfo)
			serve.validate(all)
			if err := all.err(); err != nil {
				return err
			}
			p.redirect(log)
			if err := serveNode(cmd.Context(), p, serve, cfg, log); err != nil {
				log.Error("failed", "error", err)
				return &exitError{code: exitFailure}
			}
			log.Info("stopped")
			return nil
		},
	}
	serve.addTo(cmd.Flags())
	return cmd
}

// Limits of the HTTP servers. They have no read or write timeout: the node's own
// limits hold for WebSockets, and nothing else reads a body.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 128 << 10 // a token in the URL may have 64 KiB
	// answerTime is how long plain requests, such as health checks, may go on
	// after the node has shut down.
	answerTime = time.Second
)

// serveNode serves until ctx ends, which a signal does.
func serveNode(ctx context.Context, p *program, s serveSettings, cfg gateway.Config, log *slog.Logger) (err error) {
	// First, so that a port that is taken shows before anything is connected.
	listener, err := listen(ctx, s.listen, "--listen")
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // the server has closed it already, except after an error
	var admin net.Listener
	if s.ownAdmin() {
		if admin, err = listen(ctx, s.adminListen, "--admin-listen"); err != nil {
			return err
		}
		defer func() { _ = admin.Close() }()
	}
	telemetry, err := openTelemetry(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, telemetry.close()) }()

	log.Info("starting", "version", version(), "backend", cfg)
	client, err := connect(ctx, cfg, s, log, telemetry)
	if err != nil {
		return endOfStart(ctx, err)
	}
	n, err := node.New(client, s.options())
	if err != nil {
		return errors.Join(endOfStart(ctx, err), client.Close())
	}
	r := &running{
		node: n, log: log, settings: s, notify: func(state string) error { return notify(p.getenv, state) },
		ready: &readiness{ping: client.Ping},
	}
	err = r.serve(ctx, listener, admin, telemetry.metrics)
	return errors.Join(err, client.Close())
}

func listen(ctx context.Context, address, flag string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return listener, nil
}

// connect opens the client and sees to the table.
func connect(ctx context.Context, cfg gateway.Config, s serveSettings, log *slog.Logger, t *telemetry) (*gateway.Client, error) {
	client, err := gateway.New(ctx, cfg, append(t.options(), gateway.WithLogger(log))...)
	if err != nil {
		return nil, err
	}
	if s.migrate {
		if err := client.Migrate(ctx); err != nil {
			return nil, errors.Join(err, client.Close())
		}
		log.Info("the table push_messages is there")
		return client, nil
	}
	// Not fatal: whoever owns the schema may create it any moment.
	if _, err := client.Message(ctx, "none"); errors.Is(err, gateway.ErrNoSchema) {
		log.Warn("the table push_messages does not exist: run gatewayd migrate, or have another SDK create it")
	}
	return client, nil
}

// endOfStart tells a start that a signal ended, which is no failure, from one
// that failed.
func endOfStart(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// running is a node that serves.
type running struct {
	node     *node.Node
	ready    *readiness
	log      *slog.Logger
	settings serveSettings
	notify   func(state string) error
}

// serve serves until ctx ends or a server fails, and then shuts down. admin is
// nil if there is no listener of its own.
func (r *running) serve(ctx context.Context, listener, admin net.Listener, metrics http.Handler) error {
	endpoints := &endpoints{ready: r.ready, metrics: metrics, pprof: r.settings.pprof}
	failed := make(chan error, 2)
	start := func(l net.Listener, handler http.Handler, what string) *http.Server {
		server := &http.Server{
			Handler: handler, ErrorLog: slog.NewLogLogger(r.log.Handler(), slog.LevelWarn),
			ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		}
		go func() { failed <- fmt.Errorf("%s: %w", what, server.Serve(l)) }()
		return server
	}
	servers := []*http.Server{start(listener, endpoints.public(r.node, r.settings.adminListen == adminMain), "server")}
	adminAddress := r.settings.adminListen
	if admin != nil {
		servers = append(servers, start(admin, endpoints.admin(), "admin server"))
		adminAddress = admin.Addr().String()
	}
	r.log.Info("listening", "address", listener.Addr().String(), "admin", adminAddress)
	r.tell("READY=1")

	var failure error
	select {
	case <-ctx.Done():
	case failure = <-failed:
	}
	return errors.Join(failure, r.stop(failure == nil, servers))
}

// stop ends the node first, and then the servers, which answer health checks
// until then.
func (r *running) stop(inOrder bool, servers []*http.Server) error {
	r.ready.stop()
	r.tell("STOPPING=1")
	s := r.settings
	r.log.Info("stopping", "connections", r.node.Connections(), "delay", s.shutdownDelay.String(), "timeout", s.shutdownTimeout.String())
	if inOrder {
		time.Sleep(s.shutdownDelay)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.shutdownTimeout)
	defer cancel()
	var failure error
	if err := r.node.Shutdown(ctx); err != nil {
		failure = fmt.Errorf("node not shut down within %v: %w", s.shutdownTimeout, err)
	}
	rest, cancelRest := context.WithTimeout(context.Background(), answerTime)
	defer cancelRest()
	for _, server := range servers {
		if err := server.Shutdown(rest); err != nil {
			_ = server.Close() // idle clients; what they wait for is not ours to give any more
		}
	}
	return failure
}

func (r *running) tell(state string) {
	if err := r.notify(state); err != nil {
		r.log.Warn("systemd not told", "state", state, "error", err)
	}
}
