package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
	"github.com/message-gateway/gateway/node/console"
	"github.com/message-gateway/gateway/rest"
)

// nodeConfig is what the process of a node is told.
type nodeConfig struct {
	Backend                 backendConfig
	Addr                    string
	AccessKey, SecondaryKey string
	Options                 nodeOptions
}

// nodeOptions are node.Options as the tests set them, times in milliseconds.
type nodeOptions struct {
	RecoveryWindow, PingInterval, SweepInterval, RetryInterval int64
	MaxFrame, MaxQueue, MaxConnections                         int
	// NoHandler leaves OnEvent out.
	NoHandler bool
	// ConsoleToken, if not empty, makes the node serve its console.
	ConsoleToken string
}

// server is one node with its client.
type server struct {
	out    *output
	client *gateway.Client
	node   *node.Node
	http   *http.Server
	conns  *connections
	hooks  *hooks
}

func runNode(ctx context.Context) error {
	in := bufio.NewReader(os.Stdin)
	first, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var cfg nodeConfig
	if err := json.Unmarshal(first, &cfg); err != nil {
		return err
	}
	s := &server{out: &output{f: os.Stdout}, conns: &connections{open: map[net.Conn]struct{}{}}}
	s.hooks = &hooks{out: s.out, refused: map[string]int{}, changed: map[string]change{}, gates: map[string]chan struct{}{}}
	if err := s.open(ctx, cfg); err != nil {
		return err
	}
	s.out.line(map[string]bool{"ready": true})
	commands(in, s.out, func(c command) (any, error) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		op := operations[c.Op]
		if op == nil {
			return nil, errors.New("there is no operation " + c.Op)
		}
		return op(ctx, s, c.Args)
	})
	return nil // no goodbye: whoever wants one asks for shutdown
}

func (s *server) open(ctx context.Context, cfg nodeConfig) error {
	c, err := cfg.Backend.config()
	if err != nil {
		return err
	}
	c.AccessKey, c.SecondaryAccessKey = cfg.AccessKey, cfg.SecondaryKey
	c.Endpoints = []string{"http://" + cfg.Addr}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if s.client, err = gateway.New(ctx, c, gateway.WithLogger(log)); err != nil {
		return err
	}
	if err := s.client.Migrate(ctx); err != nil {
		return err
	}
	o := cfg.Options
	opts := node.Options{
		RecoveryWindow: millis(o.RecoveryWindow), PingInterval: millis(o.PingInterval),
		SweepInterval: millis(o.SweepInterval), RetryInterval: millis(o.RetryInterval),
		MaxFrame: o.MaxFrame, MaxQueue: o.MaxQueue, MaxConnections: o.MaxConnections,
		OnConnect: s.hooks.onConnect, OnConnected: s.hooks.onConnected,
		OnDisconnected: s.hooks.onDisconnected, OnEvent: s.hooks.onEvent,
	}
	if o.NoHandler {
		opts.OnEvent = nil
	}
	if o.ConsoleToken != "" {
		opts.Console = &console.Options{Token: o.ConsoleToken}
	}
	if s.node, err = node.New(s.client, opts); err != nil {
		return err
	}
	api, err := rest.New(s.client, rest.Options{})
	if err != nil {
		return err
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		if api.Serves(r) {
			api.ServeHTTP(w, r)
			return
		}
		s.node.ServeHTTP(w, r)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return err
	}
	s.http = &http.Server{Handler: http.HandlerFunc(handler), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := s.http.Serve(s.conns.track(listener)); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serve", "error", err)
		}
	}()
	return nil
}

func millis(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// shutdown is what an operator does: the node first, then the client.
func (s *server) shutdown(ctx context.Context) error {
	return errors.Join(s.node.Shutdown(ctx), s.http.Close(), s.client.Close())
}

// connections are the open TCP connections, so that they can be cut.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

type trackedListener struct {
	net.Listener
	conns *connections
}

type trackedConn struct {
	*net.TCPConn
	conns *connections
}

func (c *connections) track(l net.Listener) net.Listener { return &trackedListener{l, c} }

// Accept notes the connection.
func (l *trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, io.ErrUnexpectedEOF
	}
	t := &trackedConn{tcp, l.conns}
	l.conns.mu.Lock()
	l.conns.open[t] = struct{}{}
	l.conns.mu.Unlock()
	return t, nil
}

// Close forgets the connection.
func (c *trackedConn) Close() error {
	c.conns.mu.Lock()
	delete(c.conns.open, c)
	c.conns.mu.Unlock()
	return c.TCPConn.Close()
}

// cut resets every connection, as a broken network does.
func (c *connections) cut() int {
	c.mu.Lock()
	list := make([]net.Conn, 0, len(c.open))
	for conn := range c.open {
		list = append(list, conn)
	}
	c.mu.Unlock()
	for _, conn := range list {
		if t, ok := conn.(*trackedConn); ok {
			_ = t.SetLinger(0) // it may be closed
		}
		_ = conn.Close() // likewise
	}
	return len(list)
}
