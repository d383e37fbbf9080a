// Package replies brings the answers of devices to the calls that wait for
// them: through one reply queue for the process, and, because a queue can lose
// or delay an answer, by looking in the database as well.
package replies

import (
	"bytes"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/lifecycle"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// ErrFull is returned when too many calls wait.
var ErrFull = errors.New("replies: too many commands are waiting")

// ErrClosed ends every wait when the client closes.
var ErrClosed = errors.New("replies: closed")

const (
	maxWaiters = 1 << 17
	// Who waits for the queue looks in the database at a slow pace; who has
	// only the database starts fast.
	slowPoll    = 2 * time.Second
	fastPoll    = 20 * time.Millisecond
	longestPoll = time.Second
	// pollAtOnce rows are read in one query, each of which ends in time.
	pollAtOnce  = 500
	pollTimeout = 5 * time.Second
)

// Outcome is how a wait ended: with the body of an answer, with a row that is
// finished or timed out, or with an error.
type Outcome struct {
	Body json.RawMessage
	Row  *store.Message
	Err  error
	// Trace is the span of the node that sent the body, where it said so.
	Trace trace.SpanContext
}

// Waiter is one call that waits. C receives one Outcome.
type Waiter struct {
	C <-chan Outcome

	c         chan Outcome
	requestID string // empty: only the database
	messageID string
	next      time.Time
	pause     time.Duration
	grow      bool
	index     int // in the heap; -1 when not there
	done      bool
}

// Waiters holds the calls that wait. All methods may be called from several
// goroutines.
type Waiters struct {
	core  *core.Core
	work  *lifecycle.Group
	queue string

	mu        sync.Mutex
	byRequest map[string]*Waiter
	polls     pollHeap
	closed    bool
	wake      chan struct{}
}

// Open starts consuming the process's reply queue.
func Open(ctx context.Context, c *core.Core) (*Waiters, error) {
	w := &Waiters{
		core: c, work: lifecycle.New(context.Background()),
		byRequest: map[string]*Waiter{}, wake: make(chan struct{}, 1),
	}
	queue, err := c.Broker.ConsumeReplies(ctx, w.deliver, w.pollAll)
	if err != nil {
		return nil, err
	}
	w.queue = queue
	w.work.Go(w.run)
	return w, nil
}

// Queue is the name of the reply queue.
func (w *Waiters) Queue() string { return w.queue }

// Add registers a call that waits for the answer to a command. With a request
// id the answer is expected in the reply queue, otherwise only in the database.
// The caller must Remove the Waiter.
func (w *Waiters) Add(requestID, messageID string) (*Waiter, error) {
	waiter := &Waiter{c: make(chan Outcome, 1), requestID: requestID, messageID: messageID, index: -1}
	waiter.C = waiter.c
	waiter.pause, waiter.grow = slowPoll, false
	if requestID == "" {
		waiter.pause, waiter.grow = fastPoll, true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}
	if len(w.polls) >= maxWaiters {
		w.core.Metrics.Overflow(telemetry.QueueWaiters)
		return nil, ErrFull
	}
	if requestID != "" {
		w.byRequest[requestID] = waiter
	}
	waiter.next = time.Now().Add(jitter(waiter.pause))
	heap.Push(&w.polls, waiter)
	if waiter.index == 0 {
		w.signal()
	}
	return waiter, nil
}

// Remove forgets a Waiter; an answer that comes later finds nobody.
func (w *Waiters) Remove(waiter *Waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.remove(waiter)
}

// Waiting is the number of calls that wait.
func (w *Waiters) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.polls)
}

// Queues are what this package bounds.
func (w *Waiters) Queues() []telemetry.Queue {
	return []telemetry.Queue{{Name: telemetry.QueueWaiters, Length: w.Waiting, Limit: telemetry.Bound(maxWaiters)}}
}

// Close fails every call that waits with ErrClosed and stops.
func (w *Waiters) Close() {
	w.mu.Lock()
	w.closed = true
	for len(w.polls) > 0 {
		w.finish(w.polls[0], Outcome{Err: ErrClosed})
	}
	w.mu.Unlock()
	w.work.Stop()
}

