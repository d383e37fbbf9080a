package node

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/wire"
)

// Bounds of views.
const (
	// statePage is how many states a node sends at once.
	statePage = 500
	// maxViewed is how many states of one group are kept. Changes of more are
	// passed on, but are in no snapshot and do not vanish with their node.
	maxViewed = 10_000
	// rememberCleared is how long a state that ended is remembered, so that an
	// older change that comes late does not bring it back.
	rememberCleared = 10 * time.Second
	// viewTimeout bounds one gathering, healParallel how many run at once
	// beside those that devices wait for.
	viewTimeout  = 3 * time.Second
	healParallel = 8
)

// viewKey names a group.
type viewKey struct{ hub, group string }

// stateViews are the groups of which devices on this node watch the states.
type stateViews struct {
	node *Node
	wake chan struct{} // heal now

	mu sync.Mutex
	m  map[viewKey]*stateView
}

// stateView is what is known of the states in one group. First it gathers them
// from all nodes that have members; from then on it follows the changes that
// they publish. Each state has a time that only grows, so that it does not
// matter which of the two comes first.
//
// Locks: that of a hub may be held when mu is taken, and mu when that of a
// session or of groupStates is.
type stateView struct {
	stateViews *stateViews
	key        viewKey
	refs       int           // guarded by the lock of the views
	ready      chan struct{} // closed when the states are gathered, or err is set
	err        error
	// doubtful: something may have been missed, gather again.
	doubtful atomic.Bool

	mu      sync.Mutex
	entries map[string]*viewEntry // by connection
	watches map[*stateWatch]struct{}
	// round counts gatherings.
	round uint64
	// lagging is set while a timer waits for devices to keep up.
	lagging *time.Timer
}

// viewEntry is the state of one connection, or that it had one a moment ago.
type viewEntry struct {
	control.State
	node string
	// round is that of the last gathering or change that knew it; missed says
	// that a gathering after that did not.
	round  uint64
	missed bool
	// clearedAt is when the state ended here; see rememberCleared.
	clearedAt time.Time
}

// open returns the view of a group when its states are known. The connection
// that wants it must be in the group. A success is paid back with release.
func (t *stateViews) open(ctx context.Context, key viewKey) (*stateView, error) {
	t.mu.Lock()
	v, ok := t.m[key]
	if !ok {
		v = &stateView{
			stateViews: t, key: key, ready: make(chan struct{}),
			entries: map[string]*viewEntry{}, watches: map[*stateWatch]struct{}{},
		}
		if t.m == nil {
			t.m = map[viewKey]*stateView{}
		}
		t.m[key] = v
	}
	v.refs++
	t.mu.Unlock()
	if !ok {
		v.fill(ctx)
	}
	err := ctx.Err()
	select {
	case <-v.ready:
		err = v.err
	case <-ctx.Done():
	}
	if err != nil {
		t.release(v)
		return nil, err
	}
	return v, nil
}

// fill does it for all who come meanwhile as well, so the ctx of the first must
// not decide for them.
func (v *stateView) fill(ctx context.Context) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewTimeout)
	defer cancel()
	if v.err = v.gather(bounded, false); v.err != nil {
		v.stateViews.mu.Lock()
		if v.stateViews.m[v.key] == v {
			delete(v.stateViews.m, v.key) // the next one tries again
		}
		v.stateViews.mu.Unlock()
	}
	close(v.ready)
}

func (t *stateViews) release(v *stateView) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v.refs--
	if v.refs == 0 && t.m[v.key] == v {
		delete(t.m, v.key)
	}
}

func (t *stateViews) get(key viewKey) *stateView {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m[key]
}

func (t *stateViews) all() []*stateView {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*stateView, 0, len(t.m))
	for _, v := range t.m {
		list = append(list, v)
	}
	return list
}

// receive takes a change that a node published. It must not block.
func (t *stateViews) receive(target wire.HubChannel, m *control.StateChange) {
	v := t.get(viewKey{target.Hub, target.ID})
	if v == nil || target.Kind != wire.TargetGroup {
		return
	}
	t.node.peers.alive(m.Node)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.learn(m.Node, m.State, true)
}

// learn takes a state; the lock is held. tell says that the devices do not know
// it yet.
func (v *stateView) learn(node string, state control.State, tell bool) {
	e := v.entries[state.ConnectionID]
	if e != nil {
		if state.UpdatedAt < e.UpdatedAt {
			return
		}
		e.round, e.missed = v.round, false
		if state.UpdatedAt == e.UpdatedAt {
			if e.Entries != nil {
				e.node = node // the connection may have moved
			}
			return
		}
	} else {
		e = &viewEntry{round: v.round}
		if len(v.entries) < maxViewed {
			v.entries[state.ConnectionID] = e
		}
	}
	e.State, e.node, e.clearedAt = state, node, time.Time{}
	if state.Entries == nil {
		e.clearedAt = time.Now()
	}
	if tell {
		v.tell(state)
	}
}

