package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
)

var serveCommand = command{
	name:    "serve",
	summary: "run a node until SIGTERM or SIGINT",
	run:     serve,
}

func serveUsage(p *program, fs *flag.FlagSet) {
	p.printf(p.stdout, `Run a node until SIGTERM or SIGINT.

Usage:

  gatewayd serve [flags]

Devices connect to ws://HOST:PORT/client/hubs/default?access_token=TOKEN, with
tokens that services make with Client.ClientAccessToken and the same
MSG_ACCESS_KEY. Service clients of Azure Web PubSub use the connection string
Endpoint=http://HOST:PORT;AccessKey=MSG_ACCESS_KEY;Version=1.0; and GET /healthz answers 200 while the node serves.

Flags, each with its variable (the flag wins):

`)
	fs.VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		p.printf(p.stdout, "  %s\n        %s\n        (%s, default %s)\n", strings.TrimSpace("--"+f.Name+" "+value), usage, serveVariables[f.Name], f.DefValue)
	})
	p.printf(p.stdout, `
The backends are set by environment variables, at least:

  MSG_ACCESS_KEY                            32 bytes or more, a secret
  MSG_REDIS_HOST                            and MSG_REDIS_PASSWORD, …
  MSG_MYSQL_HOST, _USER, _PASSWORD, _DB
  MSG_RABBITMQ_HOST, _USERNAME, _PASSWORD

or MSG_EMBEDDED_DIR alone instead of the last three: then services can only
send over the REST data plane, to hubs, as no other process can use the folder.
docs/configuration.md lists all of them.

Exit codes: 0 after a clean shutdown, 1 after a failure, 2 after wrong usage or
configuration. A second signal ends the process at once.
`)
}

// Limits of the HTTP server. It has no read or write timeout: the node's own
// limits hold for WebSockets, and nothing else reads a body.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 128 << 10 // a token in the URL may have 64 KiB
	// answerTime is how long plain requests, such as health checks, may go on
	// after the node has shut down.
	answerTime = time.Second
)

func serve(ctx context.Context, p *program, args []string) error {
	settings, cfg, err := loadSettings(p, args)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(p.stderr, nil))
	if err := serveNode(ctx, settings, cfg, log); err != nil {
		log.Error("failed", "error", err)
		return errLogged
	}
	log.Info("stopped")
	return nil
}

func serveNode(ctx context.Context, settings serveSettings, cfg gateway.Config, log *slog.Logger) error {
	signalled, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// First, so that a port that is taken shows before anything is connected.
	listener, err := new(net.ListenConfig).Listen(signalled, "tcp", settings.listen)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // the server has closed it already, except after an error

	log.Info("starting", "version", version(), "backend", cfg)
	client, err := connect(signalled, cfg, settings, log)
	if err != nil {
		return endOfStart(signalled, err)
	}
	n, err := node.New(client, settings.options())
	if err != nil {
		return errors.Join(endOfStart(signalled, err), client.Close())
	}
	err = run(signalled, stop, listener, n, settings, log)
	return errors.Join(err, client.Close())
}

// connect opens the client and sees to the table.
func connect(ctx context.Context, cfg gateway.Config, settings serveSettings, log *slog.Logger) (*gateway.Client, error) {
	client, err := gateway.New(ctx, cfg, gateway.WithLogger(log))
	if err != nil {
		return nil, err
	}
	if settings.migrate {
		if err := client.Migrate(ctx); err != nil {
			return nil, errors.Join(err, client.Close())
		}
		log.Info("the table push_messages is there")
		return client, nil
	}
	// Not fatal: whoever owns the schema may create it any moment.
	if _, err := client.Message(ctx, "none"); errors.Is(err, gateway.ErrNoSchema) {
		log.Warn("the table push_messages does not exist: start with --migrate, or have another SDK create it")
	}
	return client, nil
}

// endOfStart tells a start that a signal ended, which is no failure, from one
// that failed.
func endOfStart(signalled context.Context, err error) error {
	if signalled.Err() != nil {
		return nil
	}
	return err
}

// run serves until a signal comes or the server fails, and then shuts down.
func run(signalled context.Context, stop func(), listener net.Listener, n *node.Node, settings serveSettings, log *slog.Logger) error {
	var stopping atomic.Bool
	server := &http.Server{
		Handler: routes(n, &stopping), ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	log.Info("listening", "address", listener.Addr().String())

	var failure error
	select {
	case <-signalled.Done():
	case failure = <-failed:
		failure = fmt.Errorf("server: %w", failure)
	}
	stop() // the next signal has its usual effect: it ends the process
	stopping.Store(true)
	log.Info("stopping", "connections", n.Connections(), "timeout", settings.shutdownTimeout.String())

	ctx, cancel := context.WithTimeout(context.Background(), settings.shutdownTimeout)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		failure = errors.Join(failure, fmt.Errorf("node not shut down within %v: %w", settings.shutdownTimeout, err))
	}
	rest, cancelRest := context.WithTimeout(context.Background(), answerTime)
	defer cancelRest()
	if err := server.Shutdown(rest); err != nil {
		_ = server.Close() // idle clients; what they wait for is not ours to give any more
	}
	return failure
}

// routes mounts the node and the health check. There is no http.ServeMux: it
// would redirect paths that service clients have signed.
func routes(n *node.Node, stopping *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/healthz":
			n.ServeHTTP(w, r)
		case stopping.Load():
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
		default:
			_, _ = w.Write([]byte("ok\n"))
		}
	})
}
