package membus

import (
	"context"
	"slices"
	"sync"

	"github.com/message-gateway/gateway/internal/bus"
)

// Limits of the queue between Publish and a handler. At either of them
// messages are dropped, counted (Bus.Dropped), and onGap is called: the listener learns that
// it missed something, as it does when a connection to Redis breaks.
const (
	queueMessages = 64 << 10
	queueBytes    = 64 << 20
)

type message struct {
	channel string
	payload []byte
}

// listener is a bus.Listener. Lock order: hub.mu before listener.mu; bus.mu is
// never held while either of them is taken.
type listener struct {
	bus     *Bus
	handler bus.Handler
	onGap   func()

	channels map[string]struct{} // guarded by hub.mu

	mu     sync.Mutex
	queue  []message
	bytes  int
	gap    bool // messages were dropped since onGap was last signalled
	closed bool

	ready   chan struct{} // the queue is not empty, or the listener closed
	gapped  chan struct{} // onGap is due
	done    chan struct{}
	running sync.WaitGroup
}

func newListener(b *Bus, handler bus.Handler, onGap func()) *listener {
	return &listener{
		bus: b, handler: handler, onGap: onGap,
		channels: make(map[string]struct{}),
		ready:    make(chan struct{}, 1),
		gapped:   make(chan struct{}, 1),
		done:     make(chan struct{}),
	}
}

func (l *listener) start() {
	l.running.Go(l.deliver)
	l.running.Go(l.report)
}

// Subscribe adds channels. It does not wait: nothing stands between the hub and
// its listeners.
func (l *listener) Subscribe(ctx context.Context, _ bool, channels ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h := l.bus.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return bus.ErrClosed
	}
	for _, c := range channels {
		if _, ok := l.channels[c]; ok {
			continue
		}
		l.channels[c] = struct{}{}
		h.channels[c] = append(h.channels[c], l)
	}
	return nil
}

// Unsubscribe drops channels. Messages that are queued already still arrive.
func (l *listener) Unsubscribe(_ bool, channels ...string) {
	h := l.bus.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range channels {
		l.remove(c)
	}
}

// remove drops one channel; hub.mu is held.
func (l *listener) remove(channel string) {
	if _, ok := l.channels[channel]; !ok {
		return
	}
	delete(l.channels, channel)
	h := l.bus.hub
	rest := slices.DeleteFunc(h.channels[channel], func(other *listener) bool { return other == l })
	if len(rest) == 0 {
		delete(h.channels, channel)
		return
	}
	h.channels[channel] = rest
}

// Close ends every subscription, drops what is queued, and waits until handler
// and onGap have returned. It is safe to call twice.
func (l *listener) Close() error {
	h := l.bus.hub
	h.mu.Lock()
	for c := range l.channels {
		l.remove(c)
	}
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.queue, l.bytes = nil, 0
	l.mu.Unlock()
	h.mu.Unlock()
	if first {
		close(l.done)
	}
	l.running.Wait()
	l.bus.forget(l)
	return nil
}

// enqueue hands a message to the delivering goroutine and reports whether there
// was room. A message larger than the whole queue passes while it is empty.
func (l *listener) enqueue(m message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	full := len(l.queue) >= queueMessages || l.bytes+len(m.payload) > queueBytes
	if full && len(l.queue) > 0 {
		l.gap = true
		l.bus.dropped.Add(1)
		return false
	}
	l.queue = append(l.queue, m)
	l.bytes += len(m.payload)
	notify(l.ready)
	return true
}

// waiting is what the delivering goroutine has not taken: messages and bytes.
func (l *listener) waiting() (messages, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue), l.bytes
}

// deliver calls the handler until the listener closes. It takes the whole queue
// at a time; gap is due when a round left nothing behind.
func (l *listener) deliver() {
	var batch []message
	for {
		select {
		case <-l.ready:
		case <-l.done:
			return
		}
		l.mu.Lock()
		batch, l.queue = l.queue, batch[:0]
		l.bytes = 0
		l.mu.Unlock()
		for i := range batch {
			select {
			case <-l.done:
				return
			default:
			}
			l.handler(batch[i].channel, batch[i].payload)
			batch[i] = message{}
		}
		if cap(batch) > queueMessages/16 {
			batch = nil // a burst does not keep its memory
		}
		l.mu.Lock()
		due := l.gap && len(l.queue) == 0
		if due {
			l.gap = false
		}
		l.mu.Unlock()
		if due {
			notify(l.gapped)
		}
	}
}

// report calls onGap, apart from the handler's goroutine.
func (l *listener) report() {
	for {
		select {
		case <-l.gapped:
			l.onGap()
		case <-l.done:
			return
		}
	}
}

// notify leaves a signal in c; one that waits there already is enough.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
