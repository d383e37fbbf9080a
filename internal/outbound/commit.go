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
)

// Bounds of the group commit. A batch of 256 rows is where one INSERT stops
// getting cheaper per row; several batches at once let the database share one
// flush to disk among them.
const (
	commitBatch    = 256
	commitBytes    = 4 << 20
	commitParallel = 4
	maxWaiting     = 1 << 16
	flushTimeout   = 30 * time.Second
)

// Committer stores messages. All methods may be called from several goroutines.
type Committer struct {
	core  *core.Core
	seqs  *seq.Allocator
	hints *Hinter
	group *batch.Group[*commit]
}

// commit is one message on its way into the table.
type commit struct {
	msg       *store.Message
	duplicate bool
	// waitsFor names the server that the flush is talking to.
	waitsFor atomic.Pointer[string]
}

// NewCommitter returns a Committer that hands what it stored to hints.
func NewCommitter(c *core.Core, hints *Hinter) *Committer {
	k := &Committer{core: c, seqs: seq.New(c.Bus, c.Store), hints: hints}
	k.group = batch.New(batch.Options{
		MaxBatch: commitBatch, MaxBytes: commitBytes, Parallel: commitParallel,
		MaxWaiting: maxWaiting, Timeout: flushTimeout,
	}, k.flush)
	return k
}

// Commit draws the seq, stores the message and tells the nodes. duplicate
// means that a row with that id was there before; nothing was written then.
func (k *Committer) Commit(ctx context.Context, msg *store.Message) (duplicate bool, err error) {
	c := &commit{msg: msg}
	started, err := k.group.Do(ctx, c, len(msg.Payload))
	switch {
	case err == nil:
		return c.duplicate, nil
	case ctx.Err() != nil:
		// The flush may still run, so nothing else of c may be read.
		err = waited(err, started, c.waitsFor.Load())
	}
	return false, err
}

// waited says what a call whose ctx ended was waiting for, and whether the
// message may have been stored all the same.
func waited(err error, started bool, server *string) error {
	switch {
	case !started:
		return fmt.Errorf("%w while earlier sends were waiting for the backends; nothing was stored", err)
	case server == nil:
		return err
	default:
		return fmt.Errorf("%w while waiting for %s; the message may or may not be stored", err, *server)
	}
}

// CommitAll stores all messages or none, and tells the nodes. The indexes of
// messages whose id was taken are returned.
func (k *Committer) CommitAll(ctx context.Context, msgs []*store.Message) (duplicates []int, err error) {
	if err := k.number(ctx, msgs); err != nil {
		return nil, err
	}
	duplicates, err = k.core.Store.Insert(ctx, msgs)
	if err != nil {
		return nil, err
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
	return duplicates, nil
}

// number draws the seqs of messages.
func (k *Committer) number(ctx context.Context, msgs []*store.Message) error {
	users := make([]string, len(msgs))
	for i, msg := range msgs {
		users[i] = msg.UserID
	}
	seqs, err := k.seqs.Next(ctx, users)
	if err != nil {
		err = fmt.Errorf("%s: %w", k.core.BusName, err)
	}
	for i, seq := range seqs {
		msgs[i].Seq = seq
	}
	return err
}

// Close waits for running commits, for drain at most.
func (k *Committer) Close(drain time.Duration) { k.group.Close(drain) }

func (k *Committer) flush(ctx context.Context, commits []*commit, errs []error) {
	msgs := make([]*store.Message, len(commits))
	for i, c := range commits {
		msgs[i] = c.msg
		c.waitsFor.Store(&k.core.BusName)
	}
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
		c.waitsFor.Store(&k.core.StoreName)
	}
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
