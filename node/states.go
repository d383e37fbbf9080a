package node

import (
	"context"
	"errors"
	"slices"
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
	// stateWriters is the number of batches that may be written at the same
	// time. The second one starts when a whole batch waits: small ones would cost
	// the database a commit each.
	stateWriters = 4
	// holdState is how long a delivery, and the acknowledgement of a command,
	// wait to be written: most are acknowledged or answered before, and then one
	// write says both.
	holdState    = 500 * time.Millisecond
	stateTick    = 100 * time.Millisecond
	stateTimeout = 10 * time.Second
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
	// acks are acknowledgements to write, in order of time.
	acks []store.Settlement
	// held are states that the next one may make superfluous, order their ids in
	// order of time: also of those that are not held any more.
	held  map[string]store.Settlement
	order []heldSince
	// writers counts the batches being written.
	writers int
	// traces are the spans of acknowledgements that are not written.
	traces map[string]trace.Span
	// recent and older remember what ended, in two generations.
	recent, older map[string]struct{}
	rotated       time.Time
	// hurry: the node stops, deliveries need not wait any more.
	hurry bool
}

type heldSince struct {
	id string
	at time.Time
}

func newStates(c *core.Core) *states {
	s := &states{
		core: c, work: lifecycle.New(context.Background()), wake: make(chan struct{}, stateWriters),
		held: map[string]store.Settlement{}, traces: map[string]trace.Span{}, recent: map[string]struct{}{}, older: map[string]struct{}{}, rotated: time.Now(),
	}
	for range stateWriters {
		s.work.Go(s.run)
	}
	return s
}

// delivered notes that a message was handed to a device for the first time.
func (s *states) delivered(id string, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.hold(store.Settlement{ID: id, DeliveredAt: at}) {
		s.core.Metrics.Overflow(telemetry.QueueDeliveries)
	}
}

// hold keeps a state for a while, and reports whether there was room; s.mu is held.
func (s *states) hold(state store.Settlement) bool {
	if _, ok := s.held[state.ID]; !ok {
		if len(s.order) >= maxStates {
			return false
		}
		s.order = append(s.order, heldSince{state.ID, s.core.Store.Now()})
	}
	s.held[state.ID] = state
	return true
}

// acknowledge notes that a device acknowledged a message. The span ends when
// that is written, or needs not be.
func (s *states) acknowledge(id string, sentAt time.Time, kind wire.PushType, span trace.Span) {
	state := store.Settlement{ID: id, DeliveredAt: sentAt, AcknowledgedAt: s.core.Store.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	var kept bool
	if kind == wire.Command {
		kept = s.hold(state)
	} else {
		delete(s.held, id)
		kept = len(s.acks) < maxStates
	}
	if !kept {
		s.core.Metrics.Overflow(telemetry.QueueAcknowledgements)
		telemetry.End(span, "overloaded", errBacklogFull)
		return
	}
	if span.IsRecording() {
		s.traces[id] = span
	}
	s.core.Metrics.Acknowledged.Add(context.Background(), 1, kinds[kind].Add...)
	if kind == wire.Command {
		return
	}
	s.recent[id] = struct{}{}
	s.acks = append(s.acks, state)
	if len(s.acks) == 1 || len(s.acks)%stateBatch == 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// finished notes that a message ended otherwise: a command was answered. key is
// its id or its request id.
func (s *states) finished(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, key) // the row says more already
	s.recent[key] = struct{}{}
	s.endTrace(key)
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

// stop ends the writers; drain first.
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

// drain waits until every acknowledgement and delivery is written, or ctx ends,
// and reports whether they are.
func (s *states) drain(ctx context.Context) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		s.hurry = true
		idle := len(s.acks) == 0 && s.writers == 0 && len(s.held) == 0
		s.mu.Unlock()
		if idle {
			return true
		}
		select {
		case <-ctx.Done():
			return false
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

// take picks acknowledgements, and what was held long enough: nothing while
// another batch is written, unless there is a whole one.
func (s *states) take() []store.Settlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writers > 0 && len(s.acks) < stateBatch {
		return nil
	}
	n := min(len(s.acks), stateBatch)
	batch := slices.Clone(s.acks[:n])
	if s.acks = s.acks[n:]; len(s.acks) == 0 {
		s.acks = nil // let go of the array
	}
	limit := s.core.Store.Now().Add(-holdState)
	for n = 0; n < len(s.order) && len(batch) < stateBatch && (s.hurry || s.order[n].at.Before(limit)); n++ {
		if state, ok := s.held[s.order[n].id]; ok {
			batch = append(batch, state)
			delete(s.held, state.ID)
		}
	}
	if s.order = s.order[n:]; len(s.order) == 0 {
		s.order = nil
	}
	if len(batch) > 0 {
		s.writers++
	}
	return batch
}

// write reports whether the batch was written; acknowledgements of one that
// was not are put back.
func (s *states) write(ctx context.Context, batch []store.Settlement) bool {
	bounded, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	err := s.core.Store.Settle(bounded, batch)
	s.mu.Lock()
	s.writers--
	if err != nil {
		acks := slices.DeleteFunc(batch, func(x store.Settlement) bool { return x.AcknowledgedAt.IsZero() })
		s.acks = append(acks, s.acks...)
	} else {
		for i := range batch {
			if !batch[i].AcknowledgedAt.IsZero() {
				s.endTrace(batch[i].ID)
			}
		}
	}
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

// endTrace ends the span of an acknowledgement, if it has one; s.mu is held.
func (s *states) endTrace(id string) {
	if span, ok := s.traces[id]; ok {
		span.End()
		delete(s.traces, id)
	}
}

// backlog counts what waits to be written.
func (s *states) backlog() (held, acknowledgements int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.order), len(s.acks)
}

// rotate forgets what ended long ago. While acknowledgements wait to be
// written nothing is forgotten: the rows still say that they are unfinished.
func (s *states) rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.rotated) < rememberOver || (len(s.acks) > 0 || s.writers > 0) && len(s.recent) < maxStates {
		return
	}
	s.older, s.recent, s.rotated = s.recent, map[string]struct{}{}, time.Now()
}
