// Package outbound is the sending half: it publishes realtime messages, commits
// reliable messages and commands in groups, and tells the nodes about them.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/message-gateway/gateway/internal/batch"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/seq"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
)

// Bounds of the group commit. A batch of 256 rows is where one INSERT stops
// getting cheaper per row, and the store may do better with fewer; several
// batches at once let the database share one flush to disk among them.
const (
	commitBatch    = 256
	commitBytes    = 4 << 20
	commitParallel = 4
	commitGather   = 64 // several small batches at once cost more than one larger
	maxWaiting     = 1 << 16
	flushTimeout   = 30 * time.Second
)

// Committer stores messages. All methods may be called from several goroutines.
type Committer struct {
	core  *core.Core
	seqs  *seq.Allocator
	hints *Hinter
	group *batch.Group[*commit]
	// alone are the sends that do not go through the group.
	alone running
	// numbering names the server that the allocator is talking to: whoever draws
	// numbers waits for it, or for the one who does.
	numbering atomic.Pointer[string]
	// last is the stage that some flush entered last. Queued calls wait for it.
	last atomic.Int32
	// held names the server in whose stage the flush that ended last was then.
	// The calls that it left behind in the queue had waited for that.
	held atomic.Pointer[string]
}

// commit is one message on its way into the table.
type commit struct {
	msg       *store.Message
	duplicate bool
	// stage is that of the flush that the message is in.
	stage atomic.Int32
	// queued is when the call began, taken when and behind what its flush did.
	queued time.Time
	taken  atomic.Pointer[taken]
}

// taken is the end of the time in the queue, and what that was spent behind.
type taken struct {
	at     time.Time
	behind *string
}

// blame names the server that a call has waited for longest: the one that its
// flush waits for, unless the time in the queue was longer. Who has no time left
// when the turn comes would blame whatever is asked first.
func (t *taken) blame(queued time.Time, server *string) *string {
	if t != nil && t.behind != nil && t.at.Sub(queued) > time.Since(t.at) {
		return t.behind
	}
	return server
}

// The stages of a flush.
const (
	stageNone int32 = iota
	stageNumber
	stageInsert
)

// enter notes that a flush of these messages has come to a stage.
func (k *Committer) enter(stage int32, commits ...*commit) {
	k.last.Store(stage)
	for _, c := range commits {
		c.stage.Store(stage)
	}
}

// seqBus and seqTable are the bus and the table in the eyes of the allocator,
// which talks to one of them at a time. What it talked to last is what failed.
type (
	seqBus struct {
		bus.Bus
		k *Committer
	}
	seqTable struct{ k *Committer }
)

// NextSeqs implements bus.Bus.
func (b seqBus) NextSeqs(ctx context.Context, reqs []bus.SeqRequest) ([]int64, error) {
	b.k.numbering.Store(&b.k.core.BusName)
	return b.Bus.NextSeqs(ctx, reqs)
}

// tableError is an error of the table, which names its server by itself.
type tableError struct{ error }

// Unwrap is the store's error.
func (e *tableError) Unwrap() error { return e.error }

// MaxSeqs implements seq.Table.
func (t seqTable) MaxSeqs(ctx context.Context, userIDs []string) (map[string]int64, error) {
	t.k.numbering.Store(&t.k.core.StoreName)
	taken, err := t.k.core.Store.MaxSeqs(ctx, userIDs)
	if err != nil {
		return nil, &tableError{err}
	}
	return taken, nil
}

// Now implements seq.Table.
func (t seqTable) Now() time.Time { return t.k.core.Store.Now() }

// NewCommitter returns a Committer that hands what it stored to hints.
func NewCommitter(c *core.Core, hints *Hinter) *Committer {
	k := &Committer{core: c, hints: hints}
	k.numbering.Store(&c.BusName)
	k.seqs = seq.New(seqBus{c.Bus, k}, seqTable{k})
	k.group = batch.New(batch.Options{
		MaxBatch: commitBatch, MaxBytes: commitBytes, Parallel: commitParallel,
		MaxWaiting: maxWaiting, Timeout: flushTimeout,
		Gather: commitGather, Size: c.Store.InsertSize,
	}, k.flush)
	return k
}

// Commit draws the seq, stores the message and tells the nodes. duplicate
// means that a row with that id was there before; nothing was written then.
func (k *Committer) Commit(ctx context.Context, msg *store.Message) (duplicate bool, err error) {
	c := &commit{msg: msg, queued: time.Now()}
	started, err := k.group.Do(ctx, c, len(msg.Payload))
	switch {
	case err == nil:
		return c.duplicate, nil
	case errors.Is(err, batch.ErrFull):
		k.core.Metrics.Overflow(telemetry.QueueCommit)
	case ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, batch.ErrTimeout):
		// The flush may still run, so nothing else of c may be read. It ends with
		// the last of its callers, and may notice that a moment before that one.
		err = k.waited(err, started, c)
	}
	return false, err
}

// server is what a stage waits for.
func (k *Committer) server(stage int32) *string {
	if stage == stageNumber {
		return k.numbering.Load()
	}
	return &k.core.StoreName
}

