// Package node holds the WebSocket connections of users' devices and speaks
// the Azure Web PubSub client protocol with them, so that its official clients
// connect unchanged.
//
// A [Node] is an http.Handler:
//
//	n, err := node.New(client, node.Options{})
//	mux.Handle("/client/", n)
//	...
//	err = n.Shutdown(ctx) // before client.Close
//
// It delivers what clients send to its users: realtime messages to every
// connection, reliable messages and commands to the connections with a PubSub
// subprotocol, until a device acknowledges them. Several nodes on the same
// backends share nothing else, and need to know nothing of each other.
package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/lifecycle"
	"github.com/message-gateway/gateway/internal/outbound"
	"github.com/message-gateway/gateway/node/console"
	"github.com/message-gateway/gateway/rest"
)

// errStopped drops the connections that outlast Shutdown.
var errStopped = errors.New("node is shut down")

// Node is an http.Handler that holds devices. All methods may be called from
// several goroutines.
type Node struct {
	core *core.Core
	opts Options
	id   string

	listener bus.Listener
	topics   topics
	users    users
	sessions sessions
	sockets  sockets
	states   *states
	answers  *answers
	retries  *retries
	hubs     hubs
	rates    *rates
	views    stateViews
	peers    peers
	repeats  repeats
	api      *rest.Handler    // nil: not served
	console  *console.Handler // nil: not served
	traffic  *traffic         // nil: nobody looks
	since    time.Time
	// publisher sends what devices send to groups; caller asks other nodes for
	// connections; calls are those that this node is asked.
	publisher *outbound.Publisher
	caller    *control.Caller
	calls     chan hubCall
	// later is how many calls wait for connections that move here.
	later    atomic.Int64
	arrivals arrivals
	fetches  singleflight.Group
	// reconnectionKeys sign reconnection tokens, the first one new ones.
	reconnectionKeys [][]byte
	work             *lifecycle.Group
	// unwatch ends the reports about queues.
	unwatch []func()
	// handlers is the parent of the contexts of OnEvent; cutHandlers ends it.
	handlers    context.Context
	cutHandlers context.CancelFunc
	// gap asks for a round over the connected users at once.
	gap chan struct{}

	// serving counts handshakes and connections; Shutdown waits for it.
	serving  sync.WaitGroup
	mu       sync.Mutex
	closing  bool
	handover bool // there are other nodes
	count    atomic.Int64
	shutdown sync.Once
	// shutdownErr may be read once shutdown is done.
	shutdownErr error
}

// startTimeout bounds New.
const startTimeout = 10 * time.Second

// New starts a node on the backends of client, which must outlive it. A client
// carries one node, once: a second one needs a client of its own. When it
// returns, within ten seconds, its consumer of RabbitMQ notifications runs.
func New(client *gateway.Client, opts Options) (*Node, error) {
	c := core.Of(client)
	if c == nil {
		return nil, errors.New("node: client is nil")
	}
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	if opts.Authenticator == nil && len(c.AccessKeys) == 0 {
		return nil, fmt.Errorf("node: without an Authenticator tokens must be checked: %w", gateway.ErrNoAccessKey)
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	n := &Node{
		core: c, opts: opts.withDefaults(), id: hex.EncodeToString(id[:]),
		work: lifecycle.New(context.Background()), gap: make(chan struct{}, 1), since: time.Now().UTC(),
	}
	n.handlers, n.cutHandlers = context.WithCancel(context.Background())
	if opts.REST != nil {
		var err error
		if n.api, err = rest.New(client, *opts.REST); err != nil {
			return nil, fmt.Errorf("node: %w", err)
		}
	}
	n.views = stateViews{node: n, wake: make(chan struct{}, 1)}
	n.peers = peers{node: n}
	n.repeats.limit = n.opts.MaxIdempotencyKeys
	if opts.Console != nil {
		var err error
		n.traffic = &traffic{}
		if n.console, err = console.New(client, inspector{n}, *opts.Console); err != nil {
			return nil, fmt.Errorf("node: %w", err)
		}
	}
	n.states = newStates(c)
	n.answers = newAnswers(c)
	n.retries = newRetries()
	n.rates = newRates(opts.RateLimits)
	n.publisher = outbound.NewPublisher(c)
	n.caller = control.NewCallerOn(c.Bus, c.Names)
	n.calls = make(chan hubCall, maxCalls)
	n.reconnectionKeys = reconnectionKeys(c.AccessKeys)
	n.listener = c.Bus.Listen(n.receive, n.missed)
	n.topics.listener = n.listener
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := n.consumeNotifications(ctx); err != nil {
		n.stop()
		return nil, fmt.Errorf("node: %s: %w", c.BrokerName, err)
	}
	if err := n.topics.acquire(ctx, channel{c.Names.Nodes(), true}, channel{n.caller.Channel(), true}); err != nil {
		n.stop()
		return nil, fmt.Errorf("node: %s: %w", c.BusName, err)
	}
	if err := n.watch(); err != nil {
		n.stop()
		return nil, fmt.Errorf("node: metrics: %w", err)
	}
	for range callWorkers {
		n.work.Go(n.runCalls)
	}
	n.work.Go(n.runRetries)
	n.work.Go(n.runRounds)
	n.work.Go(n.runKeepAlive)
	n.work.Go(n.runJanitor)
	n.work.Go(n.peers.run)
	n.work.Go(n.views.run)
	return n, nil
}

// ServeHTTP accepts devices under any path that ends in /client/hubs/{hub}, or
// in /client with the query parameter hub, and serves the REST data plane if
// Options.REST is set, and the console if Options.Console is. It answers
// everything else with an HTTP error.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !n.enter() {
		w.Header().Set("Retry-After", "1") // another node answers
		refuse(w, http.StatusServiceUnavailable, "node is shutting down")
		return
	}
	defer n.serving.Done()
	if n.api != nil && n.api.Serves(r) {
		n.api.ServeHTTP(w, r)
		return
	}
	if n.console != nil && n.console.Serves(r) {
		n.console.ServeHTTP(w, r)
		return
	}
	n.handshake(w, r)
}

