package node

import (
	"context"
	"errors"
	"sync"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
)

// A member of a group may have a state there, which other members watch
// (specification, section 3.9). The node that holds a connection keeps its
// states, and publishes each change on the channel of the group. The nodes of
// those who watch keep a view of all states of the group: see stateView.

// groupStates are the states of one connection, and the groups whose states it
// watches.
//
// Locks: mu may be taken when any other lock is held.
type groupStates struct {
	mu sync.Mutex
	// last is when the connection last changed a state.
	last    int64
	states  map[string]control.State // by group
	watches map[string]*stateWatch   // by group
	// over: the connection has ended or moved, nothing changes any more.
	over bool
}

var (
	errNotMember     = &requestError{ackForbidden, "the connection is not in the group"}
	errStateTooLarge = &requestError{ackBadRequest, "the state is too large"}
	errTooManyStates = &requestError{ackBadRequest, "the connection has, or watches, states in too many groups"}
	errSessionOver   = errors.New("the connection is over, or moves to another node")
)

// groupStateFrame executes the frames that concern states. It reports whether
// the device was told already that it succeeded.
func (s *session) groupStateFrame(ctx context.Context, f *protocol.Frame) (answered bool, err error) {
	switch f.Type {
	case protocol.SetGroupState:
		return false, s.setState(ctx, f.Group, f.State)
	case protocol.SubscribeGroupState:
		return true, s.watchStates(ctx, f)
	default:
		s.unwatch(s.states.dropWatch(f.Group, nil))
		return false, nil
	}
}

// setState changes the state of the connection in a group; nil clears it.
func (s *session) setState(ctx context.Context, group string, entries map[string]string) error {
	s.mu.Lock()
	allowed := s.perms.CanSetState(group)
	s.mu.Unlock()
	if !allowed {
		return &requestError{ackForbidden, "the connection may not set a state in the group"}
	}
	size := 0
	for key, value := range entries {
		size += len(key) + len(value)
	}
	if size > s.node.opts.MaxGroupState {
		return errStateTooLarge
	}
	change, err := s.changeState(group, entries)
	if err != nil {
		return err
	}
	return s.publishState(ctx, group, change)
}

// changeState notes a state. That the connection is a member and that it has
// the state is one step for who makes it leave.
func (s *session) changeState(group string, entries map[string]string) (control.State, error) {
	s.room.mu.RLock()
	defer s.room.mu.RUnlock()
	t := &s.states
	t.mu.Lock()
	defer t.mu.Unlock()
	_, had := t.states[group]
	switch {
	case t.over:
		return control.State{}, errSessionOver
	case s.groups[group] == nil:
		return control.State{}, errNotMember
	case entries != nil && !had && len(t.states) >= s.node.opts.MaxGroupStates:
		return control.State{}, errTooManyStates
	}
	change := t.next(s, entries)
	switch {
	case entries != nil:
		if t.states == nil {
			t.states = map[string]control.State{}
		}
		t.states[group] = change
		if !had {
			s.node.peers.states.Add(1)
		}
	case had:
		delete(t.states, group)
		s.node.peers.states.Add(-1)
	}
	return change, nil
}

// next is a change of the connection; the lock is held.
func (t *groupStates) next(s *session, entries map[string]string) control.State {
	t.last = max(s.node.core.Store.Now().UnixMilli(), t.last+1)
	return control.State{ConnectionID: s.id, UserID: s.userID, Entries: entries, UpdatedAt: t.last}
}

// publishState tells every node that has members of the group, this one among
// them. What cannot be published is found by them later: see peers.
func (s *session) publishState(ctx context.Context, group string, change control.State) error {
	m := control.StateChange{Node: s.node.id, State: change}
	err := s.node.publisher.Publish(ctx, bus.Publication{
		Channel: s.node.groupChannel(s.hubKey, group).name, Payload: m.Encode(), Sharded: true,
	})
	if err != nil {
		s.node.peers.lost.Add(1)
	}
	return err
}

// stateIn is the state of the connection in a group.
func (s *session) stateIn(group string) (control.State, bool) {
	s.states.mu.Lock()
	defer s.states.mu.Unlock()
	state, ok := s.states.states[group]
	return state, ok
}

// leftGroup is what remains to be done when a connection has left a group.
type leftGroup struct {
	cleared control.State
	had     bool
	watch   *stateWatch
}