// waited says what a call whose ctx ended was waiting for, and whether the
// message may have been stored all the same.
func (k *Committer) waited(err error, started bool, c *commit) error {
	stage := c.stage.Load()
	if stage == stageNone { // queued, or in a flush that has not begun
		stage = k.last.Load()
	}
	server := *c.taken.Load().blame(c.queued, k.server(stage))
	switch {
	case stage == stageNone: // nothing has begun yet
		return err
	case !started:
		return fmt.Errorf("%w while earlier sends were waiting for %s; nothing was stored", err, server)
	default:
		return fmt.Errorf("%w while waiting for %s; the message may or may not be stored", err, server)
	}
}

// CommitAll stores all messages or none, and tells the nodes. A message that is
// stored already is left out; an id of another message is a *store.TakenError.
func (k *Committer) CommitAll(ctx context.Context, msgs []*store.Message) error {
	if !k.alone.begin() {
		return batch.ErrClosed
	}
	defer k.alone.end()
	if err := k.number(ctx, msgs); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w; nothing was stored", err)
		}
		return err
	}
	duplicates, err := k.core.Store.InsertAll(ctx, msgs)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w; the messages may or may not be stored, all of them or none", err)
		}
		return err
	}
	taken := make(map[int]bool, len(duplicates))
	for _, i := range duplicates {
		taken[i] = true
	}
	for i, msg := range msgs {
		if !taken[i] {
			k.hints.Tell(msg)
		}
	}
	return nil
}

// number draws the seqs of messages.
func (k *Committer) number(ctx context.Context, msgs []*store.Message) error {
	users := make([]string, len(msgs))
	for i, msg := range msgs {
		users[i] = msg.UserID
	}
	seqs, err := k.seqs.Next(ctx, users)
	if table := (*tableError)(nil); err != nil && !errors.As(err, &table) {
		err = fmt.Errorf("%s: %w", *k.numbering.Load(), err)
	}
	for i, seq := range seqs {
		msgs[i].Seq = seq
	}
	return err
}

// Queues are what the Committer bounds.
func (k *Committer) Queues() []telemetry.Queue {
	return []telemetry.Queue{{Name: telemetry.QueueCommit, Length: k.group.Waiting, Limit: telemetry.Bound(maxWaiting)}}
}

// Close waits for running commits, for drain at most. It is called once.
func (k *Committer) Close(drain time.Duration) {
	deadline := time.Now().Add(drain)
	idle := k.alone.refuse()
	k.group.Close(drain)
	wait(idle, time.Until(deadline))
}

func (k *Committer) flush(ctx context.Context, commits []*commit, errs []error) {
	msgs := make([]*store.Message, len(commits))
	from := &taken{at: time.Now(), behind: k.held.Load()}
	for i, c := range commits {
		msgs[i] = c.msg
		c.taken.Store(from)
	}
	defer func() {
		k.held.Store(from.blame(commits[0].queued, k.server(commits[0].stage.Load())))
	}()
	ctx, span := telemetry.Batch(ctx, k.core.Tracer, telemetry.Commit, msgs, traceOf)
	defer func() { telemetry.End(span, "store", errors.Join(errs...)) }()
	k.enter(stageNumber, commits...)
	err := k.number(ctx, msgs)
	if partial := (*bus.SeqError)(nil); errors.As(err, &partial) && len(partial.Errs) == len(commits) {
		// The others go on as if the failed ones had not been there.
		rest := make([]*commit, 0, len(commits))
		at := make([]int, 0, len(commits))
		for i, failed := range partial.Errs {
			if failed == nil {
				rest, at = append(rest, commits[i]), append(at, i)
				continue
			}
			errs[i] = fmt.Errorf("%s: %w", k.core.BusName, failed)
		}
		inserted := make([]error, len(rest))
		if len(rest) > 0 {
			k.insert(ctx, rest, inserted)
		}
		for j, i := range at {
			errs[i] = inserted[j]
		}
		return
	}
	if err != nil {
		fill(errs, err)
		return
	}
	k.insert(ctx, commits, errs)
}

// insert stores messages that have their seq.
func (k *Committer) insert(ctx context.Context, commits []*commit, errs []error) {
	msgs := make([]*store.Message, len(commits))
	for i, c := range commits {
		msgs[i] = c.msg
	}
	k.enter(stageInsert, commits...)
	duplicates, err := k.core.Store.Insert(ctx, msgs)
	switch {
	case errors.Is(err, store.ErrRejected) && len(commits) > 1:
		// One bad row must not spoil the others: each for itself.
		for i, c := range commits {
			k.insertOne(ctx, c, &errs[i])
		}
		return
	case err != nil:
		fill(errs, err)
		return
	}
	for _, i := range duplicates {
		commits[i].duplicate = true
	}
	for _, c := range commits {
		if !c.duplicate {
			k.hints.Tell(c.msg)
		}
	}
}

func (k *Committer) insertOne(ctx context.Context, c *commit, failure *error) {
	duplicates, err := k.core.Store.Insert(ctx, []*store.Message{c.msg})
	if err != nil {
		*failure = err
		return
	}
	c.duplicate = len(duplicates) > 0
	if !c.duplicate {
		k.hints.Tell(c.msg)
	}
}

func fill(errs []error, err error) {
	for i := range errs {
		errs[i] = err
	}
}
