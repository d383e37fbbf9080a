package redisbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/message-gateway/gateway/internal/bus"
)

// errUnsubscribed fails a Subscribe call when Unsubscribe dropped a channel that
// the call still waited for.
var errUnsubscribed = errors.New("unsubscribed in the meantime")

// onServer is what the server was told about a channel, on the connection that
// carries it.
type onServer uint8

const (
	off           onServer = iota
	subscribing            // SUBSCRIBE was sent, its answer is awaited
	on                     // confirmed
	unsubscribing          // UNSUBSCRIBE was sent, its answer is awaited
)

// entry is what the table knows about a channel. There may be hundreds of
// thousands of them, so it is small.
//
// At most one command per channel is under way. A change of mind in between is
// only noted in want, and acted on when the answer is there: so whatever order
// Subscribe and Unsubscribe come in, the last one decides, and a confirmation
// never belongs to an older Subscribe.
type entry struct {
	link   uint32 // the link that carries it, if server is not off
	server onServer
	want   bool // it shall be subscribed
	held   bool // a Subscribe call for it has succeeded
	queued bool // it is in a todo list, and will be looked at
	lost   bool // it was on when its connection broke, and is not yet again
	alone  bool // the server refused a command that it shared with others
}

// subscribeCall is a Subscribe call that waits.
type subscribeCall struct {
	channels []string
	missing  int // channels that are not on
	done     chan struct{}
	err      error // set before done is closed
}

// table holds the channels of one kind. Its lock is never held during I/O.
type table struct {
	listener *listener
	cluster  bool // channels are sharded: routed by slot, SSUBSCRIBE

	mu      sync.Mutex
	closed  bool
	entries map[string]entry
	waiting map[string][]*subscribeCall // calls that have not ended, by channel
	todo    []string                    // channels to route to a link
	later   []string                    // the same, after a pause
	wake    chan struct{}               // todo or later is not empty
	lost    int                         // entries that are lost
	gap     bool                        // onGap is due when lost is 0
	links   map[string]*link            // by target; see route
	lastID  uint32
	lastErr error // why the last connection failed, for error texts
}

func newTable(l *listener, cluster bool) *table {
	return &table{
		listener: l, cluster: cluster,
		entries: make(map[string]entry),
		waiting: make(map[string][]*subscribeCall),
		wake:    make(chan struct{}, 1),
		links:   make(map[string]*link),
	}
}

// subscribe waits until every channel is confirmed.
func (t *table) subscribe(ctx context.Context, channels []string) error {
	c := t.begin(channels)
	select {
	case <-c.done:
	case <-ctx.Done():
		t.mu.Lock()
		t.end(c, ctx.Err())
		if t.lastErr != nil && c.err != nil {
			c.err = fmt.Errorf("%w (connection: %w)", c.err, t.lastErr)
		}
		t.mu.Unlock()
	}
	if c.err != nil && !errors.Is(c.err, bus.ErrClosed) {
		return fmt.Errorf("redis %s: subscribe: %w", t.listener.bus.addrs, c.err)
	}
	return c.err
}

// begin notes that the channels are wanted and asks for those that are not
// confirmed. A channel that is confirmed but not yet held belongs to another
// call that may fail: it is claimed too, so that it stays then.
func (t *table) begin(channels []string) *subscribeCall {
	c := &subscribeCall{channels: channels, done: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		c.err = bus.ErrClosed
		close(c.done)
		return c
	}
	for _, name := range channels {
		e := t.entries[name]
		if e.held && e.server == on {
			continue
		}
		t.waiting[name] = append(t.waiting[name], c)
		if e.server != on {
			c.missing++
		}
		if e.want {
			continue
		}
		e.want = true
		if e.server == off {
			t.queue(name, &e)
		}
		t.entries[name] = e
	}
	if c.missing == 0 {
		t.end(c, nil)
	}
	return c
}

// end finishes a call, once. If it succeeded its channels are held; if not,
// those go that nobody holds and no other call waits for.
func (t *table) end(c *subscribeCall, err error) {
	select {
	case <-c.done:
		return
	default:
	}
	c.err = err
	for _, name := range c.channels {
		calls := t.waiting[name]
		i := slices.Index(calls, c)
		if i < 0 {
			continue
		}
		if calls = slices.Delete(calls, i, i+1); len(calls) == 0 {
			delete(t.waiting, name)
		} else {
			t.waiting[name] = calls
		}
		e, known := t.entries[name]
		if !known {
			continue
		}
		if err == nil {
			e.held = true
			t.entries[name] = e
		} else if !e.held && len(calls) == 0 {
			t.drop(name, e)
		}
	}
	close(c.done)
}