// enter counts one more user of the node, unless it is shutting down.
func (n *Node) enter() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return false
	}
	n.serving.Add(1)
	return true
}

// spawn runs f in a goroutine that Shutdown waits for, and reports whether it
// does: during Shutdown it does not.
func (n *Node) spawn(f func()) bool {
	if !n.enter() {
		return false
	}
	go func() {
		defer n.serving.Done()
		f()
	}()
	return true
}

// Connections is the number of live connections on this node, those among them
// whose handshake is under way.
func (n *Node) Connections() int { return int(n.count.Load()) }

// Shutdown tells every device that the node goes away and closes its
// connection (1001, which makes official clients connect elsewhere). If there
// are other nodes, it waits, for Options.HandoverTimeout at most, until the
// reliable connections have been recovered there. Then it waits for running
// handlers, and writes the states that devices have acknowledged. It
// returns nil when all of that is done, or ctx's error when ctx ends first:
// the rest is then cut off, and what was not written is delivered again by
// another node. New handshakes are refused with 503 meanwhile. Call it before
// closing the client; a second call waits for the first and returns the same.
func (n *Node) Shutdown(ctx context.Context) error {
	n.shutdown.Do(func() { n.shutdownErr = n.doShutdown(ctx) })
	return n.shutdownErr
}

// cutOff is how long Shutdown waits after its ctx ended for what it cut off.
const cutOff = time.Second

func (n *Node) doShutdown(ctx context.Context) error {
	others := n.others(ctx)
	n.mu.Lock()
	n.closing, n.handover = true, others
	n.mu.Unlock()

	n.sessions.eachAtOnce(func(s *session) { s.goAway() })
	n.awaitHandover(ctx)
	drained := make(chan struct{})
	go func() {
		n.serving.Wait()
		close(drained)
	}()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = ctx.Err()
		n.cutHandlers()
		n.sockets.abort()
		select {
		case <-drained:
		case <-time.After(cutOff):
			n.core.Log.Error("a hook does not end with its ctx, the node goes without it")
		}
	}
	inTime := context.AfterFunc(ctx, n.cutHandlers)
	n.sessions.eachAtOnce(func(s *session) { s.end(shutdownText) })
	if !inTime() {
		err = ctx.Err()
	}
	if !n.states.drain(ctx) {
		err = ctx.Err()
	}
	n.stop()
	n.cutHandlers()
	return err
}

// others reports whether another node could take connections over.
func (n *Node) others(ctx context.Context) bool {
	bounded, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	counts, err := n.core.Bus.Subscribers(bounded, true, []string{n.core.Names.Nodes()})
	return err == nil && counts[0] > 1
}

// handsOver reports whether connections may move to another node while this
// one shuts down.
func (n *Node) handsOver() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closing && n.handover
}

// awaitHandover gives devices the time to recover on another node.
func (n *Node) awaitHandover(ctx context.Context) {
	if !n.handsOver() {
		return
	}
	timeout := time.NewTimer(n.opts.HandoverTimeout)
	defer timeout.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n.Connections() > 0 {
		select {
		case <-ctx.Done():
			return
		case <-timeout.C:
			return
		case <-tick.C:
		}
	}
}

// stop ends what New started.
func (n *Node) stop() {
	for _, stop := range n.unwatch {
		stop()
	}
	n.work.Stop()
	n.caller.Close()
	n.publisher.Close(answerDrain)
	_ = n.listener.Close() // its only error is that it is closed already
	n.answers.stop()
	n.states.stop()
}

func (n *Node) isClosing() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closing
}
