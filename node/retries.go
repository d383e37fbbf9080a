package node

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/message-gateway/gateway/internal/wire"
)

// retryBatch is how many due deliveries are looked at together.
const retryBatch = 256

// retries knows when deliveries are due: to be sent again, or to expire. One
// timer serves all of them. Users' locks may be held when its lock is taken.
type retries struct {
	mu   sync.Mutex
	heap timerHeap
	wake chan struct{}
}

// timer is the place of a delivery in the heap.
type timer struct {
	due   time.Time
	index int // from 1; 0 means not in the heap
}

func newRetries() *retries { return &retries{wake: make(chan struct{}, 1)} }

// add makes a delivery due at a time; zero means never.
func (r *retries) add(d *delivery, due time.Time) {
	if due.IsZero() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d.timer.due = due
	if d.timer.index > 0 {
		heap.Fix(&r.heap, d.timer.index-1)
	} else {
		heap.Push(&r.heap, d)
	}
	if d.timer.index == 1 {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

func (r *retries) remove(d *delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.timer.index > 0 {
		heap.Remove(&r.heap, d.timer.index-1)
	}
}

// due takes deliveries whose time has come; without any it says how long there
// is nothing to do.
func (r *retries) due(now time.Time) (due []*delivery, wait time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.heap) > 0 && len(due) < retryBatch {
		if next := r.heap[0].timer.due; next.After(now) {
			return due, next.Sub(now)
		}
		due = append(due, heap.Pop(&r.heap).(*delivery))
	}
	return due, time.Hour
}

// nextAttempt is when a delivery is due that was just sent.
func (n *Node) nextAttempt(d *delivery) time.Time {
	interval := or(d.hint.RetryInterval, n.opts.RetryInterval)
	due := n.core.Store.Now().Add(jitter(interval))
	if expiry := d.hint.Expiry(); !expiry.IsZero() && expiry.Before(due) {
		return expiry
	}
	return due
}

func (n *Node) runRetries(ctx context.Context) {
	clock := time.NewTimer(time.Hour)
	defer clock.Stop()
	for {
		due, wait := n.retries.due(n.core.Store.Now())
		if len(due) > 0 {
			n.retryAll(ctx, due)
			continue
		}
		clock.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-n.retries.wake:
		case <-clock.C:
		}
	}
}

// retryAll times out what has expired and sends the rest again, unless the
// database says that it ended elsewhere: another node's device may have
// acknowledged it.
func (n *Node) retryAll(ctx context.Context, due []*delivery) {
	ctx, cancel := context.WithTimeout(ctx, n.opts.HandlerTimeout)
	defer cancel()
	ids := make([]string, len(due))
	var expired []string
	now := n.core.Store.Now()
	for i, d := range due {
		ids[i] = d.hint.ID
		if expiry := d.hint.Expiry(); !expiry.IsZero() && !expiry.After(now) {
			expired = append(expired, d.hint.ID)
		}
	}
	if len(expired) > 0 {
		if err := n.core.Store.TimeOut(ctx, expired); err != nil {
			// The janitor of some node does it later.
			n.core.Log.Warn("expired commands not written", "count", len(expired), "error", err)
		}
	}
	rows, err := n.core.Store.GetMany(ctx, ids)
	if err != nil {
		n.core.Log.Warn("deliveries not checked before they are sent again", "count", len(ids), "error", err)
	}
	status := make(map[string]wire.Status, len(rows))
	for _, row := range rows {
		status[row.ID] = row.Status
	}
	for _, d := range due {
		expiry := d.hint.Expiry()
		st, found := status[d.hint.ID]
		over := !expiry.IsZero() && !expiry.After(now) || err == nil && (!found || !st.Unfinished())
		if over {
			d.user.forget(d)
			continue
		}
		d.user.resend(d)
	}
}

// resend hands a message again to the sessions that have it, and to those that
// could not take it before.
func (u *user) resend(d *delivery) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.requested[d.hint.ID] == d {
		u.node.retries.add(d, d.hint.Expiry())
		return
	}
	if u.inFlight[d.hint.ID] != d {
		return
	}
	for _, m := range u.sessions {
		switch {
		case !d.reached(m.session):
			u.offer(m, d)
		case m.attached() && m.send(outFrame{message: d.frame, delivery: d}):
			u.node.core.Metrics.Redelivered.Add(context.Background(), 1, kinds[d.hint.Type].Add...)
			u.node.traceDelivery(d, m.session, true)
		}
	}
	u.node.retries.add(d, u.node.nextAttempt(d))
}

// attached reports whether the session has a socket: what it was sent before
// is sent again by a recovery anyway.
func (s *session) attached() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil
}

// jitter spreads d by a tenth, so that many do not act in step.
func jitter(d time.Duration) time.Duration { return d - d/20 + rand.N(d/10+1) }

type timerHeap []*delivery

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].timer.due.Before(h[j].timer.due) }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].timer.index, h[j].timer.index = i+1, j+1
}

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	d := x.(*delivery)
	*h = append(*h, d)
	d.timer.index = len(*h)
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	old := *h
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	d.timer.index = 0
	return d
}