// unsubscribe drops channels and fails the calls that wait for one of them.
func (t *table) unsubscribe(channels []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range channels {
		for _, c := range slices.Clone(t.waiting[name]) {
			t.end(c, errUnsubscribed)
		}
		if e, ok := t.entries[name]; ok {
			t.drop(name, e)
		}
	}
}

// drop notes that a channel is not wanted any more.
func (t *table) drop(name string, e entry) {
	e.want, e.held = false, false
	t.found(&e)
	switch {
	case e.server == off && !e.queued:
		delete(t.entries, name)
		return
	case e.server == on:
		t.queue(name, &e)
	}
	t.entries[name] = e
}

// found ends the state lost of an entry, and reports the gap after the last one.
func (t *table) found(e *entry) {
	if !e.lost {
		return
	}
	e.lost = false
	t.lost--
	t.reportGap()
}

func (t *table) reportGap() {
	if t.gap && t.lost == 0 {
		t.gap = false
		notify(t.listener.gapped)
	}
}

// queue puts a channel up for routing; e is stored by the caller.
func (t *table) queue(name string, e *entry) {
	if e.queued {
		return
	}
	e.queued = true
	t.todo = append(t.todo, name)
	notify(t.wake)
}

// confirmed takes the server's word that a channel is subscribed.
func (t *table) confirmed(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.entries[name]
	if !ok || e.server != subscribing {
		return
	}
	e.server, e.alone = on, false
	if !e.want {
		t.queue(name, &e)
		t.entries[name] = e
		return
	}
	t.found(&e)
	t.entries[name] = e
	for _, c := range slices.Clone(t.waiting[name]) {
		if c.missing--; c.missing == 0 {
			t.end(c, nil)
		}
	}
}

// gone takes note that the server does not know the channel any more, on the
// link with this id: because it was told so, or because the slot moved away.
func (t *table) gone(link uint32, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.entries[name]; ok && e.link == link && (e.server == on || e.server == unsubscribing) {
		t.turnedOff(name, e)
		t.reportGap()
	}
}

// turnedOff moves an entry to off and asks again if it is wanted.
func (t *table) turnedOff(name string, e entry) {
	if e.server == on {
		for _, c := range t.waiting[name] {
			c.missing++
		}
		if e.want && !e.lost {
			e.lost = true
			t.lost++
			t.gap = true
		}
	}
	e.server = off
	if !e.want {
		if !e.queued {
			delete(t.entries, name)
			return
		}
	} else {
		t.queue(name, &e)
	}
	t.entries[name] = e
}

// linkLost moves everything that a link carried to off.
func (t *table) linkLost(link uint32, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lastErr = err
	for name, e := range t.entries {
		if e.link == link && e.server != off {
			t.turnedOff(name, e)
		}
	}
	t.reportGap()
}

// refused deals with a command that the server answered with an error. What the
// cluster will accept elsewhere or later is asked for again after a pause. A
// channel that is refused for good (the ACL) is taken out of its batch first,
// to spare the others.
func (t *table) refused(link uint32, names []string, err error, transient bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range names {
		e, ok := t.entries[name]
		if !ok || e.link != link {
			continue
		}
		switch {
		case e.server != subscribing || !e.want:
			t.turnedOff(name, e)
		case transient:
			e.server, e.queued = off, true
			t.entries[name] = e
			t.later = append(t.later, name)
			notify(t.wake)
		case len(names) > 1:
			e.server, e.alone = off, true
			t.queue(name, &e)
			t.entries[name] = e
		default:
			t.refusedForGood(name, e, err)
		}
	}
}

func (t *table) refusedForGood(name string, e entry, err error) {
	e.server = off
	t.entries[name] = e
	for _, c := range slices.Clone(t.waiting[name]) {
		t.end(c, err)
	}
	e, ok := t.entries[name]
	if !ok {
		return
	}
	if e.held {
		t.listener.bus.log.Error("a subscription was refused after a reconnect, and is lost",
			"redis", t.listener.bus.addrs, "channel", name, "error", err)
	}
	t.drop(name, e)
}

// close fails every call and drops what is held; links end with the listener's
// context.
func (t *table) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for len(t.waiting) > 0 {
		for _, calls := range t.waiting {
			t.end(calls[0], bus.ErrClosed)
			break
		}
	}
	clear(t.entries)
	t.lost, t.gap = 0, false
}
