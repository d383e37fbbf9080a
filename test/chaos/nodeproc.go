package main

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
)

// The times of the nodes are shorter than the defaults, so that a short run
// sees every one of them pass.
const (
	sweepInterval  = 3 * time.Second
	retryInterval  = 4 * time.Second
	recoveryWindow = 6 * time.Second
	pingInterval   = 3 * time.Second
	shutdownTime   = 10 * time.Second
)

// runNode is a node that runs until SIGTERM, or until its parent is gone.
func runNode(c procConfig, client *gateway.Client, log *slog.Logger, out *recorder) error {
	var n *node.Node
	for began := time.Now(); ; {
		var err error
		if n, err = node.New(client, node.Options{
			SweepInterval: sweepInterval, RetryInterval: retryInterval, RecoveryWindow: recoveryWindow,
			PingInterval: pingInterval, HandoverTimeout: 2 * time.Second, Retention: -1,
		}); err == nil {
			break
		}
		log.Warn("node not started", "error", err)
		if time.Since(began) > startTime {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", c.Listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: n, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGTERM)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	out.put(record{Kind: kindUp, From: c.Name})
	orphaned := make(chan struct{})
	go func() {
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); { // ends when the parent does
			takeClockOrder(lines.Text())
		}
		close(orphaned)
	}()
	select {
	case err := <-failed:
		return err
	case <-orphaned:
		return errors.New("parent is gone")
	case <-asked:
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	err = n.Shutdown(ctx)
	return errors.Join(err, server.Close(), client.Close())
}
