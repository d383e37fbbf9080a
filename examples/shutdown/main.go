// Shutdown is a service under systemd that stops without losing anything: it
// says when it is ready, and on SIGTERM it takes itself out of the load
// balancer, hands its devices to other nodes, finishes what runs and ends with
// exit code 0. The unit file beside it goes with it.
//
// It takes the MSG_* variables if they name services, else the embedded backend.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
)

// stopTime bounds the whole shutdown; TimeoutStopSec in the unit is longer.
const stopTime = 20 * time.Second

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "where to listen")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTime}))
	if err := run(*listen, log); err != nil {
		log.Error("failed", "error", err)
		os.Exit(1)
	}
	log.Info("stopped")
}

// withoutTime: the journal adds the time itself.
func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

func run(listen string, log *slog.Logger) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	client, err := open(ctx)
	if err != nil {
		return err
	}
	// Last of all: waits for sends that run, and fails those that wait.
	defer func() { err = errors.Join(err, client.Close()) }()
	n, err := node.New(client, node.Options{HandoverTimeout: 5 * time.Second})
	if err != nil {
		return err
	}

	var stopping atomic.Bool
	mux := http.NewServeMux()
	mux.Handle("/client/", n)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		if stopping.Load() || client.Ping(r.Context()) != nil {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	log.Info("ready", "address", listener.Addr().String())
	if err := notify("READY=1"); err != nil {
		log.Warn("systemd was not told", "error", err)
	}

	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	stop() // a second signal ends the process at once
	log.Info("stopping")
	_ = notify("STOPPING=1") // nothing depends on it
	stopping.Store(true)     // load balancers send no new devices

	bounded, cancel := context.WithTimeout(context.Background(), stopTime)
	defer cancel()
	// First the node: it refuses new devices, lets the others recover their
	// connections elsewhere, and writes what they acknowledged. The server would
	// wait for WebSockets, which are no requests to it, for nothing.
	return errors.Join(n.Shutdown(bounded), server.Shutdown(bounded))
}

func open(ctx context.Context) (*gateway.Client, error) {
	if os.Getenv("MSG_REDIS_HOST") != "" {
		return gateway.FromEnv(ctx)
	}
	return gateway.New(ctx, gateway.Embedded(""))
}

// notify tells systemd what this process does, where it is run by systemd with
// Type=notify.
func notify(state string) error {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	conn, err := new(net.Dialer).DialContext(context.Background(), "unixgram", socket)
	if err != nil {
		return fmt.Errorf("systemd: %w", err)
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}
