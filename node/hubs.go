package node

import (
	"sync"

	"github.com/message-gateway/gateway/internal/odata"
	"github.com/message-gateway/gateway/internal/wire"
)

// hubs are the hubs that have connections on this node.
type hubs struct {
	mu sync.RWMutex
	m  map[string]*hub
}

// hub knows the connections of one hub on this node, their users and groups.
//
// Locks: a hub's lock may be held when a session's is taken, never the other
// way round; it is never held together with a user's.
type hub struct {
	mu       sync.RWMutex
	sessions map[string]*session
	users    map[string]members
	groups   map[string]members
}

// members is a set of sessions.
type members map[*session]struct{}

// get returns the hub, or nil if nobody is in it.
func (t *hubs) get(key string) *hub {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[key]
}

// enter puts a session into its hub and the groups that it starts with.
func (t *hubs) enter(s *session, groups []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[string]*hub{}
	}
	h, ok := t.m[s.hubKey]
	if !ok {
		h = &hub{sessions: map[string]*session{}, users: map[string]members{}, groups: map[string]members{}}
		t.m[s.hubKey] = h
	}
	s.room = h
	h.enter(s, groups)
}

// exit takes a session out of its hub, and returns the groups that it was in.
// An empty hub is forgotten: who connects may choose its name.
func (t *hubs) exit(s *session) (groups []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	groups = s.room.exit(s)
	if s.room.empty() {
		delete(t.m, s.hubKey)
	}
	return groups
}

func add(sets map[string]members, key string, s *session) {
	if sets[key] == nil {
		sets[key] = members{}
	}
	sets[key][s] = struct{}{}
}

func remove(sets map[string]members, key string, s *session) {
	delete(sets[key], s)
	if len(sets[key]) == 0 {
		delete(sets, key)
	}
}

// enter puts a session into the hub and the groups that it starts with, whose
// channels are subscribed.
func (h *hub) enter(s *session, groups []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions[s.id] = s
	if s.userID != "" {
		add(h.users, s.userID, s)
	}
	for _, group := range groups {
		h.joinLocked(s, group, &membership{})
	}
}

func (h *hub) empty() bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return len(h.sessions) == 0 && len(h.users) == 0
}

// exit takes a session out of the hub and all its groups, and returns those.
func (h *hub) exit(s *session) (groups []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions[s.id] == s { // and not its successor, which is recovered already
		delete(h.sessions, s.id)
	}
	remove(h.users, s.userID, s)
	for group := range s.groups {
		groups = append(groups, group)
		h.leaveLocked(s, group)
	}
	return groups
}

func (h *hub) joinLocked(s *session, group string, m *membership) {
	if s.groups == nil {
		s.groups = map[string]*membership{}
	}
	s.groups[group] = m
	add(h.groups, group, s)
}

func (h *hub) leaveLocked(s *session, group string) {
	if m := s.groups[group]; m != nil && m.expiry != nil {
		m.expiry.Stop()
	}
	delete(s.groups, group)
	remove(h.groups, group, s)
}

// each calls f for every session that a channel of the hub reaches and that
// choose accepts. The hub's lock is held: f must not block.
func (h *hub) each(target wire.HubChannel, choose *chooser, f func(*session)) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	visit := func(s *session) {
		if choose.accepts(s) {
			f(s)
		}
	}
	switch target.Kind {
	case wire.TargetAll:
		for _, s := range h.sessions {
			visit(s)
		}
	case wire.TargetConnection:
		if s, ok := h.sessions[target.ID]; ok {
			visit(s)
		}
	case wire.TargetUser:
		for s := range h.users[target.ID] {
			visit(s)
		}
	case wire.TargetGroup:
		for s := range h.groups[target.ID] {
			visit(s)
		}
	}
}

// count is how many sessions each visits where no chooser is given.
func (h *hub) count(target wire.HubChannel) int {
	h.mu.RLock()
	defer h.mu.RUnlock()
	switch target.Kind {
	case wire.TargetAll:
		return len(h.sessions)
	case wire.TargetConnection:
		if _, ok := h.sessions[target.ID]; ok {
			return 1
		}
	case wire.TargetUser:
		return len(h.users[target.ID])
	case wire.TargetGroup:
		return len(h.groups[target.ID])
	}
	return 0
}

// list collects what each visits, for work that may block.
func (h *hub) list(target wire.HubChannel, choose *chooser) []*session {
	var list []*session
	h.each(target, choose, func(s *session) { list = append(list, s) })
	return list
}

// chooser decides which sessions a message or call concerns. The nil chooser
// accepts all.
type chooser struct {
	excluded map[string]struct{}
	filter   *odata.Filter
}

func newChooser(excluded []string, filter string) (*chooser, error) {
	if len(excluded) == 0 && filter == "" {
		return nil, nil //nolint:nilnil // the nil chooser is a value
	}
	c := &chooser{excluded: make(map[string]struct{}, len(excluded))}
	for _, id := range excluded {
		c.excluded[id] = struct{}{}
	}
	if filter != "" {
		// Its sender has checked it within limits of its own.
		var err error
		if c.filter, err = odata.Parse(filter, odata.MaxLimits()); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *chooser) accepts(s *session) bool {
	if c == nil {
		return true
	}
	if _, ok := c.excluded[s.id]; ok {
		return false
	}
	return c.filter == nil || c.filter.Match(&odata.Subject{
		UserID: s.userID, ConnectionID: s.id, Protocol: s.sub.String(), Groups: memberships(s.groups),
	})
}

// memberships implements odata.Groups; the hub's lock is held while it is used.
type memberships map[string]*membership

// Has reports whether the connection is in the group.
func (m memberships) Has(group string) bool { return m[group] != nil }

// Len is the number of groups.
func (m memberships) Len() int { return len(m) }
