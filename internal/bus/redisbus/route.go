package redisbus

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// pauseTransient is how long the table waits before it asks again for what a
// cluster refused: go-redis reloads the map of slots in the meantime.
const pauseTransient = 100 * time.Millisecond

// anyServer is the target of channels that every server carries.
const anyServer = ""

// route hands channels that need a command to the links that carry them. It is
// one goroutine, because finding the owner of a slot may take a round trip.
func (t *table) route() {
	pause := time.NewTimer(0)
	defer pause.Stop()
	ctx := t.listener.ctx
	armed := true
	for {
		t.mu.Lock()
		names := t.todo
		t.todo = nil
		t.mu.Unlock()
		t.distribute(ctx, names)
		t.mu.Lock()
		if len(t.later) > 0 && !armed {
			armed = true
			pause.Reset(pauseTransient)
		}
		t.mu.Unlock()
		select {
		case <-t.wake:
		case <-pause.C:
			armed = false
			t.mu.Lock()
			t.todo = append(t.todo, t.later...)
			t.later = nil
			t.mu.Unlock()
		case <-ctx.Done():
			return
		}
	}
}

// distribute appends each channel to the todo list of its link.
func (t *table) distribute(ctx context.Context, names []string) {
	byTarget := make(map[string][]string)
	var failed []string
	for _, name := range names {
		target, err := t.target(ctx, name)
		if err != nil {
			failed = append(failed, name)
			t.mu.Lock()
			t.lastErr = err
			t.mu.Unlock()
			continue
		}
		byTarget[target] = append(byTarget[target], name)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.later = append(t.later, failed...)
	if t.closed {
		return
	}
	for target, names := range byTarget {
		l := t.links[target]
		if l == nil {
			t.lastID++
			l = newLink(t, t.lastID, target)
			t.links[target] = l
			t.listener.running.Go(l.run)
		}
		l.todo = append(l.todo, names...)
		notify(l.wake)
	}
}

// target is where a channel's next command goes: to the link that carries it,
// or else to the node that shall.
func (t *table) target(ctx context.Context, name string) (string, error) {
	if !t.cluster {
		return anyServer, nil
	}
	t.mu.Lock()
	e := t.entries[name]
	if e.server != off {
		for target, l := range t.links {
			if l.id == e.link {
				t.mu.Unlock()
				return target, nil
			}
		}
	}
	t.mu.Unlock()
	node, err := t.listener.bus.cluster.MasterForKey(ctx, name)
	if err != nil {
		return "", err
	}
	return node.Options().Addr, nil
}

// node finds the client of a link's target. errMoved says that the target does
// not own the slot of first any more.
func (t *table) node(ctx context.Context, target, first string) (*redis.Client, error) {
	b := t.listener.bus
	switch {
	case b.cluster == nil:
		return b.client.(*redis.Client), nil //nolint:forcetypeassert // newBus takes no third kind
	case target == anyServer:
		return b.randomMaster(ctx)
	}
	node, err := b.cluster.MasterForKey(ctx, first)
	if err != nil {
		return nil, err
	}
	if node.Options().Addr != target {
		return nil, errMoved
	}
	return node, nil
}

// errMoved ends a link whose channels belong to another node.
var errMoved = errors.New("the slot belongs to another node")

// randomMaster spreads the listeners over the masters of a cluster.
func (b *Bus) randomMaster(ctx context.Context) (*redis.Client, error) {
	found := make(chan *redis.Client, slots) // a cluster has no more masters
	err := b.cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
		found <- node
		return nil
	})
	close(found)
	var masters []*redis.Client
	for node := range found {
		masters = append(masters, node)
	}
	if len(masters) == 0 {
		return nil, errors.Join(errors.New("the cluster has no master"), err)
	}
	return masters[rand.IntN(len(masters))], nil
}

// leave makes links reconnect that lead elsewhere than to remote.
func (t *table) leave(remote string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.links {
		if p := l.permit.Load(); p != nil && p.leadsElsewhere(remote) {
			p.close()
		}
	}
}
