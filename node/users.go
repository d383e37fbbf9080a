package node

import (
	"slices"
	"sync"

	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/wire"
)

// users are those who have connections in the default hub on this node.
type users struct {
	shards [shards]struct {
		sync.RWMutex
		m map[string]*user
	}
}

// acquire returns the user, and counts one more session; release pays it back.
func (t *users) acquire(n *Node, id string) *user {
	shard := &t.shards[shardOf(id)]
	shard.Lock()
	defer shard.Unlock()
	if shard.m == nil {
		shard.m = map[string]*user{}
	}
	u, ok := shard.m[id]
	if !ok {
		u = &user{node: n, id: id}
		shard.m[id] = u
	}
	u.refs++
	return u
}

func (t *users) release(u *user) {
	shard := &t.shards[shardOf(u.id)]
	shard.Lock()
	defer shard.Unlock()
	u.refs--
	if u.refs == 0 {
		delete(shard.m, u.id)
	}
}

func (t *users) get(id string) *user {
	shard := &t.shards[shardOf(id)]
	shard.RLock()
	defer shard.RUnlock()
	return shard.m[id]
}

// user is someone who has connections in the default hub, and what is on its
// way to them.
type user struct {
	node *Node
	id   string
	refs int // guarded by the shard's lock

	mu       sync.Mutex
	sessions []*member
	// inFlight are the messages that were handed to a session, or wait to be,
	// and that nobody acknowledged yet. bytes is the sum of their sizes.
	inFlight map[string]*delivery
	bytes    int
	// requested are the commands that a device acknowledged and nobody has
	// answered yet. It is bounded: an answer finds the row without it.
	requested map[string]*delivery
}

// member is a session in the eyes of its user; the user's lock guards it.
type member struct {
	*session
	feed feed
}

// attach adds a session, which gets realtime messages from now on. Stored ones
// wait until startFeed.
func (u *user) attach(s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sessions = append(u.sessions, &member{session: s, feed: feed{loading: true}})
}

// startFeed hands a session with a PubSub subprotocol what waits in the database,
// and then what comes.
func (u *user) startFeed(s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if m := u.member(s); m != nil && s.sub != protocol.Simple {
		u.feedAgain(m)
	}
}

// adopt puts a message in flight that another node had handed to the session,
// unless it is a command that waits for its answer here.
func (u *user) adopt(s *session, h *wire.Hint) *delivery {
	u.mu.Lock()
	defer u.mu.Unlock()
	d, ok := u.inFlight[h.ID]
	if !ok {
		d, ok = u.requested[h.ID]
	}
	if !ok {
		h.Origin = wire.FromTakeover
		d = u.track(h)
	}
	if m := u.member(s); m != nil && !d.reached(s) {
		d.sessions = append(d.sessions, s)
		m.feed.add(d.size())
	}
	return d
}

// member finds a session; u.mu is held.
func (u *user) member(s *session) *member {
	for _, m := range u.sessions {
		if m.session == s {
			return m
		}
	}
	return nil
}

// detach removes a session; with the last one, what is in flight is forgotten:
// it stays unfinished in the database.
func (u *user) detach(s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	kept := u.sessions[:0]
	for _, m := range u.sessions {
		if m.session == s {
			m.feed.gone = true
			continue
		}
		kept = append(kept, m)
	}
	clear(u.sessions[len(kept):])
	u.sessions = kept
	last := !u.pubsub()
	for _, set := range []map[string]*delivery{u.inFlight, u.requested} {
		for _, d := range set {
			d.forget(s)
			if last {
				u.node.retries.remove(d)
			}
		}
	}
	if last {
		u.inFlight, u.requested, u.bytes = nil, nil, 0
	}
}

// pubsub reports whether the user has a connection with a PubSub subprotocol;
// u.mu is held.
func (u *user) pubsub() bool {
	return slices.ContainsFunc(u.sessions, func(m *member) bool { return m.sub != protocol.Simple })
}

// realtime hands a message to every connection.
func (u *user) realtime(message *protocol.Shared, hash uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, m := range u.sessions {
		m.send(outFrame{message: message, realtime: hash})
	}
}
