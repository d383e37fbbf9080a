package node

import (
	"crypto/rand"
	"encoding/hex"
	"hash/maphash"
	"sync"

	"github.com/message-gateway/gateway/internal/ws"
)

// shards spread the locks of maps that every connection touches.
const shards = 64

// sessions are the logical connections of this node by id.
type sessions struct {
	shards [shards]struct {
		sync.RWMutex
		m map[string]*session
	}
}

var shardSeed = maphash.MakeSeed()

func shardOf(key string) uint64 { return maphash.String(shardSeed, key) % shards }

func (t *sessions) add(s *session) {
	shard := &t.shards[shardOf(s.id)]
	shard.Lock()
	defer shard.Unlock()
	if shard.m == nil {
		shard.m = map[string]*session{}
	}
	shard.m[s.id] = s
}

func (t *sessions) get(id string) *session {
	shard := &t.shards[shardOf(id)]
	shard.RLock()
	defer shard.RUnlock()
	return shard.m[id]
}

// remove takes a session out, and not its successor, which has the same id.
func (t *sessions) remove(s *session) {
	shard := &t.shards[shardOf(s.id)]
	shard.Lock()
	defer shard.Unlock()
	if shard.m[s.id] == s {
		delete(shard.m, s.id)
	}
}

// eachAtOnce is each, with several calls at the same time: they may run hooks of
// the application.
func (t *sessions) eachAtOnce(f func(*session)) {
	const parallel = 64
	var wg sync.WaitGroup
	limit := make(chan struct{}, parallel)
	t.each(func(s *session) {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			f(s)
		})
	})
	wg.Wait()
}

// each calls f for every session that is there when its shard is looked at.
// No lock is held during f.
func (t *sessions) each(f func(*session)) {
	var list []*session
	for i := range t.shards {
		shard := &t.shards[i]
		shard.RLock()
		list = list[:0]
		for _, s := range shard.m {
			list = append(list, s)
		}
		shard.RUnlock()
		for _, s := range list {
			f(s)
		}
	}
}

// sockets are the open ones, also those whose session is over while they close.
type sockets struct {
	mu sync.Mutex
	m  map[*ws.Conn]struct{}
}

func (t *sockets) add(conn *ws.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[*ws.Conn]struct{}{}
	}
	t.m[conn] = struct{}{}
}

func (t *sockets) remove(conn *ws.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.m, conn)
}

// abort drops all of them.
func (t *sockets) abort() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for conn := range t.m {
		conn.Abort(errStopped)
	}
}

// newConnectionID returns an id that nobody can guess and that is safe in a
// URL path.
func newConnectionID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}