// gather asks every node that has members. tell says that the devices are to
// hear of what was missed.
func (v *stateView) gather(ctx context.Context, tell bool) error {
	v.mu.Lock()
	v.round++
	round := v.round
	v.mu.Unlock()
	n := v.stateViews.node
	complete, after := true, ""
	for more := true; more; {
		replies, err := n.caller.Call(ctx, n.groupChannel(v.key.hub, v.key.group).name, control.Call{
			Op: control.OpStates, Group: v.key.group, After: after, Limit: statePage,
		})
		if err != nil && replies == nil {
			return err // nobody was asked
		}
		complete = complete && err == nil
		after, more = v.learnAll(replies, tell)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !complete {
		v.doubtful.Store(true)
		return nil
	}
	now := time.Now()
	for id, e := range v.entries {
		switch {
		case e.Entries == nil:
			if now.Sub(e.clearedAt) > rememberCleared {
				delete(v.entries, id)
			}
		case e.round >= round:
		case e.missed:
			v.end(e)
		default:
			// It may be on its way from one node to another: ask once more.
			e.missed = true
			v.doubtful.Store(true)
		}
	}
	return nil
}

// learnAll takes one page of every node, and says where the next one begins.
func (v *stateView) learnAll(replies []*control.Reply, tell bool) (next string, more bool) {
	for _, r := range replies {
		if len(r.States) > 0 {
			v.stateViews.node.peers.alive(r.Node)
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range replies {
		for _, state := range r.States {
			v.learn(r.Node, state, tell)
		}
		if len(r.States) < statePage {
			continue
		}
		if last := r.States[len(r.States)-1].ConnectionID; !more || last < next {
			next, more = last, true
		}
	}
	return next, more
}

// end tells devices that the node of a state is gone; the lock is held.
func (v *stateView) end(e *viewEntry) {
	e.Entries = nil
	e.UpdatedAt++
	e.missed, e.clearedAt = false, time.Now()
	v.tell(e.State)
}

// vanish ends the states that a dead node held.
func (t *stateViews) vanish(node string) {
	for _, v := range t.all() {
		v.mu.Lock()
		for _, e := range v.entries {
			if e.node == node && e.Entries != nil {
				v.end(e)
			}
		}
		v.mu.Unlock()
	}
}

// doubt makes every view gather again.
func (t *stateViews) doubt() {
	for _, v := range t.all() {
		v.doubtful.Store(true)
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// run heals at a slow pace, and at once after doubt.
func (t *stateViews) run(ctx context.Context) {
	tick := time.NewTicker(pulseInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-t.wake:
		}
		t.heal(ctx)
	}
}

// heal gathers for the views that are in doubt, and forgets what ended.
func (t *stateViews) heal(ctx context.Context) {
	var wg sync.WaitGroup
	limit := make(chan struct{}, healParallel)
	for _, v := range t.all() {
		v.forget()
		select {
		case <-v.ready:
		default:
			continue // it gathers just now; in doubt, the next turn does it again
		}
		if !v.doubtful.Swap(false) {
			continue
		}
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			bounded, cancel := context.WithTimeout(ctx, viewTimeout)
			defer cancel()
			if err := v.gather(bounded, true); err != nil {
				v.doubtful.Store(true)
			}
		})
	}
	wg.Wait()
}

// forget drops states that ended long enough ago.
func (v *stateView) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	for id, e := range v.entries {
		if e.Entries == nil && now.Sub(e.clearedAt) > rememberCleared {
			delete(v.entries, id)
		}
	}
}

// snapshot is what the protocol says of it: the first of the states by
// connection. The lock is held.
func (v *stateView) snapshot() *protocol.Shared {
	g := &protocol.GroupState{Group: v.key.group, Snapshot: true}
	for _, e := range v.entries {
		if e.Entries != nil {
			g.Items = append(g.Items, stateItem(e.State))
		}
	}
	slices.SortFunc(g.Items, func(a, b protocol.GroupStateItem) int { return cmp.Compare(a.ConnectionID, b.ConnectionID) })
	g.Items = g.Items[:min(len(g.Items), maxItems)]
	return protocol.NewSharedState(g)
}

func stateItem(s control.State) protocol.GroupStateItem {
	return protocol.GroupStateItem{ConnectionID: s.ConnectionID, UserID: s.UserID, State: s.Entries, UpdatedAt: s.UpdatedAt}
}

// listStates answers another node's question, or this one's.
func (n *Node) listStates(list []*session, call *control.Call) *control.Reply {
	r := &control.Reply{Count: len(list), Node: n.id}
	for _, s := range list {
		if s.id <= call.After {
			continue
		}
		if state, ok := s.stateIn(call.Group); ok {
			r.States = append(r.States, state)
		}
	}
	slices.SortFunc(r.States, func(a, b control.State) int { return cmp.Compare(a.ConnectionID, b.ConnectionID) })
	r.States = r.States[:min(call.Limit, len(r.States))]
	return r
}
