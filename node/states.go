package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/lifecycle"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// Bounds and times of the state writes.
const (
	stateBatch = 256
	// holdDelivered is how long a delivery waits to be written: most are
	// acknowledged before, and then one write says both.
	holdDelivered = 500 * time.Millisecond
	stateTick     = 100 * time.Millisecond
	stateTimeout  = 10 * time.Second
	// maxStates bounds each of the two backlogs. A delivery beyond it is not
	// written; an acknowledgement beyond it is lost, and the message comes again.
	maxStates = 1 << 17
	// rememberOver is how long a message that ended is remembered at least, for
	// rows that were read just before.
	rememberOver = 5 * time.Second
)

// states writes what happened to messages into the database, in batches. All
// methods may be called from several goroutines.
type states struct {
	core *core.Core
	work *lifecycle.Group
	wake chan struct{}

	mu sync.Mutex
	// sent holds deliveries in order of time, waiting those not yet written.
	sent    []store.Settlement
	waiting map[string]time.Time
	// acks are acknowledgements to write; writing are those being written.
	acks    map[string]store.Settlement
	writing map[string]store.Settlement
	// traces are the spans of acknowledgements that are not written.
	traces map[string]trace.Span
	// recent and older remember what ended, in two generations.
	recent, older map[string]struct{}
	rotated       time.Time
	// hurry: the node stops, deliveries need not wait any more.
	hurry bool
}

func newStates(c *core.Core) *states {
	s := &states{
		core: c, work: lifecycle.New(context.Background()), wake: make(chan struct{}, 1),
		waiting: map[string]time.Time{}, acks: map[string]store.Settlement{},
		traces: map[string]trace.Span{}, recent: map[string]struct{}{}, older: map[string]struct{}{}, rotated: time.Now(),
	}
	s.work.Go(s.run)
	return s
}

// delivered notes that a message was handed to a device for the first time.
func (s *states) delivered(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sent) >= maxStates {
		s.core.Metrics.Overflow(telemetry.QueueDeliveries)
		return
	}
	s.sent = append(s.sent, store.Settlement{ID: id, DeliveredAt: at})
	s.waiting[id] = at
}

// acknowledge notes that a device acknowledged a message. The span ends when
// that is written.
func (s *states) acknowledge(id string, sentAt time.Time, kind wire.PushType, span trace.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, id)
	if len(s.acks) >= maxStates {
		s.core.Metrics.Overflow(telemetry.QueueAcknowledgements)
		telemetry.End(span, "overloaded", errBacklogFull)
		return
	}
	if span.IsRecording() {
		s.traces[id] = span
	}
	s.acks[id] = store.Settlement{ID: id, DeliveredAt: sentAt, AcknowledgedAt: s.core.Store.Now()}
	s.core.Metrics.Acknowledged.Add(context.Background(), 1, kinds[kind].Add...)
	if kind == wire.Reliable {
		s.recent[id] = struct{}{}
	}
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// finished notes that a message ended otherwise: a command was answered. key is
// its id or its request id.
func (s *states) finished(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, key) // the row says more already
	s.recent[key] = struct{}{}
}

// over reports whether a message ended on this node, lately or with its state
// not yet written.
func (s *states) over(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.recent[key]; ok {
		return true
	}
	_, ok := s.older[key]
	return ok
}

// stop ends the writer; drain first.
func (s *states) stop() {
	s.work.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, span := range s.traces {
		telemetry.End(span, "closed", errNotWritten)
		delete(s.traces, id)
	}
}

var (
	errBacklogFull = errors.New("too many acknowledgements wait to be written")
	errNotWritten  = errors.New("the node stopped before the acknowledgement was written")
)

// drain waits until every acknowledgement and delivery is written, or ctx ends.
func (s *states) drain(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		s.hurry = true
		idle := len(s.acks) == 0 && len(s.writing) == 0 && len(s.waiting) == 0
		s.mu.Unlock()
		if idle {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *states) run(ctx context.Context) {
	tick := time.NewTicker(stateTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-tick.C:
		}
		s.rotate()
		for batch := s.take(); len(batch) > 0; batch = s.take() {
			if !s.write(ctx, batch) {
				break
			}
		}
	}
}

// take picks the acknowledgements, and the deliveries that have waited.
func (s *states) take() []store.Settlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := make([]store.Settlement, 0, min(len(s.acks), stateBatch))
	s.writing = map[string]store.Settlement{}
	for id, ack := range s.acks {
		if len(batch) == stateBatch {
			return batch
		}
		batch = append(batch, ack)
		s.writing[id] = ack
		delete(s.acks, id)
	}
	limit := s.core.Store.Now().Add(-holdDelivered)
	n := 0
	for n < len(s.sent) && len(batch) < stateBatch && (s.hurry || s.sent[n].DeliveredAt.Before(limit)) {
		if _, ok := s.waiting[s.sent[n].ID]; ok {
			batch = append(batch, s.sent[n])
			delete(s.waiting, s.sent[n].ID)
			s.writing[s.sent[n].ID] = s.sent[n]
		}
		n++
	}
	s.sent = append(s.sent[:0], s.sent[n:]...)
	return batch
}

// write reports whether the batch was written; acknowledgements of one that
// was not are put back.
func (s *states) write(ctx context.Context, batch []store.Settlement) bool {
	bounded, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	err := s.core.Store.Settle(bounded, batch)
	s.mu.Lock()
	if err != nil {
		for id, write := range s.writing {
			if !write.AcknowledgedAt.IsZero() {
				s.acks[id] = write
			}
		}
	} else {
		s.written()
	}
	s.writing = nil
	s.mu.Unlock()
	if err == nil {
		return true
	}
	s.core.Metrics.StateWriteErrors.Add(ctx, 1)
	s.core.Log.Warn("states not written, trying again", "count", len(batch), "error", err)
	select {
	case <-ctx.Done():
	case <-time.After(jitter(time.Second)):
	}
	return false
}

// written ends the spans of what was just written; s.mu is held.
func (s *states) written() {
	for id, write := range s.writing {
		if span, ok := s.traces[id]; ok && !write.AcknowledgedAt.IsZero() {
			span.End()
			delete(s.traces, id)
		}
	}
}

// backlog counts what waits to be written.
func (s *states) backlog() (deliveries, acknowledgements int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sent), len(s.acks)
}

// rotate forgets what ended long ago. While acknowledgements wait to be
// written nothing is forgotten: the rows still say that they are unfinished.
func (s *states) rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.rotated) < rememberOver || len(s.acks) > 0 && len(s.recent) < maxStates {
		return
	}
	s.older, s.recent, s.rotated = s.recent, map[string]struct{}{}, time.Now()
}
