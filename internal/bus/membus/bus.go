package membus

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/telemetry"
)

// Bus is one handle on a Hub. Its methods may be called from several
// goroutines at once; none of them waits for a handler except Close.
type Bus struct {
	hub     *Hub
	dropped atomic.Uint64

	mu        sync.Mutex
	closed    bool
	listeners map[*listener]struct{}
}

var _ bus.Bus = (*Bus)(nil)

// Publish queues each message for every listener of its channel. The payload
// is copied, once for all of them. A listener whose queue is full does not get
// the message and is not counted; see Listen.
func (b *Bus) Publish(ctx context.Context, pubs []bus.Publication) ([]int64, error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	receivers := make([]int64, len(pubs))
	// One at a time, so that messages reach all listeners in one order, as on
	// a Redis server: who hears an answer has heard what came before it.
	b.hub.mu.Lock()
	defer b.hub.mu.Unlock()
	for i := range pubs {
		subscribed := b.hub.channels[pubs[i].Channel]
		if len(subscribed) == 0 {
			continue
		}
		m := message{channel: pubs[i].Channel, payload: bytes.Clone(pubs[i].Payload)}
		for _, l := range subscribed {
			if l.enqueue(m) {
				receivers[i]++
			}
		}
	}
	return receivers, nil
}

// NextSeqs draws the next number for each request.
func (b *Bus) NextSeqs(ctx context.Context, reqs []bus.SeqRequest) ([]int64, error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	return b.hub.nextSeqs(reqs)
}

// Epoch never changes: the counters live as long as the Hub.
func (b *Bus) Epoch() uint64 { return 1 }

// Subscribers counts the listeners of each channel.
func (b *Bus) Subscribers(ctx context.Context, _ bool, channels []string) ([]int64, error) {
	if err := b.usable(ctx); err != nil {
		return nil, err
	}
	counts := make([]int64, len(channels))
	b.hub.mu.RLock()
	defer b.hub.mu.RUnlock()
	for i, c := range channels {
		counts[i] = int64(len(b.hub.channels[c]))
	}
	return counts, nil
}

// Listen starts a listener. Messages wait for a slow handler in a queue of at
// most queueMessages messages or queueBytes bytes. What does not fit is dropped,
// and onGap is called once the queue has drained.
//
// On a closed Bus it returns a listener that is closed.
func (b *Bus) Listen(handler bus.Handler, onGap func()) bus.Listener {
	l := newListener(b, handler, onGap)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		l.closed = true
		return l
	}
	b.listeners[l] = struct{}{}
	l.start()
	return l
}

// Dropped counts the messages that did not fit into the queue of one of this
// bus's listeners.
func (b *Bus) Dropped() uint64 { return b.dropped.Load() }

// Queues are what waits for the handlers of this bus's listeners.
func (b *Bus) Queues() []telemetry.Queue {
	sum := func(of func(*listener) int) func() int {
		return func() (n int) {
			b.mu.Lock()
			open := slices.Collect(maps.Keys(b.listeners))
			b.mu.Unlock()
			for _, l := range open {
				n += of(l)
			}
			return n
		}
	}
	return []telemetry.Queue{{
		Name:   telemetry.QueueBus,
		Length: sum(func(l *listener) int { n, _ := l.waiting(); return n }), Limit: sum(func(*listener) int { return queueMessages }),
		Bytes: sum(func(l *listener) int { _, n := l.waiting(); return n }), ByteLimit: sum(func(*listener) int { return queueBytes }),
	}}
}

// TryLock takes or renews a lock.
func (b *Bus) TryLock(ctx context.Context, key, owner string, ttl time.Duration) (bool, error) {
	if err := b.usable(ctx); err != nil {
		return false, err
	}
	if ttl <= 0 {
		return false, fmt.Errorf("lock %q: a time to live of %v is not above 0", key, ttl)
	}
	return b.hub.tryLock(key, owner, ttl), nil
}

// Unlock releases a lock that owner holds.
func (b *Bus) Unlock(ctx context.Context, key, owner string) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	b.hub.unlock(key, owner)
	return nil
}

// Ping reports whether the bus is open.
func (b *Bus) Ping(ctx context.Context) error { return b.usable(ctx) }

// Close ends the listeners of this bus. It is safe to call twice.
func (b *Bus) Close() error {
	b.mu.Lock()
	b.closed = true
	open := make([]*listener, 0, len(b.listeners))
	for l := range b.listeners {
		open = append(open, l)
	}
	b.mu.Unlock()
	for _, l := range open {
		_ = l.Close() // never fails
	}
	return nil
}

// usable is the check every call starts with: after Close, or once ctx ended,
// nothing happens any more.
func (b *Bus) usable(ctx context.Context) error {
	b.mu.Lock()
	closed := b.closed
	b.mu.Unlock()
	if closed {
		return bus.ErrClosed
	}
	return ctx.Err()
}

func (b *Bus) forget(l *listener) {
	b.mu.Lock()
	delete(b.listeners, l)
	b.mu.Unlock()
}
