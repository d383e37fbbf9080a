// Package batch lets concurrent callers share round trips (group commit)
// without adding a delay for a lone caller: a call that finds the group idle
// runs at once, and calls that arrive while others run go together next.
package batch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// ErrFull is returned when too many calls wait already. Nothing was done.
var ErrFull = errors.New("batch: too many calls are waiting")

// ErrClosed is returned after Close. Nothing was done.
var ErrClosed = errors.New("batch: closed")

// Options bound a Group. All fields are required.
type Options struct {
	// MaxBatch is the largest number of items in one flush.
	MaxBatch int
	// MaxBytes is the largest sum of item sizes in one flush; an item that is
	// larger goes alone.
	MaxBytes int
	// Parallel is the number of flushes that may run at the same time.
	Parallel int
	// MaxWaiting is the number of calls that may wait for a flush.
	MaxWaiting int
	// Timeout ends a flush whose callers have no earlier deadline.
	Timeout time.Duration
}

// Group collects calls. All methods may be called from several goroutines.
type Group[T any] struct {
	opts  Options
	flush func(ctx context.Context, items []T, errs []error)

	ctx    context.Context // ends when Close gives up waiting
	cancel context.CancelFunc

	mu sync.Mutex
	// queue holds the calls that wait, and gone of which nobody waits any more:
	// many may end at once, and moving the others for each would take long.
	queue   []*call[T]
	gone    int
	running int
	closed  bool
	idle    chan struct{} // closed when closed is set and running is 0
}

type call[T any] struct {
	item     T
	size     int
	deadline time.Time // zero: none
	err      error
	done     chan struct{}
	taken    bool // guarded by Group.mu: in a flush, no longer in the queue
	gone     bool // guarded by Group.mu: its ctx ended while it was in the queue
}

// New returns a Group that hands items to flush, which sets errs[i] where
// items[i] failed. The flush context ends when no caller of the batch can be
// waiting any more.
func New[T any](opts Options, flush func(ctx context.Context, items []T, errs []error)) *Group[T] {
	ctx, cancel := context.WithCancel(context.Background())
	return &Group[T]{opts: opts, flush: flush, ctx: ctx, cancel: cancel, idle: make(chan struct{})}
}

// Do hands item to a flush and waits for the outcome, or for the end of ctx.
// When ctx ends while item still waits it is taken out, and nothing was done
// (started is false); when ctx ends during the flush the outcome is unknown.
func (g *Group[T]) Do(ctx context.Context, item T, size int) (started bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	c := &call[T]{item: item, size: size, done: make(chan struct{})}
	c.deadline, _ = ctx.Deadline()

	g.mu.Lock()
	switch {
	case g.closed:
		g.mu.Unlock()
		return false, ErrClosed
	case g.running < g.opts.Parallel:
		g.running++
		c.taken = true
		g.mu.Unlock()
		if ctx.Done() == nil {
			// Nothing can end this call early, so it needs no goroutine.
			g.runOne(c)
			return true, c.err
		}
		go g.runOne(c)
	case len(g.queue)-g.gone >= g.opts.MaxWaiting:
		g.mu.Unlock()
		return false, ErrFull
	default:
		g.queue = append(g.queue, c)
		g.mu.Unlock()
	}

	select {
	case <-c.done:
		return true, c.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.taken {
		select {
		case <-c.done:
			return true, c.err
		default:
			return true, ctx.Err()
		}
	}
	c.gone = true
	g.gone++
	if g.gone > len(g.queue)/2 {
		g.queue = slices.DeleteFunc(g.queue, func(c *call[T]) bool { return c.gone })
		g.gone = 0
	}
	return false, ctx.Err()
}

// Waiting is the number of calls that wait for a flush.
func (g *Group[T]) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.queue) - g.gone
}

// Close refuses further calls and waits, for drain at most, until those that
// were accepted have ended. Then it fails the calls that still wait with
// ErrClosed, ends the context of running flushes and waits for them.
func (g *Group[T]) Close(drain time.Duration) {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		if g.running == 0 {
			close(g.idle)
		}
	}
	g.mu.Unlock()

	timer := time.NewTimer(drain)
	defer timer.Stop()
	select {
	case <-g.idle:
	case <-timer.C:
		g.mu.Lock()
		for _, c := range g.queue {
			c.taken, c.err = true, ErrClosed
			close(c.done)
		}
		g.queue, g.gone = nil, 0
		g.mu.Unlock()
	}
	g.cancel()
	<-g.idle
}

// runOne flushes the first call, then hands what has gathered meanwhile to a
// goroutine of its own, so that the first caller does not work for others.
func (g *Group[T]) runOne(first *call[T]) {
	g.run([]*call[T]{first})
	if next := g.take(); next != nil {
		go func() {
			for ; next != nil; next = g.take() {
				g.run(next)
			}
		}()
	}
}

// take removes the next batch from the queue, or gives the slot back.
func (g *Group[T]) take() []*call[T] {
	g.mu.Lock()
	defer g.mu.Unlock()
	batch := make([]*call[T], 0, min(len(g.queue)-g.gone, g.opts.MaxBatch))
	n, bytes := 0, 0
	for ; n < len(g.queue) && len(batch) < g.opts.MaxBatch; n++ {
		c := g.queue[n]
		if c.gone {
			g.gone--
			continue
		}
		bytes += c.size
		if len(batch) > 0 && bytes > g.opts.MaxBytes {
			break
		}
		c.taken = true
		batch = append(batch, c)
	}
	rest := copy(g.queue, g.queue[n:])
	clear(g.queue[rest:])
	g.queue = g.queue[:rest]
	if len(batch) == 0 {
		g.running--
		if g.running == 0 && g.closed {
			close(g.idle)
		}
		return nil
	}
	return batch
}

func (g *Group[T]) run(calls []*call[T]) {
	items := make([]T, len(calls))
	errs := make([]error, len(calls))
	deadline := time.Now().Add(g.opts.Timeout)
	latest := calls[0].deadline
	for i, c := range calls {
		items[i] = c.item
		if c.deadline.IsZero() || (!latest.IsZero() && c.deadline.After(latest)) {
			latest = c.deadline
		}
	}
	if !latest.IsZero() && latest.Before(deadline) {
		deadline = latest
	}
	ctx, cancel := context.WithDeadline(g.ctx, deadline)
	g.flush(ctx, items, errs)
	cancel()
	for i, c := range calls {
		c.err = errs[i]
		close(c.done)
	}
}
