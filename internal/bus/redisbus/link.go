package redisbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/redis/go-redis/v9"
)

const (
	// chunk bounds the channels of one command, so that neither side builds
	// huge ones.
	chunk = 1000
	// window bounds the channels whose confirmations are awaited. Redis cuts a
	// subscriber off whose unread output exceeds 32 MB (its default).
	window = 20 * chunk
	// connectTimeout bounds dialling, TLS and AUTH.
	connectTimeout = 5 * time.Second
	// writeTimeout bounds one command's way into the socket.
	writeTimeout = 5 * time.Second
	// keepIdle is how long a link of a cluster stays that has neither a
	// connection nor channels: its node may be gone for good.
	keepIdle = 30 * time.Second
	// reconnectMin and reconnectMax bound the pause before another attempt.
	reconnectMin = 50 * time.Millisecond
	reconnectMax = 2 * time.Second
)

// pingIdle is how long a connection may be silent before it is asked for a sign
// of life, and pingTimeout how long it may stay silent then. Tests lower them.
var (
	pingIdle    = 15 * time.Second
	pingTimeout = 10 * time.Second
)

// command is one that awaits its answer. Redis answers in order, so the answer
// that arrives, an error too, belongs to the oldest.
type command struct {
	kind  string   // subscribe, unsubscribe (or with s) or pong: the kind of its answer
	names []string // channels that are not answered yet
}

// link carries the channels of one target on one connection at a time.
type link struct {
	table  *table
	id     uint32
	target string
	wake   chan struct{} // todo is not empty, or the window has room
	permit atomic.Pointer[permit]

	todo []string // guarded by table.mu

	mu       sync.Mutex
	awaited  []command
	inFlight int       // channels in awaited
	since    time.Time // when awaited was empty last

	heard   instant     // when the server was heard last
	handing atomic.Bool // the handler has the reader's goroutine
}

func newLink(t *table, id uint32, target string) *link {
	return &link{table: t, id: id, target: target, wake: make(chan struct{}, 1)}
}

// run connects while there is something to carry, until the listener closes.
func (l *link) run() {
	t := l.table
	ctx := t.listener.ctx
	log := t.listener.bus.log
	pause := &backoff.ExponentialBackOff{
		InitialInterval: reconnectMin, MaxInterval: reconnectMax,
		Multiplier: 2, RandomizationFactor: 0.5,
	}
	pause.Reset()
	for l.waitForTodo(ctx) {
		served, err := l.connectAndServe(ctx)
		if ctx.Err() != nil {
			return
		}
		t.linkLost(l.id, err)
		if served {
			pause.Reset()
		}
		if t.cluster {
			t.listener.bus.cluster.ReloadState(ctx) // its slots may have another owner soon
		}
		if !errors.Is(err, errMoved) {
			log.Warn("connection for subscriptions lost", "redis", t.listener.bus.addrs, "node", l.target, "error", err)
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-ctx.Done():
			return
		}
		l.handBack()
	}
}

// waitForTodo reports whether there is something to do, or else that the link
// has ended.
func (l *link) waitForTodo(ctx context.Context) bool {
	idle := time.NewTimer(keepIdle)
	defer idle.Stop()
	t := l.table
	for {
		t.mu.Lock()
		some := len(l.todo) > 0
		t.mu.Unlock()
		if some {
			return true
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return false
		case <-idle.C:
			if !t.cluster {
				idle.Reset(keepIdle) // the only link there is
				continue
			}
			t.mu.Lock()
			ended := len(l.todo) == 0
			if ended {
				delete(t.links, l.target)
			}
			t.mu.Unlock()
			if ended {
				return false
			}
		}
	}
}

// handBack gives channels back for routing: on a cluster another node may own
// them by now.
func (l *link) handBack() {
	t := l.table
	t.mu.Lock()
	defer t.mu.Unlock()
	t.todo = append(t.todo, l.todo...)
	l.todo = nil
	notify(t.wake)
}

// connectAndServe connects, sends what is to be sent and reads, until the
// connection breaks. served reports whether the server answered at all.
func (l *link) connectAndServe(ctx context.Context) (served bool, err error) {
	t := l.table
	connecting, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	t.mu.Lock()
	first := l.todo[0]
	t.mu.Unlock()
	node, err := t.node(connecting, l.target, first)
	if err != nil {
		return false, err
	}
	p := &permit{bus: t.listener.bus}
	l.permit.Store(p)
	defer l.permit.Store(nil)
	defer p.close()
	ended := context.AfterFunc(ctx, p.close) // Close need not wait for a write
	defer ended()

	l.mu.Lock()
	l.awaited, l.inFlight, l.since = []command{{kind: "pong"}}, 0, time.Now()
	l.mu.Unlock()
	l.heard.forget()
	ps := node.Subscribe(ctx) // without channels: no connection yet
	if err := ps.Ping(context.WithValue(connecting, permitKey{}, p)); err != nil {
		return false, errors.Join(err, ps.Close())
	}
	permitted := context.WithValue(ctx, permitKey{}, p)
	broken := make(chan error, 1)
	go func() { broken <- l.read(permitted, ps) }()
	err = l.write(permitted, ps, broken)
	p.close()
	_ = ps.Close() // closed already, for all it matters
	if readErr := <-broken; err == nil {
		err = readErr
	}
	return !l.heard.get().IsZero(), err
}

// write sends what the table wants and watches over the connection, until it
// fails or the reader does. It returns nil if the reader has an error to report.
func (l *link) write(ctx context.Context, ps *redis.PubSub, broken chan error) error {
	watch := time.NewTicker(max(min(pingIdle, pingTimeout)/4, time.Millisecond))
	defer watch.Stop()
	for {
		if err := l.send(ctx, ps); err != nil {
			return err
		}
		select {
		case <-l.wake:
		case err := <-broken:
			broken <- err
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-watch.C:
			silent, asked := l.silence()
			switch {
			case l.handing.Load(): // we do not listen: silence says nothing
			case asked && silent > pingTimeout:
				return fmt.Errorf("no answer for %v", silent.Round(time.Millisecond))
			case !asked && silent > pingIdle:
				if err := l.issue(ctx, command{kind: "pong"}, func(ctx context.Context) error { return ps.Ping(ctx) }); err != nil {
					return err
				}
			}
		}
	}
}

// silence tells how long the server has said nothing, and whether it has been
// asked: then, how long since it was asked, if that is shorter.
func (l *link) silence() (silent time.Duration, asked bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := l.since
	if heard := l.heard.get(); heard.After(since) {
		since = heard
	}
	return time.Since(since), len(l.awaited) > 0
}
