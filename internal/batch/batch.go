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

// gatherMost is how long calls wait for others to go with: one flush that hangs
// must not hold them up.
const gatherMost = 10 * time.Millisecond

// ErrClosed is returned after Close. Nothing was done.
var ErrClosed = errors.New("batch: closed")

// Options bound a Group. Gather, Size and Inline may be left out.
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
	// Gather is how many calls must wait before they get a flush of their own
	// beside one that runs; fewer wait for the end of one, gatherMost at most.
	// While flushes are small it is less: the square of the size of the last.
	// Default: 1.
	Gather int
	// Size says how many of so many calls one flush takes, at least one; the
	// others wait for the next. Default: all of them.
	Size func(n int) int
	// Inline lets a call that finds the group idle run its flush by itself,
	// which saves two hand-overs between goroutines. The flush must then return
	// soon after its ctx has ended: nobody else watches that of the call.
	Inline bool
}

// Group collects calls. All methods may be called from several goroutines.
// Flushes run on goroutines that stay, as many as were needed at the same time,
// until Close.
type Group[T any] struct {
	opts  Options
	flush func(ctx context.Context, items []T, errs []error)

	ctx    context.Context // ends when Close gives up waiting
	cancel context.CancelFunc
	calls  sync.Pool // of *call[T]

	mu sync.Mutex
	// queue holds the calls that wait, and gone of which nobody waits any more:
	// many may end at once, and moving the others for each would take long.
	queue []*call[T]
	gone  int
	// running counts flushes under way or about to begin. Each has a slot.
	running int
	// last is the size of the flush that began last.
	last int
	// late fires when calls have waited for others for long enough; waited says
	// that they have.
	late    *time.Timer
	pending bool // late is running
	waited  bool
	// inline are the calls that flush by themselves.
	inline []*call[T]
	closed bool
	gaveUp bool
	idle   chan struct{} // closed when closed is set and running is 0

	// turn hands slots to the workers. They never block the sender.
	turn   chan struct{}
	parked int // workers that wait for a turn
	ended  sync.WaitGroup
}

type call[T any] struct {
	item     T
	size     int
	deadline time.Time // zero: none
	err      error
	done     chan struct{} // gets one value per use
	taken    bool          // guarded by Group.mu: in a flush, no longer in the queue
	gone     bool          // guarded by Group.mu: its ctx ended while it was in the queue

	// Of a call that flushes by itself.
	cancel context.CancelFunc
	items  [1]T
	errs   [1]error
}

// New returns a Group that hands items to flush, which sets errs[i] where
// items[i] failed, and keeps neither slice if there was no error. The flush
// context ends when no caller of the batch can be waiting any more.
func New[T any](opts Options, flush func(ctx context.Context, items []T, errs []error)) *Group[T] {
	ctx, cancel := context.WithCancel(context.Background())
	g := &Group[T]{
		opts: opts, flush: flush, ctx: ctx, cancel: cancel,
		idle: make(chan struct{}), turn: make(chan struct{}, opts.Parallel),
	}
	g.calls.New = func() any { return &call[T]{done: make(chan struct{}, 1)} }
	return g
}

// Do hands item to a flush and waits for the outcome, or for the end of ctx.
// When ctx ends while item still waits it is taken out, and nothing was done
// (started is false); when ctx ends during the flush the outcome is unknown.
func (g *Group[T]) Do(ctx context.Context, item T, size int) (started bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	c := g.calls.Get().(*call[T])
	c.item, c.size = item, size
	c.deadline, _ = ctx.Deadline()

	g.mu.Lock()
	switch {
	case g.closed:
		g.mu.Unlock()
		g.recycle(c)
		return false, ErrClosed
	case g.opts.Inline && g.running == 0:
		g.running++
		g.last = 1
		g.inline = append(g.inline, c)
		g.mu.Unlock()
		return true, g.runInline(ctx, c)
	case g.running >= g.opts.Parallel && len(g.queue)-g.gone >= g.opts.MaxWaiting:
		g.mu.Unlock()
		g.recycle(c)
		return false, ErrFull
	}
	g.queue = append(g.queue, c)
	g.spread()
	g.mu.Unlock()

	if done := ctx.Done(); done == nil {
		<-c.done
	} else {
		select {
		case <-c.done:
		case <-done:
			if started, ended := g.leave(c); !ended {
				return started, ctx.Err()
			}
		}
	}
	err = c.err
	g.recycle(c)
	return true, err
}

// leave takes a call out whose ctx has ended, unless its flush has ended too.
func (g *Group[T]) leave(c *call[T]) (started, ended bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.taken {
		select {
		case <-c.done:
			return true, true
		default:
			return true, false // the flush still has it
		}
	}
	c.gone = true
	g.gone++
	if g.gone > len(g.queue)/2 {
		g.queue = slices.DeleteFunc(g.queue, func(c *call[T]) bool { return c.gone })
		g.gone = 0
	}
	return false, false
}

// recycle keeps a call for another use. Nobody else may have it.
func (g *Group[T]) recycle(c *call[T]) {
	*c = call[T]{done: c.done}
	g.calls.Put(c)
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
			g.end()
		}
	}
	g.mu.Unlock()

	timer := time.NewTimer(drain)
	defer timer.Stop()
	select {
	case <-g.idle:
	case <-timer.C:
		g.mu.Lock()
		g.gaveUp = true
		for _, c := range g.queue {
			if !c.gone {
				c.taken, c.err = true, ErrClosed
				c.done <- struct{}{}
			}
		}
		g.queue, g.gone = nil, 0
		for _, c := range g.inline {
			if c.cancel != nil {
				c.cancel()
			}
		}
		g.mu.Unlock()
	}
	g.cancel()
	<-g.idle
	g.ended.Wait()
}

// end tells everyone that nothing will run any more. g.mu is held.
func (g *Group[T]) end() {
	close(g.idle)
	close(g.turn)
}

// release gives a slot back. g.mu is held.
func (g *Group[T]) release() {
	g.running--
	if g.running == 0 && g.closed {
		g.end()
	}
}

// spread gives waiting calls a flush of their own where that is due. g.mu is
// held.
func (g *Group[T]) spread() {
	waiting := len(g.queue) - g.gone
	if waiting == 0 || g.running >= g.opts.Parallel {
		return
	}
	if !g.due(g.running) {
		g.hurry()
		return
	}
	g.running++
	g.wake()
}

// hurry bounds the time for which calls wait for others. g.mu is held.
func (g *Group[T]) hurry() {
	switch {
	case g.pending:
		return
	case g.late == nil:
		g.late = time.AfterFunc(gatherMost, g.stopGathering)
	default:
		g.late.Reset(gatherMost)
	}
	g.pending = true
}

// stopGathering gives those who wait a flush, however few they are.
func (g *Group[T]) stopGathering() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending = false
	g.waited = len(g.queue) > g.gone
	g.spread()
}

// due reports whether those who wait shall have a flush, beside so many others.
// g.mu is held.
func (g *Group[T]) due(others int) bool {
	return others == 0 || g.waited || len(g.queue)-g.gone >= min(g.opts.Gather, g.last*g.last)
}

// wake hands a slot to a worker. g.mu is held.
func (g *Group[T]) wake() {
	if g.parked == 0 {
		g.ended.Go(g.work)
	} else {
		g.parked--
	}
	g.turn <- struct{}{} // there are never more slots than room
}