// Answered takes an answer that a node in this process has for the queue, without
// the way through the broker, and reports whether the queue is this one's.
func (w *Waiters) Answered(queue string, a broker.Answer) bool {
	if queue != w.queue {
		return false
	}
	w.deliver(a)
	return true
}

func (w *Waiters) deliver(a broker.Answer) {
	if !json.Valid(a.Body) {
		// The waiter stays: the answer in the database may be better, and if
		// there is none the deadline ends the wait.
		w.core.Log.Warn("answer is not JSON", "request_id", a.CorrelationID)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if waiter, ok := w.byRequest[a.CorrelationID]; ok {
		w.finish(waiter, Outcome{Body: bytes.Clone(a.Body), Trace: a.Trace})
	}
}

// finish ends a wait; w.mu is held.
func (w *Waiters) finish(waiter *Waiter, outcome Outcome) {
	if !waiter.done {
		waiter.done = true
		waiter.c <- outcome
	}
	w.remove(waiter)
}

func (w *Waiters) remove(waiter *Waiter) {
	if waiter.index >= 0 {
		heap.Remove(&w.polls, waiter.index)
	}
	if waiter.requestID != "" && w.byRequest[waiter.requestID] == waiter {
		delete(w.byRequest, waiter.requestID)
	}
}

// pollAll makes every waiter due: answers may have been lost with a connection.
func (w *Waiters) pollAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for _, waiter := range w.polls {
		waiter.next = now
	}
	heap.Init(&w.polls)
	w.signal()
}

func (w *Waiters) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Waiters) run(ctx context.Context) {
	timer := time.NewTimer(slowPoll)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		for {
			due, next := w.due()
			if len(due) == 0 {
				timer.Reset(next)
				break
			}
			w.look(ctx, due)
			if ctx.Err() != nil {
				return
			}
		}
	}
}

// due takes the waiters whose time has come and sets their next time; without
// any, it says how long there is nothing to do.
func (w *Waiters) due() (due map[string][]*Waiter, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	due = map[string][]*Waiter{}
	for len(w.polls) > 0 && len(due) < pollAtOnce {
		waiter := w.polls[0]
		if waiter.next.After(now) {
			return due, waiter.next.Sub(now)
		}
		due[waiter.messageID] = append(due[waiter.messageID], waiter)
		if waiter.grow {
			waiter.pause = min(waiter.pause*3/2, longestPoll)
		}
		waiter.next = now.Add(jitter(waiter.pause))
		heap.Fix(&w.polls, 0)
	}
	return due, slowPoll
}

func (w *Waiters) look(ctx context.Context, due map[string][]*Waiter) {
	ids := make([]string, 0, len(due))
	for id := range due {
		ids = append(ids, id)
	}
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	rows, err := w.core.Store.GetMany(ctx, ids)
	if err != nil {
		w.core.Log.Warn("look for answers", "waiting", len(ids), "error", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, row := range rows {
		ended := row.PushType != wire.Command || !row.Status.Unfinished()
		for _, waiter := range due[row.ID] {
			if ended {
				w.finish(waiter, Outcome{Row: row})
			}
		}
		delete(due, row.ID)
	}
	for _, waiters := range due {
		for _, waiter := range waiters {
			// The row of a running send is not there yet; a call that only
			// has a message id named one that is not there.
			if waiter.requestID == "" {
				w.finish(waiter, Outcome{Err: store.ErrNotFound})
			}
		}
	}
}

// jitter spreads polls by a quarter, so that waiters do not poll in step.
func jitter(d time.Duration) time.Duration {
	return d - d/8 + rand.N(d/4+1)
}

type pollHeap []*Waiter

func (h pollHeap) Len() int           { return len(h) }
func (h pollHeap) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h pollHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *pollHeap) Push(x any) {
	waiter := x.(*Waiter)
	waiter.index = len(*h)
	*h = append(*h, waiter)
}

// Pop implements heap.Interface.
func (h *pollHeap) Pop() any {
	old := *h
	waiter := old[len(old)-1]
	old[len(old)-1] = nil
	waiter.index = -1
	*h = old[:len(old)-1]
	return waiter
}
