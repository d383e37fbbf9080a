package node

import (
	"context"
	"maps"
	"time"

	"github.com/message-gateway/gateway/internal/control"
)

// movedStates are the states and watches of a connection on its way to another
// node.
type movedStates struct {
	Last    int64                    `json:"last,omitempty"`
	States  map[string]control.State `json:"states,omitempty"`
	Watches []movedWatch             `json:"watches,omitempty"`
}

// exportStates takes states and watches away. Nothing changes any more, and
// the device is told nothing more.
func (s *session) exportStates() *movedStates {
	t := &s.states
	t.mu.Lock()
	t.over = true
	m := &movedStates{Last: t.last, States: maps.Clone(t.states)}
	watches := t.watches
	s.node.peers.states.Add(int64(-len(t.states)))
	t.states, t.watches = nil, nil
	t.mu.Unlock()
	room := maxKnown
	for group, w := range watches {
		moved := w.export(group, room)
		room -= len(moved.Known)
		m.Watches = append(m.Watches, moved)
		s.unwatch(w)
	}
	return m
}

// restoreStates is the opposite, on the next node, or on this one if the
// connection stays.
func (s *session) restoreStates(m *movedStates) {
	if m == nil {
		return
	}
	t := &s.states
	t.mu.Lock()
	t.over, t.last, t.states = false, m.Last, m.States
	s.node.peers.states.Add(int64(len(m.States)))
	if len(m.Watches) > 0 {
		t.watches = map[string]*stateWatch{}
	}
	var pending []*stateWatch
	for _, moved := range m.Watches {
		w := &stateWatch{session: s, moved: &moved}
		t.watches[moved.Group] = w
		pending = append(pending, w)
	}
	t.mu.Unlock()
	if len(m.States) == 0 && len(pending) == 0 {
		return
	}
	// Not in the way of the device, which waits for its connection.
	s.node.spawn(func() {
		s.announceStates()
		for _, w := range pending {
			s.resumeWatch(w)
		}
	})
}

// announceStates tells other nodes that this one has the connection now.
func (s *session) announceStates() {
	s.states.mu.Lock()
	states := maps.Clone(s.states.states)
	s.states.mu.Unlock()
	ctx, cancel := context.WithTimeout(s.node.handlers, s.node.opts.HandlerTimeout)
	defer cancel()
	for group, state := range states {
		if err := s.publishState(ctx, group, state); err != nil {
			s.node.core.Log.Warn("group state not published, other nodes find it later", "connection_id", s.id, "error", err)
		}
	}
}

// resumeWatch continues a watch that came from another node, as soon as the
// states are known here.
func (s *session) resumeWatch(w *stateWatch) {
	group := w.moved.Group
	for {
		ctx, cancel := context.WithTimeout(s.node.handlers, subscribeTimeout)
		view, err := s.node.views.open(ctx, viewKey{s.hubKey, group})
		cancel()
		if err == nil {
			if !s.continueWatch(w, view) {
				s.node.views.release(view)
			}
			return
		}
		select {
		case <-s.node.handlers.Done():
			return
		case <-time.After(jitter(time.Second)):
		}
		if !s.states.has(group, w) {
			return
		}
	}
}

// continueWatch reports whether the session still had the watch.
func (s *session) continueWatch(w *stateWatch, view *stateView) bool {
	view.mu.Lock()
	defer view.mu.Unlock()
	t := &s.states
	t.mu.Lock()
	current := t.watches[w.moved.Group] == w
	if current {
		w.view = view
	}
	t.mu.Unlock()
	if current {
		w.resume()
	}
	return current
}

func (t *groupStates) has(group string, w *stateWatch) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.watches[group] == w
}
