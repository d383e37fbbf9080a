package membroker

import (
	"context"
	"sync"
)

// queue hands each item to one of its takers, in order. It is bounded: a push
// onto a full queue drops the oldest item, as RabbitMQ does with x-max-length.
// Its methods may be called at the same time from several goroutines.
type queue[T any] struct {
	limit int

	mu      sync.Mutex
	items   []T // waiting items; the oldest is items[head]
	head    int
	parked  int         // items that pause before they come back
	takers  []*taker[T] // waiting takers, the longest waiting first; none while items wait
	dropped func(n uint64)
	drops   uint64
}

type taker[T any] struct {
	item  T
	ready chan struct{}
}

func newQueue[T any](limit int, dropped func(n uint64)) *queue[T] {
	return &queue[T]{limit: limit, dropped: dropped}
}

// push appends an item, or hands it to the longest waiting taker.
func (q *queue[T]) push(item T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.handOver(item) {
		return
	}
	for q.len() > 0 && q.len()+q.parked >= q.limit {
		q.pop()
		q.drops++
		q.dropped(q.drops)
	}
	q.items = append(q.items, item)
}

// pushFront puts an item that was taken but not handled back to its place.
func (q *queue[T]) pushFront(item T) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.handOver(item) {
		return
	}
	if q.head > 0 {
		q.head--
		q.items[q.head] = item
		return
	}
	q.items = append([]T{item}, q.items...)
}

// park counts an item that comes back with unpark, so that pausing items
// count against the limit. It reports false when the queue is full of them.
func (q *queue[T]) park() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.parked >= q.limit {
		q.drops++
		q.dropped(q.drops)
		return false
	}
	q.parked++
	return true
}

func (q *queue[T]) unpark(item T) {
	q.mu.Lock()
	q.parked--
	q.mu.Unlock()
	q.push(item)
}

// take returns the oldest item, waiting for one until ctx ends.
func (q *queue[T]) take(ctx context.Context) (T, error) {
	var none T
	q.mu.Lock()
	if ctx.Err() != nil {
		q.mu.Unlock()
		return none, ctx.Err()
	}
	if q.len() > 0 {
		item := q.pop()
		q.mu.Unlock()
		return item, nil
	}
	t := &taker[T]{ready: make(chan struct{})}
	q.takers = append(q.takers, t)
	q.mu.Unlock()
	select {
	case <-t.ready:
		return t.item, nil
	case <-ctx.Done():
		if !q.forget(t) {
			// An item came in the same moment; it must not be lost with us.
			q.pushFront(t.item)
		}
		return none, ctx.Err()
	}
}

// forget removes a waiting taker and reports whether it still waited.
func (q *queue[T]) forget(t *taker[T]) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, other := range q.takers {
		if other == t {
			q.takers = append(q.takers[:i], q.takers[i+1:]...)
			return true
		}
	}
	return false
}

func (q *queue[T]) handOver(item T) bool {
	if len(q.takers) == 0 {
		return false
	}
	t := q.takers[0]
	q.takers = q.takers[1:]
	t.item = item
	close(t.ready)
	return true
}

// waiting counts what waits or pauses.
func (q *queue[T]) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.len() + q.parked
}

func (q *queue[T]) len() int { return len(q.items) - q.head }

func (q *queue[T]) pop() T {
	var none T
	item := q.items[q.head]
	q.items[q.head] = none
	q.head++
	switch {
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head > len(q.items)/2 && q.head > 1024:
		q.items, q.head = append(q.items[:0], q.items[q.head:]...), 0
	}
	return item
}
