// Package lifecycle starts and stops the goroutines of a service. Every worker
// of this module runs in a Group, so that stopping means the same everywhere:
// it is idempotent, it waits, and nothing is left behind.
package lifecycle

import (
	"context"
	"sync"
)

// Group owns goroutines that end together. The zero value is not usable; use
// New. All methods may be called from several goroutines.
type Group struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	stopped bool
	wg      sync.WaitGroup
}

// New returns a Group whose goroutines see ctx end when Stop is called or when
// parent ends.
func New(parent context.Context) *Group {
	ctx, cancel := context.WithCancel(parent)
	return &Group{ctx: ctx, cancel: cancel}
}

// Context ends when the group is stopping.
func (g *Group) Context() context.Context { return g.ctx }

// Go runs f in a goroutine and reports whether it did: after Stop it does not.
func (g *Group) Go(f func(ctx context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return false
	}
	g.wg.Go(func() { f(g.ctx) })
	return true
}

// Stop tells every goroutine to end and waits for all of them. It must not be
// called by one of them.
func (g *Group) Stop() {
	g.mu.Lock()
	g.stopped = true
	g.mu.Unlock()
	g.cancel()
	g.wg.Wait()
}
