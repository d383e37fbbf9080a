package node

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/node/console"
)

// traffic counts messages for the console; nil, which counts nothing, where
// there is none.
type traffic struct{ in, out atomic.Int64 }

func (t *traffic) received() {
	if t != nil {
		t.in.Add(1)
	}
}

func (t *traffic) sent() {
	if t != nil {
		t.out.Add(1)
	}
}

// inspector implements console.Source: what the console shows of a node.
type inspector struct{ n *Node }

var _ console.Source = inspector{}

// Node describes the node.
func (i inspector) Node() console.Node {
	n := i.n
	return console.Node{
		ID: n.id, Since: n.since, Connections: n.Connections(), In: n.traffic.in.Load(), Out: n.traffic.out.Load(),
	}
}

// Nodes counts who is subscribed to the channel of all nodes.
func (i inspector) Nodes(ctx context.Context) (int, error) {
	counts, err := i.n.core.Bus.Subscribers(ctx, true, []string{i.n.core.Names.Nodes()})
	if err != nil {
		return 0, err
	}
	return int(counts[0]), nil
}

// Count asks every node that is concerned.
func (i inspector) Count(ctx context.Context, hub, group string) (int, error) {
	names, key := i.n.core.Names, hubKey(hub)
	channel := names.HubAll(key)
	if group != "" {
		channel = names.HubGroup(key, group)
	}
	replies, err := i.n.caller.Call(ctx, channel, control.Call{Op: control.OpCount})
	total := 0
	for _, r := range replies {
		total += r.Count
	}
	return total, err
}

// Hubs lists hubs by name.
func (i inspector) Hubs(limit int) []console.Hub {
	t := &i.n.hubs
	t.mu.RLock()
	defer t.mu.RUnlock()
	p := newPage[*hub]("", limit)
	for name, h := range t.m {
		p.offer(name, h)
	}
	list := make([]console.Hub, len(p.keys))
	for j, h := range p.items {
		h.mu.RLock()
		list[j] = console.Hub{Name: p.keys[j], Connections: len(h.sessions), Users: len(h.users), Groups: len(h.groups)}
		h.mu.RUnlock()
	}
	return list
}

// Connections lists connections by id.
func (i inspector) Connections(q console.Query) []console.Connection {
	h := i.n.hubs.get(hubKey(q.Hub))
	if h == nil {
		return nil
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	p := newPage[*session](q.After, q.Limit)
	if q.User != "" {
		for s := range h.users[q.User] {
			p.offer(s.id, s)
		}
	} else {
		for id, s := range h.sessions {
			p.offer(id, s)
		}
	}
	list := make([]console.Connection, len(p.items))
	for j, s := range p.items {
		list[j] = s.inspect()
	}
	return list
}

// inspect describes the session; the hub's lock is held.
func (s *session) inspect() console.Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	state := "live"
	switch s.state {
	case sessionOpening:
		state = "opening"
	case sessionLive:
	case sessionDetached, sessionMoved, sessionEnded:
		state = "away"
	}
	return console.Connection{
		ID: s.id, UserID: s.userID, Hub: s.hub, Subprotocol: s.name, Since: time.UnixMilli(s.since).UTC(), State: state,
		Groups: len(s.groups), Unacknowledged: len(s.out.frames),
	}
}

// Users lists users by id.
func (i inspector) Users(q console.Query) []console.User {
	return sets(i.n.hubs.get(hubKey(q.Hub)), q, func(h *hub) map[string]members { return h.users },
		func(id string, n int) console.User { return console.User{ID: id, Connections: n} })
}

// Groups lists groups by name.
func (i inspector) Groups(q console.Query) []console.Group {
	return sets(i.n.hubs.get(hubKey(q.Hub)), q, func(h *hub) map[string]members { return h.groups },
		func(name string, n int) console.Group { return console.Group{Name: name, Connections: n} })
}

// sets lists sets of connections by name, with their sizes.
func sets[T any](h *hub, q console.Query, of func(*hub) map[string]members, entry func(string, int) T) []T {
	if h == nil {
		return nil
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	p := newPage[T](q.After, q.Limit)
	for name, set := range of(h) {
		p.offer(name, entry(name, len(set)))
	}
	return p.items
}

// page keeps, of all that it is offered, the first entries behind after. What
// it holds does not grow with what it is offered.
type page[T any] struct {
	after string
	limit int
	keys  []string
	items []T
}

func newPage[T any](after string, limit int) *page[T] { return &page[T]{after: after, limit: limit} }

func (p *page[T]) offer(key string, item T) {
	full := len(p.keys) == p.limit
	if key <= p.after && p.after != "" || full && cmp.Compare(key, p.keys[p.limit-1]) > 0 {
		return
	}
	at, _ := slices.BinarySearch(p.keys, key)
	if full {
		p.keys, p.items = p.keys[:p.limit-1], p.items[:p.limit-1]
	}
	p.keys, p.items = slices.Insert(p.keys, at, key), slices.Insert(p.items, at, item)
}
