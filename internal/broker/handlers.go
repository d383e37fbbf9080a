package broker

import (
	"context"
	"sync"
	"time"
)

// DrainGrace is how long the end of a consumer leaves running handlers alone
// before it ends their ctx.
const DrainGrace = 5 * time.Second

// retryPauses are the pauses before a notification whose handler failed comes
// back: soon after a hiccup, slowly while a database is down.
var retryPauses = [...]time.Duration{500 * time.Millisecond, 5 * time.Second, 30 * time.Second}

// RetryPause is the pause after the given failed attempt, counted from 1. The
// implementations take up to half off at random, so that what failed together
// does not come back together.
func RetryPause(attempt int) time.Duration {
	return retryPauses[max(0, min(attempt, len(retryPauses))-1)]
}

// Handlers runs the handlers of one consumer, no more than a limit at the same
// time, and ends them. Its methods may be called at the same time from several
// goroutines.
type Handlers struct {
	slots  chan struct{}
	ctx    context.Context //nolint:containedctx // the handlers' lifetime, not a call's
	cancel context.CancelFunc

	mu       sync.Mutex // orders Add before Wait
	draining bool
	running  sync.WaitGroup
}

// NewHandlers allows limit handlers at the same time, at least one.
func NewHandlers(limit int) *Handlers {
	ctx, cancel := context.WithCancel(context.Background())
	return &Handlers{slots: make(chan struct{}, max(limit, 1)), ctx: ctx, cancel: cancel}
}

// Acquire waits for a free slot, which Go uses or Release gives back. It
// reports false when stop is closed first.
func (h *Handlers) Acquire(stop <-chan struct{}) bool {
	select {
	case h.slots <- struct{}{}:
		return true
	case <-stop:
		return false
	}
}

// Release gives back a slot that no handler used.
func (h *Handlers) Release() { <-h.slots }

// Go runs f on an acquired slot and releases the slot when f returns. It
// reports false, with the slot released, once Drain was called.
func (h *Handlers) Go(f func(ctx context.Context)) bool {
	h.mu.Lock()
	if h.draining {
		h.mu.Unlock()
		h.Release()
		return false
	}
	h.running.Add(1)
	h.mu.Unlock()
	go func() {
		defer h.running.Done()
		defer h.Release()
		f(h.ctx)
	}()
	return true
}

// Drain waits for the running handlers, and ends their ctx after grace.
func (h *Handlers) Drain(grace time.Duration) {
	h.mu.Lock()
	h.draining = true
	h.mu.Unlock()
	end := time.AfterFunc(grace, h.cancel)
	h.running.Wait()
	end.Stop()
	h.cancel()
}
