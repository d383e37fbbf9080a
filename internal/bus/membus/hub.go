// Package membus is the bus inside one process: no service, nothing stored,
// the same promises as the bus on Redis. Every Bus of one Hub sees what the
// others publish, count and lock.
package membus

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/message-gateway/gateway/internal/bus"
)

// Hub joins the buses of one process. Its methods and those of its buses may
// be called from several goroutines at once.
//
// Counters stay for as long as the Hub does, one small entry for each user who
// ever drew a number.
type Hub struct {
	mu       sync.RWMutex
	channels map[string][]*listener // never an empty slice

	stateMu sync.Mutex
	seqs    map[string]int64
	locks   map[string]lock
}

// lock is a lock that owner holds until it expires.
type lock struct {
	owner   string
	expires time.Time
}

// NewHub returns an empty Hub.
func NewHub() *Hub {
	return &Hub{
		channels: make(map[string][]*listener),
		seqs:     make(map[string]int64),
		locks:    make(map[string]lock),
	}
}

// Bus returns another bus on the hub. Closing it leaves the hub and its other
// buses as they are.
func (h *Hub) Bus() *Bus {
	return &Bus{hub: h, listeners: make(map[*listener]struct{})}
}

// nextSeqs advances the counters of all requests under one lock, so that the
// numbers of a batch follow each other as they do in a Redis pipeline.
func (h *Hub) nextSeqs(reqs []bus.SeqRequest) ([]int64, error) {
	seqs := make([]int64, len(reqs))
	var errs []error
	h.stateMu.Lock()
	defer h.stateMu.Unlock()
	for i, r := range reqs {
		n := max(h.seqs[r.UserID], r.Floor)
		if n == math.MaxInt64 {
			if errs == nil {
				errs = make([]error, len(reqs))
			}
			errs[i] = fmt.Errorf("user %q: the sequence has no number after %d", r.UserID, n)
			continue
		}
		n++
		h.seqs[r.UserID] = n
		seqs[i] = n
	}
	if errs != nil {
		return seqs, &bus.SeqError{Errs: errs}
	}
	return seqs, nil
}

// tryLock takes or renews a lock.
func (h *Hub) tryLock(key, owner string, ttl time.Duration) bool {
	h.stateMu.Lock()
	defer h.stateMu.Unlock()
	now := time.Now()
	if l, ok := h.locks[key]; ok && l.owner != owner && now.Before(l.expires) {
		return false
	}
	h.locks[key] = lock{owner: owner, expires: now.Add(ttl)}
	return true
}

// unlock releases a lock if owner still holds it.
func (h *Hub) unlock(key, owner string) {
	h.stateMu.Lock()
	defer h.stateMu.Unlock()
	if l, ok := h.locks[key]; ok && l.owner == owner {
		delete(h.locks, key)
	}
}
