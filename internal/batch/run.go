package batch

import (
	"context"
	"runtime"
	"time"
)

// runInline flushes a call that found the group idle, on the goroutine of its
// caller, and leaves to a worker what has gathered meanwhile.
func (g *Group[T]) runInline(ctx context.Context, c *call[T]) error {
	began := time.Now()
	flushing, cancel := context.WithDeadline(ctx, began.Add(g.opts.Timeout))
	g.mu.Lock()
	c.cancel = cancel
	if g.gaveUp {
		cancel()
	}
	g.mu.Unlock()
	c.items[0] = c.item
	g.flush(flushing, c.items[:], c.errs[:])

	g.mu.Lock()
	for i, other := range g.inline {
		if other == c {
			last := len(g.inline) - 1
			g.inline[i], g.inline[last] = g.inline[last], nil
			g.inline = g.inline[:last]
			break
		}
	}
	if len(g.queue) > g.gone {
		g.wake() // with the slot of this call
	} else {
		g.release()
	}
	g.mu.Unlock()
	cancel()
	err := c.errs[0]
	if err == nil {
		g.recycle(c) // after an error the flush may still have it
	} else if ended := ctx.Err(); ended != nil {
		return ended // that of the flush only says so in other words
	}
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > 0 {
		return ownTimeout(began, err)
	}
	return err
}

// work flushes what waits, whenever a slot is handed over.
func (g *Group[T]) work() {
	var b batch[T]
	for range g.turn {
		for g.take(&b) {
			g.run(&b)
			// Those who have their outcome now are about to call again: together
			// with them the next batch is larger.
			runtime.Gosched()
		}
	}
}

// batch is a worker's, and is used again.
type batch[T any] struct {
	calls []*call[T]
	items []T
	errs  []error
}

// take moves the next batch out of the queue, or gives the slot back.
func (g *Group[T]) take(b *batch[T]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	b.calls = b.calls[:0]
	most := 0
	if g.due(g.running - 1) {
		most = g.next()
	} else if len(g.queue) > g.gone {
		g.hurry() // the others may be about to end, or hang
	}
	n := 0
	for ; n < len(g.queue) && (len(b.calls) < most || g.queue[n].gone); n++ {
		c := g.queue[n]
		if c.gone {
			g.gone--
			continue
		}
		c.taken = true
		b.calls = append(b.calls, c)
	}
	rest := copy(g.queue, g.queue[n:])
	clear(g.queue[rest:])
	g.queue = g.queue[:rest]
	if len(b.calls) == 0 {
		g.parked++
		g.release()
		return false
	}
	g.last, g.waited = len(b.calls), false
	g.spread()
	return true
}

// next is the number of calls in the next batch. g.mu is held.
func (g *Group[T]) next() int {
	n, bytes := 0, 0
	for _, c := range g.queue {
		if c.gone {
			continue
		}
		bytes += c.size
		if n == g.opts.MaxBatch || n > 0 && bytes > g.opts.MaxBytes {
			break
		}
		n++
	}
	if n > 0 && g.opts.Size != nil {
		n = g.opts.Size(n)
	}
	return n
}

func (g *Group[T]) run(b *batch[T]) {
	b.items, b.errs = b.items[:0], b.errs[:0]
	began := time.Now()
	deadline := began.Add(g.opts.Timeout)
	latest := b.calls[0].deadline
	for _, c := range b.calls {
		b.items, b.errs = append(b.items, c.item), append(b.errs, nil)
		if c.deadline.IsZero() || (!latest.IsZero() && c.deadline.After(latest)) {
			latest = c.deadline
		}
	}
	own := latest.IsZero() || deadline.Before(latest)
	if !own {
		deadline = latest
	}
	ctx, cancel := context.WithDeadline(g.ctx, deadline)
	g.flush(ctx, b.items, b.errs)
	cancel()
	failed := false
	for i, c := range b.calls {
		c.err = b.errs[i]
		if own {
			c.err = ownTimeout(began, c.err)
		}
		failed = failed || c.err != nil
		c.done <- struct{}{}
	}
	clear(b.calls)
	clear(b.items)
	if failed {
		b.items, b.errs = nil, nil // the flush may still have them
	}
}
