package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/bench/internal/devices"
	"github.com/message-gateway/gateway/node" //nolint:depguard // a program above both, in a module of its own
)

// server holds devices: our node, centrifuge, or a loop that writes.
type server interface {
	// connects are how n devices connect, of users userID(first)… .
	connects(first, n int) ([]devices.Connect, error)
	// publish sends a message to all of them.
	publish(ctx context.Context, body json.RawMessage) error
	connections() int
	address() string
	stop()
}

const (
	reliableProtocol = "json.reliable.webpubsub.azure.v1"
	plainProtocol    = "json.webpubsub.azure.v1"
	everyone         = "everyone"
)

func listen() (net.Listener, error) {
	return (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
}

func serve(ln net.Listener, h http.Handler) *http.Server {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.Serve(ln) }()
	return s
}

// gatewayServer is a client and a node on the backends of an installation.
type gatewayServer struct {
	client   *gateway.Client
	node     *node.Node
	http     *http.Server
	addr     string
	protocol string
}

func startGateway(
	ctx context.Context, cfg gateway.Config, protocol string, opts node.Options, clientOpts ...gateway.Option,
) (*gatewayServer, error) {
	client, err := gateway.New(ctx, cfg, clientOpts...)
	if err != nil {
		return nil, err
	}
	n, err := node.New(client, opts)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	return &gatewayServer{client: client, node: n, http: serve(ln, n), addr: ln.Addr().String(), protocol: protocol}, nil
}

func (s *gatewayServer) connects(first, n int) ([]devices.Connect, error) {
	list := make([]devices.Connect, n)
	for i := range list {
		access, err := s.client.ClientAccessToken(context.Background(), fmt.Sprintf("user_%d", first+i),
			gateway.WithEndpoint("http://"+s.addr), gateway.WithGroups(everyone))
		if err != nil {
			return nil, err
		}
		u, err := url.Parse(access.URL)
		if err != nil {
			return nil, err
		}
		list[i] = devices.Connect{Path: u.RequestURI(), Subprotocol: s.protocol}
	}
	return list, nil
}

func (s *gatewayServer) publish(ctx context.Context, body json.RawMessage) error {
	return s.client.Hub(gateway.DefaultHub).SendToGroup(ctx, everyone, body)
}

func (s *gatewayServer) connections() int { return s.node.Connections() }
func (s *gatewayServer) address() string  { return s.addr }

func (s *gatewayServer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.node.Shutdown(ctx)
	_ = s.http.Close()
	_ = s.client.Close()
}

// centrifugeServer is a centrifuge node with its own WebSocket handler, buffers
// small and pooled as far as it offers that.
type centrifugeServer struct {
	node *centrifuge.Node
	http *http.Server
	addr string
}

func startCentrifuge(redisAddr, prefix string, subscribe func(string) map[string]centrifuge.SubscribeOptions) (*centrifugeServer, error) {
	n, err := newCentrifuge(redisAddr, prefix, subscribe)
	if err != nil {
		return nil, err
	}
	ln, err := listen()
	if err != nil {
		return nil, err
	}
	h := centrifuge.NewWebsocketHandler(n, centrifuge.WebsocketConfig{ReadBufferSize: 512, UseWriteBufferPool: true})
	return &centrifugeServer{node: n, http: serve(ln, h), addr: ln.Addr().String()}, nil
}

func (s *centrifugeServer) connects(first, n int) ([]devices.Connect, error) {
	list := make([]devices.Connect, n)
	for i := range list {
		list[i] = devices.Connect{Path: "/", Hello: fmt.Sprintf(`{"id":1,"connect":{"token":"user_%d"}}`, first+i)}
	}
	return list, nil
}

func (s *centrifugeServer) publish(_ context.Context, body json.RawMessage) error {
	_, err := s.node.Publish(everyone, body)
	return err
}

func (s *centrifugeServer) connections() int { return s.node.Hub().NumClients() }
func (s *centrifugeServer) address() string  { return s.addr }

func (s *centrifugeServer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = s.node.Shutdown(ctx)
	_ = s.http.Close()
}

// memory is what this process holds after a collection, in bytes. It collects
// more than once: pools are emptied in two steps, and stacks halved at each.
func memory() (float64, error) {
	for range 3 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(status)) {
		var kib int64
		if rest, ok := strings.CutPrefix(l, "VmRSS:"); ok {
			_, err := fmt.Sscanf(rest, "%d kB", &kib)
			return float64(kib << 10), err
		}
	}
	return 0, errors.New("/proc/self/status has no VmRSS")
}
