package redisbus

import (
	"context"
	"sync"

	"github.com/message-gateway/gateway/internal/bus"
)

// listener is a bus.Listener. On a cluster it keeps two tables, for PUBLISH and
// SPUBLISH channels; elsewhere both share one, and a channel is the same
// whether it is asked for as sharded or not.
type listener struct {
	bus     *Bus
	handler bus.Handler
	onGap   func()

	plain, sharded *table

	ctx     context.Context // ends when Close begins
	stop    context.CancelFunc
	handing sync.Mutex    // one handler call at a time, over all connections
	gapped  chan struct{} // onGap is due
	running sync.WaitGroup
}

// Listen starts a listener. It connects with the first channel. The handler is
// called by the goroutine that reads from Redis: while it blocks, messages pile
// up in the server, which after its client-output-buffer-limit cuts the
// connection; that is a gap like any other.
//
// On a closed Bus it returns a listener that is closed.
func (b *Bus) Listen(handler bus.Handler, onGap func()) bus.Listener {
	l := &listener{bus: b, handler: handler, onGap: onGap, gapped: make(chan struct{}, 1)}
	l.ctx, l.stop = context.WithCancel(b.closing)
	l.plain = newTable(l, false)
	l.sharded = l.plain
	if b.cluster != nil {
		l.sharded = newTable(l, true)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		l.plain.close()
		l.sharded.close()
		return l
	}
	b.listeners[l] = struct{}{}
	l.running.Go(l.reportGaps)
	l.running.Go(l.plain.route)
	if l.sharded != l.plain {
		l.running.Go(l.sharded.route)
	}
	return l
}

func (l *listener) table(sharded bool) *table {
	if sharded {
		return l.sharded
	}
	return l.plain
}

// Subscribe returns once the server has confirmed every channel.
func (l *listener) Subscribe(ctx context.Context, sharded bool, channels ...string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.table(sharded).subscribe(ctx, channels)
}

// Unsubscribe drops channels.
func (l *listener) Unsubscribe(sharded bool, channels ...string) {
	l.table(sharded).unsubscribe(channels)
}

// Close ends every subscription and waits until handler and onGap have
// returned. It is safe to call twice.
func (l *listener) Close() error {
	l.stop()
	l.plain.close()
	l.sharded.close()
	l.running.Wait()
	l.bus.mu.Lock()
	delete(l.bus.listeners, l)
	l.bus.mu.Unlock()
	return nil
}

// hand passes a message to the handler.
func (l *listener) hand(channel string, payload []byte) {
	l.handing.Lock()
	defer l.handing.Unlock()
	if l.ctx.Err() == nil {
		l.handler(channel, payload)
	}
}

// reportGaps calls onGap, apart from the goroutines that call the handler.
func (l *listener) reportGaps() {
	for {
		select {
		case <-l.gapped:
			l.onGap()
		case <-l.ctx.Done():
			return
		}
	}
}

// serverMoved moves the listeners and pipes of a bus without cluster to the
// server that its commands go to now. After a failover of Sentinel the former master may
// live on as a replica: it still hands on what is published, but its
// subscribers are not counted.
func (b *Bus) serverMoved(remote string) {
	if b.cluster != nil {
		return // links follow the owners of slots
	}
	b.mu.Lock()
	open := make([]*listener, 0, len(b.listeners))
	for l := range b.listeners {
		open = append(open, l)
	}
	b.mu.Unlock()
	for _, l := range open {
		l.plain.leave(remote)
	}
	b.single.publishing.leave(remote)
	b.single.drawing.leave(remote)
}

// notify leaves a signal in c; one that waits there already is enough.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
