package node

import (
	"context"
	"sync"
	"time"

	"github.com/message-gateway/gateway/internal/bus"
)

// subscribeTimeout bounds a subscription; a device whose channels cannot be
// subscribed is refused, and tries again.
const subscribeTimeout = 5 * time.Second

// channel is a channel of the bus and how it is subscribed.
type channel struct {
	name    string
	sharded bool
}

// topics counts who on this node needs a channel, so that it is subscribed
// once, and dropped with the last.
type topics struct {
	listener bus.Listener

	mu sync.Mutex
	m  map[channel]topic
}

// topic is small: there are several for each connection.
type topic struct {
	refs int
	sub  *subscription // nil once the channel is subscribed
}

// subscription is one Subscribe call, for one or more channels.
type subscription struct {
	ready chan struct{} // closed when err is set
	err   error
}

// acquire returns when all channels are subscribed: everything published after
// that arrives. A success must be paid back with release; after an error none
// of them is held.
func (t *topics) acquire(ctx context.Context, channels ...channel) error {
	t.mu.Lock()
	if t.m == nil {
		t.m = map[channel]topic{}
	}
	waits := make([]*subscription, 0, len(channels))
	var fresh *subscription
	var names [2][]string // plain and sharded
	for _, c := range channels {
		entry, ok := t.m[c]
		if !ok {
			if fresh == nil {
				fresh = &subscription{ready: make(chan struct{})}
			}
			entry = topic{sub: fresh}
			kind := 0
			if c.sharded {
				kind = 1
			}
			names[kind] = append(names[kind], c.name)
		}
		entry.refs++
		t.m[c] = entry
		if entry.sub != nil && (len(waits) == 0 || waits[len(waits)-1] != entry.sub) {
			waits = append(waits, entry.sub)
		}
	}
	t.mu.Unlock()

	if fresh != nil {
		fresh.err = t.subscribe(ctx, names)
		close(fresh.ready)
		t.subscribed(fresh, channels)
	}
	for _, sub := range waits {
		err := ctx.Err()
		select {
		case <-sub.ready:
			err = sub.err
		case <-ctx.Done():
		}
		if err != nil {
			t.release(channels...)
			return err
		}
	}
	return nil
}

// subscribed lets go of a subscription that succeeded: nobody has to wait for it.
func (t *topics) subscribed(sub *subscription, channels []channel) {
	if sub.err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range channels {
		if entry, ok := t.m[c]; ok && entry.sub == sub {
			entry.sub = nil
			t.m[c] = entry
		}
	}
}

// subscribe does it for all who come meanwhile as well, so the ctx of the first
// must not decide for them.
func (t *topics) subscribe(ctx context.Context, names [2][]string) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), subscribeTimeout)
	defer cancel()
	var errs [2]error
	var wg sync.WaitGroup
	for kind := range names {
		if len(names[kind]) > 0 {
			wg.Go(func() { errs[kind] = t.listener.Subscribe(bounded, kind == 1, names[kind]...) })
		}
	}
	wg.Wait()
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

// release gives channels back.
func (t *topics) release(channels ...channel) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range channels {
		entry := t.m[c]
		entry.refs--
		t.m[c] = entry
		if entry.refs == 0 {
			delete(t.m, c)
			// Under the lock, so that a Subscribe of the same channel comes after.
			t.listener.Unsubscribe(c.sharded, c.name)
		}
	}
}