// forsake takes the state and the watch of a group away, which the connection
// leaves; the lock of the hub is held. Who let it leave then calls forsaken.
func (s *session) forsake(group string) leftGroup {
	t := &s.states
	left := leftGroup{watch: t.dropWatch(group, nil)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, left.had = t.states[group]; left.had {
		delete(t.states, group)
		s.node.peers.states.Add(-1)
		left.cleared = t.next(s, nil)
	}
	return left
}

func (s *session) forsaken(group string, left leftGroup) {
	s.unwatch(left.watch)
	if left.had {
		ctx, cancel := context.WithTimeout(s.node.handlers, subscribeTimeout)
		defer cancel()
		s.publishCleared(ctx, group, left.cleared)
	}
}

func (s *session) publishCleared(ctx context.Context, group string, cleared control.State) {
	if err := s.publishState(ctx, group, cleared); err != nil {
		s.node.core.Log.Warn("end of a group state not published, other nodes find it later", "connection_id", s.id, "error", err)
	}
}

// endStates ends the states and watches of a connection that is over, and
// returns what remains to be published, by group.
func (s *session) endStates() map[string]control.State {
	t := &s.states
	t.mu.Lock()
	t.over = true
	watches := t.watches
	cleared := t.states
	t.watches, t.states = nil, nil
	for group := range cleared {
		cleared[group] = t.next(s, nil)
	}
	s.node.peers.states.Add(int64(-len(cleared)))
	t.mu.Unlock()
	for _, w := range watches {
		s.unwatch(w)
	}
	return cleared
}

// publishEndOfStates tells others of the states that endStates ended.
func (s *session) publishEndOfStates(cleared map[string]control.State) {
	if len(cleared) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.node.handlers, subscribeTimeout)
	defer cancel()
	for group, state := range cleared {
		s.publishCleared(ctx, group, state)
	}
}

// renewStates makes the states of the connection newer than what others may
// believe, who took this node for dead.
func (s *session) renewStates() {
	t := &s.states
	t.mu.Lock()
	defer t.mu.Unlock()
	for group, state := range t.states {
		t.states[group] = t.next(s, state.Entries)
	}
}

// watchStates begins to tell the device of the states in a group, or begins
// anew. The acknowledgement comes first, then the snapshot, then each change.
func (s *session) watchStates(ctx context.Context, f *protocol.Frame) error {
	s.mu.Lock()
	allowed := s.perms.CanGetState(f.Group)
	s.mu.Unlock()
	if !allowed {
		return &requestError{ackForbidden, "the connection may not watch the states in the group"}
	}
	if !s.isMember(f.Group) {
		return errNotMember
	}
	view, err := s.node.views.open(ctx, viewKey{s.hubKey, f.Group})
	if err != nil {
		return err
	}
	w := &stateWatch{session: s, view: view}
	replaced, err := s.beginWatch(f, w)
	if err != nil {
		s.node.views.release(view)
		return err
	}
	s.unwatch(replaced)
	return nil
}

// beginWatch makes the watch the one of the session, tells the device, and
// returns the watch that was there before.
func (s *session) beginWatch(f *protocol.Frame, w *stateWatch) (replaced *stateWatch, err error) {
	s.room.mu.RLock() // nobody leaves meanwhile
	defer s.room.mu.RUnlock()
	if s.groups[f.Group] == nil {
		return nil, errNotMember
	}
	w.view.mu.Lock()
	defer w.view.mu.Unlock()
	if replaced, err = s.states.addWatch(f.Group, w, s.node.opts.MaxGroupStates); err != nil {
		return nil, err
	}
	if replaced != nil {
		delete(w.view.watches, replaced) // at once, or the device hears twice of a change
	}
	w.view.watches[w] = struct{}{}
	if f.HasAckID {
		s.acknowledge(f.AckID, nil)
	}
	w.sendSnapshot()
	return replaced, nil
}

func (s *session) isMember(group string) bool {
	s.room.mu.RLock()
	defer s.room.mu.RUnlock()
	return s.groups[group] != nil
}

func (t *groupStates) addWatch(group string, w *stateWatch, limit int) (replaced *stateWatch, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	replaced = t.watches[group]
	switch {
	case t.over:
		return nil, errSessionOver
	case replaced == nil && len(t.watches) >= limit:
		return nil, errTooManyStates
	}
	if t.watches == nil {
		t.watches = map[string]*stateWatch{}
	}
	t.watches[group] = w
	return replaced, nil
}

// dropWatch takes the watch of a group away, if it is w or w is nil.
func (t *groupStates) dropWatch(group string, w *stateWatch) *stateWatch {
	t.mu.Lock()
	defer t.mu.Unlock()
	current := t.watches[group]
	if current == nil || w != nil && current != w {
		return nil
	}
	delete(t.watches, group)
	return current
}

// unwatch ends a watch that no session has any more; nil is none.
func (s *session) unwatch(w *stateWatch) {
	if w == nil {
		return
	}
	s.states.mu.Lock()
	view := w.view
	s.states.mu.Unlock()
	if view == nil {
		return // it is not resumed yet: see continueWatch
	}
	view.mu.Lock()
	delete(view.watches, w)
	view.mu.Unlock()
	s.node.views.release(view)
}
