// Browser serves a page on which people chat in two browser tabs: through a
// group, and with realtime messages, reliable messages and commands that the
// program sends for them. The page uses the official JavaScript client of Azure
// Web PubSub, as it is published.
//
// Without services it runs on the embedded backend; with the MSG_* variables
// set, on Redis, MySQL and RabbitMQ.
//
// It believes what anyone says their name is: it is an example, for this
// machine only.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:8080", "`host:port` to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr); err != nil {
		fmt.Fprintln(os.Stderr, "browser:", err)
		stop()
		os.Exit(1)
	}
}

// recoveryWindow is how long someone who went offline still seems to be there:
// the client closes its connection as if it broke. The default suits networks
// better than eyes.
const recoveryWindow = 3 * time.Second

// shutdownTimeout bounds the end.
const shutdownTimeout = 10 * time.Second

func run(ctx context.Context, addr string) (err error) {
	cfg, err := config()
	if err != nil {
		return err
	}
	client, err := gateway.New(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.Migrate(ctx); err != nil {
		return err
	}
	s := &site{client: client, hub: client.Hub(cmp.Or(cfg.Hub, "default"))}
	n, err := node.New(client, node.Options{
		OnConnected: s.connected, OnDisconnected: s.disconnected,
		RecoveryWindow: recoveryWindow,
	})
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/client/", n)
	mux.Handle("/", s.handler())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Printf("Backend: %v\nOpen http://%s/?user=ada and, in another tab, http://%[2]s/?user=bob\n", cfg, listener.Addr())
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	// ctx is over, the goodbye is not.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return errors.Join(err, n.Shutdown(bounded), server.Shutdown(bounded))
}

// config is that of the environment if it names services, else embedded.
func config() (gateway.Config, error) {
	for _, name := range []string{"MSG_REDIS_HOST", "MSG_REDIS_ADDRS", "MSG_MYSQL_HOST", "MSG_RABBITMQ_HOST", "MSG_EMBEDDED_DIR"} {
		if os.Getenv(name) == "" {
			continue
		}
		cfg, err := gateway.LoadConfig()
		if cfg.AccessKey == "" {
			cfg.AccessKey = rand.Text() + rand.Text() // for this run only
		}
		return cfg, err
	}
	return gateway.Embedded(""), nil
}
