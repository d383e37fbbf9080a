package node

import (
	"sync"
	"time"
)

// repeatWindow is how long a node knows a repeated send. The official service
// clients have given up by then, unless each attempt hangs.
const repeatWindow = 5 * time.Minute

// repeats remembers the messages that their sender may repeat. Its methods may
// be called from several goroutines.
type repeats struct {
	limit int // −1: none

	mu   sync.Mutex
	at   map[uint64]time.Time
	ring []uint64 // in the order in which they came, from next on
	next int
}

// seen reports whether a message came within the window, and remembers it. The
// oldest one beyond the limit is forgotten.
func (r *repeats) seen(id uint64, now time.Time) bool {
	if r.limit <= 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first, known := r.at[id]
	if known && now.Sub(first) < repeatWindow {
		return true
	}
	if r.at == nil {
		r.at = map[uint64]time.Time{}
	}
	r.at[id] = now
	if known {
		return false // it has a place in the ring
	}
	if len(r.ring) < r.limit {
		r.ring = append(r.ring, id)
		return false
	}
	delete(r.at, r.ring[r.next])
	r.ring[r.next] = id
	r.next = (r.next + 1) % len(r.ring)
	return false
}
