package node

import (
	"cmp"
	"slices"
	"time"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
)

// Bounds of what one device is told.
const (
	// maxItems is how many states stand in one frame (specification, section
	// 3.9).
	maxItems = 200
	// maxBehind is how many states may have changed while a device does not
	// keep up. If there are more, it gets a snapshot again.
	maxBehind = 1000
	// catchUpInterval is how often a device that does not keep up is looked at.
	catchUpInterval = 100 * time.Millisecond
	// maxKnown is how many states move with a connection to another node, as
	// known to the device. If there are more, it gets a snapshot again.
	maxKnown = 10_000
)

// stateWatch is a device that watches the states in a group. The lock of its
// view guards it, except for view and moved, which that of groupStates guards.
type stateWatch struct {
	session *session
	view    *stateView
	// moved is set, and view is not, until a watch that came from another node
	// goes on.
	moved *movedWatch
	// behind holds, by connection, what a device that does not keep up has to
	// be told: of each connection the last change only. nil: it keeps up.
	behind map[string]control.State
	// renew: the device has to be told everything again.
	renew bool
}

// movedWatch is a watch on its way to another node.
type movedWatch struct {
	Group string `json:"group"`
	// Known is what the device was told last.
	Known map[string]knownState `json:"known,omitempty"`
	// Renew: it must be told everything again.
	Renew bool `json:"renew,omitempty"`
}

type knownState struct {
	UpdatedAt int64  `json:"at"`
	UserID    string `json:"u,omitempty"`
	// Behind: it was not told the last change.
	Behind bool `json:"behind,omitempty"`
}

// tell passes a change on to those who watch; the lock is held. It is encoded
// once for each encoding.
func (v *stateView) tell(state control.State) {
	if len(v.watches) == 0 {
		return
	}
	out := outFrame{message: protocol.NewSharedState(&protocol.GroupState{
		Group: v.key.group, Items: []protocol.GroupStateItem{stateItem(state)},
	})}
	for w := range v.watches {
		if w.behind == nil && !w.session.lags() {
			w.session.send(out)
			continue
		}
		w.later(state)
	}
}

// later keeps a change for a device that does not keep up.
func (w *stateWatch) later(state control.State) {
	if w.behind == nil {
		w.behind = map[string]control.State{}
	}
	if !w.renew {
		w.behind[state.ConnectionID] = state
	}
	if len(w.behind) > maxBehind {
		w.renew, w.behind = true, map[string]control.State{}
	}
	if w.view.lagging == nil {
		w.view.lagging = time.AfterFunc(catchUpInterval, w.view.catchUp)
	}
}

// catchUp tells devices what they missed, if they keep up again.
func (v *stateView) catchUp() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lagging = nil
	again := false
	for w := range v.watches {
		if w.behind == nil {
			continue
		}
		if w.session.lags() {
			again = true
			continue
		}
		w.flush()
	}
	if again {
		v.lagging = time.AfterFunc(catchUpInterval, v.catchUp)
	}
}

// flush tells the device what it missed.
func (w *stateWatch) flush() {
	if w.renew {
		w.sendSnapshot()
		return
	}
	items := make([]protocol.GroupStateItem, 0, len(w.behind))
	for _, state := range w.behind {
		items = append(items, stateItem(state))
	}
	w.behind = nil
	w.sendItems(items)
}

// sendItems sends an update with any number of changes.
func (w *stateWatch) sendItems(items []protocol.GroupStateItem) {
	slices.SortFunc(items, func(a, b protocol.GroupStateItem) int { return cmp.Compare(a.UpdatedAt, b.UpdatedAt) })
	for part := range slices.Chunk(items, maxItems) {
		w.session.send(outFrame{message: protocol.NewSharedState(&protocol.GroupState{Group: w.view.key.group, Items: part})})
	}
}

func (w *stateWatch) sendSnapshot() {
	w.behind, w.renew = nil, false
	w.session.send(outFrame{message: w.view.snapshot()})
}

// lags reports whether half of what may wait for the device waits: then states
// must not add to it.
func (s *session) lags() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	frames, bytes := max(len(s.out.frames), len(s.early)), s.out.bytes
	if s.conn != nil {
		f, b := s.conn.Backlog()
		frames, bytes = max(frames, f), max(bytes, b)
	}
	return 2*frames >= s.node.opts.MaxQueue || 2*bytes >= s.node.opts.MaxQueueBytes
}

// export describes a watch that its session has no more, with up to limit
// states.
func (w *stateWatch) export(group string, limit int) movedWatch {
	if w.view == nil {
		return *w.moved
	}
	v := w.view
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.watches, w)
	m := movedWatch{Group: group, Known: map[string]knownState{}, Renew: w.renew}
	for id, e := range v.entries {
		if e.Entries != nil {
			m.Known[id] = knownState{UpdatedAt: e.UpdatedAt, UserID: e.UserID}
		}
	}
	for id, state := range w.behind {
		m.Known[id] = knownState{UpdatedAt: state.UpdatedAt, UserID: state.UserID, Behind: true}
	}
	if m.Renew || len(m.Known) > limit {
		m.Known, m.Renew = nil, true
	}
	return m
}

// resume tells the device what has changed since it was told last, elsewhere.
func (w *stateWatch) resume() {
	v, m := w.view, w.moved
	v.watches[w] = struct{}{}
	if m.Renew {
		w.sendSnapshot()
		return
	}
	var items []protocol.GroupStateItem
	for id, e := range v.entries {
		known, told := m.Known[id]
		switch {
		case told && (known.Behind || known.UpdatedAt < e.UpdatedAt), !told && e.Entries != nil:
			items = append(items, stateItem(e.State))
		}
	}
	for id, known := range m.Known {
		if v.entries[id] == nil {
			items = append(items, protocol.GroupStateItem{ConnectionID: id, UserID: known.UserID, UpdatedAt: known.UpdatedAt + 1})
		}
	}
	w.sendItems(items)
}
