package outbound

import (
	"sync"
	"time"
)

// running counts sends that wait in no group, so that Close can wait for them.
// The zero value is ready. All methods may be called from several goroutines.
type running struct {
	mu     sync.Mutex
	count  int
	closed bool
	idle   chan struct{} // made by close, closed when count is 0
}

// begin reports whether a send may begin; then end must follow.
func (r *running) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.count++
	return true
}

func (r *running) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count--; r.count == 0 && r.closed {
		close(r.idle)
	}
}

// refuse lets no send begin any more. The channel that it returns is closed when
// none runs. It is called once.
func (r *running) refuse() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed, r.idle = true, make(chan struct{})
	if r.count == 0 {
		close(r.idle)
	}
	return r.idle
}

// wait waits for a channel to be closed, for a time at most.
func wait(idle <-chan struct{}, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	}
}
