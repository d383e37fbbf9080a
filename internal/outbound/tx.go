package outbound

import (
	"context"
	"database/sql"
	"slices"
	"sync"
	"time"

	"github.com/message-gateway/gateway/internal/batch"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/lifecycle"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
)

// A message that was written inside the caller's transaction is looked for, at
// growing intervals, until it is visible and the nodes can be told. What is
// not visible by then was rolled back, or is found by the nodes' slow round.
const (
	maxWatched    = 1 << 14
	watchFirst    = 5 * time.Millisecond
	watchLongest  = 2 * time.Second
	watchGiveUp   = 2 * time.Minute
	watchAtOnce   = 500
	watchDeadline = 5 * time.Second
)

// TxWatcher tells the nodes about messages once their transaction has
// committed. All methods may be called from several goroutines.
type TxWatcher struct {
	core   *core.Core
	commit *Committer
	hints  *Hinter
	work   *lifecycle.Group

	mu      sync.Mutex
	watched []*watch
	wake    chan struct{}
}

type watch struct {
	msg   *store.Message
	next  time.Time
	pause time.Duration
	until time.Time
}

// NewTxWatcher starts a TxWatcher.
func NewTxWatcher(c *core.Core, k *Committer, hints *Hinter) *TxWatcher {
	w := &TxWatcher{core: c, commit: k, hints: hints, work: lifecycle.New(context.Background()), wake: make(chan struct{}, 1)}
	w.work.Go(w.run)
	return w
}

// Commit draws the seq and writes the message inside tx, unless it is there
// already. An id of another message is a *store.TakenError.
func (w *TxWatcher) Commit(ctx context.Context, tx *sql.Tx, msg *store.Message) error {
	if !w.commit.alone.begin() {
		return batch.ErrClosed
	}
	defer w.commit.alone.end()
	if err := w.commit.number(ctx, []*store.Message{msg}); err != nil {
		return err
	}
	duplicate, err := w.core.Store.InsertTx(ctx, tx, msg)
	if err != nil || duplicate {
		return err
	}
	now := time.Now()
	w.mu.Lock()
	full := len(w.watched) >= maxWatched
	if !full {
		w.watched = append(w.watched, &watch{msg: msg, next: now.Add(watchFirst), pause: watchFirst, until: now.Add(watchGiveUp)})
	}
	w.mu.Unlock()
	if full {
		w.core.Metrics.Overflow(telemetry.QueueTransactions)
		w.core.Metrics.HintsLost.Add(ctx, 1)
		return nil
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

// Queues are what the TxWatcher bounds.
func (w *TxWatcher) Queues() []telemetry.Queue {
	watched := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.watched)
	}
	return []telemetry.Queue{{Name: telemetry.QueueTransactions, Length: watched, Limit: telemetry.Bound(maxWatched)}}
}

// Close looks once more, for drain at most, so that what has committed is told to
// the nodes, and stops. What commits later they find in their slow round. Close
// the Committer before, and the Hinter after it.
func (w *TxWatcher) Close(drain time.Duration) {
	w.work.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), max(drain, 0))
	defer cancel()
	w.mu.Lock()
	left := slices.Clone(w.watched)
	w.mu.Unlock()
	for due := range slices.Chunk(left, watchAtOnce) {
		if ctx.Err() != nil {
			return
		}
		w.look(ctx, due)
	}
}

func (w *TxWatcher) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		}
		due, next := w.due(time.Now())
		if len(due) > 0 {
			w.look(ctx, due)
			_, next = w.due(time.Now())
		}
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// due returns the messages to look for now, at most watchAtOnce, and when the
// next ones are due.
func (w *TxWatcher) due(now time.Time) (due []*watch, next time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, entry := range w.watched {
		if !entry.next.After(now) && len(due) < watchAtOnce {
			due = append(due, entry)
		}
		if next.IsZero() || entry.next.Before(next) {
			next = entry.next
		}
	}
	return due, next
}

func (w *TxWatcher) look(ctx context.Context, due []*watch) {
	ctx, cancel := context.WithTimeout(ctx, watchDeadline)
	defer cancel()
	ids := make([]string, len(due))
	for i, entry := range due {
		ids[i] = entry.msg.ID
	}
	rows, err := w.core.Store.GetMany(ctx, ids)
	if err != nil {
		w.core.Log.Warn("look for committed messages", "error", err)
	}
	visible := make(map[string]bool, len(rows))
	for _, row := range rows {
		visible[row.ID] = true
	}
	now := time.Now()
	done := make(map[*watch]bool, len(due))
	for _, entry := range due {
		switch {
		case visible[entry.msg.ID]:
			w.hints.Tell(entry.msg)
			done[entry] = true
		case now.After(entry.until):
			done[entry] = true
		default:
			entry.pause = min(entry.pause*2, watchLongest)
			entry.next = now.Add(entry.pause)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.watched[:0]
	for _, entry := range w.watched {
		if !done[entry] {
			kept = append(kept, entry)
		}
	}
	clear(w.watched[len(kept):])
	w.watched = kept
}
