// Package seq draws each user's sequence numbers from the counter that all
// SDKs share, and lifts the counter where it fell behind the table, as a Redis
// that lost its data does.
package seq

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/message-gateway/gateway/internal/bus"
)

// Table answers which numbers are taken.
type Table interface {
	MaxSeqs(ctx context.Context, userIDs []string) (map[string]int64, error)
}

// rememberUsers bounds the memory of an Allocator: two generations of this
// many users.
const rememberUsers = 50_000

// Allocator draws numbers. A number that grew past the last one seen in this
// process needs no check; the first number of a user, one that went back, and
// the first after another Redis answered are compared with the table. All
// methods may be called from several goroutines.
type Allocator struct {
	bus   bus.Bus
	table Table

	// turn is held while numbers are drawn and judged: two draws at the same
	// time would see each other's numbers as a counter that went back.
	turn  chan struct{}
	epoch uint64
	// Users are remembered in two generations: when the young one is full it
	// becomes the old one, and who is not used again is forgotten.
	young, old map[string]int64
}

// New returns an Allocator.
func New(b bus.Bus, table Table) *Allocator {
	return &Allocator{bus: b, table: table, turn: make(chan struct{}, 1), young: map[string]int64{}}
}

// Next draws one number for each user; the same user may stand there more than
// once. The numbers of a user are larger than every number in the table and
// than every earlier one, though not without gaps. If only some could be drawn
// the error is a *bus.SeqError, and the other numbers are good.
func (a *Allocator) Next(ctx context.Context, userIDs []string) ([]int64, error) {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	reqs := make([]bus.SeqRequest, len(userIDs))
	for i, id := range userIDs {
		reqs[i].UserID = id
	}
	// The epoch is read before the numbers are drawn: if Redis is replaced in
	// between, the numbers are checked once more than needed, never less.
	epoch := a.bus.Epoch()
	seqs, err := a.bus.NextSeqs(ctx, reqs)
	var partial *bus.SeqError
	if err != nil && !errors.As(err, &partial) {
		return nil, err
	}
	if partial != nil {
		// What failed is left out of everything that follows.
		userIDs = slices.Clone(userIDs)
		for i, failed := range partial.Errs {
			if failed != nil {
				userIDs[i] = ""
			}
		}
	}
	if doubtful := a.observe(epoch, userIDs, seqs); len(doubtful) > 0 {
		taken, err := a.table.MaxSeqs(ctx, doubtful)
		if err != nil {
			return nil, err
		}
		if err := a.lift(ctx, userIDs, seqs, doubtful, taken); err != nil {
			return nil, err
		}
	}
	return seqs, err
}

// lift draws again, above the table, for the users whose counter was behind.
// All numbers of such a user are drawn again, so that they stay in order.
func (a *Allocator) lift(ctx context.Context, userIDs []string, seqs []int64, doubtful []string, taken map[string]int64) error {
	behind := map[string]bool{}
	for i, id := range userIDs {
		if floor, ok := taken[id]; ok && seqs[i] <= floor {
			behind[id] = true
		}
	}
	var again []bus.SeqRequest
	var at []int
	for i, id := range userIDs {
		if behind[id] {
			again = append(again, bus.SeqRequest{UserID: id, Floor: taken[id]})
			at = append(at, i)
		}
	}
	if len(again) > 0 {
		lifted, err := a.bus.NextSeqs(ctx, again)
		if err != nil {
			return fmt.Errorf("lift sequence counter: %w", err)
		}
		for j, i := range at {
			seqs[i] = lifted[j]
		}
	}
	for _, id := range doubtful {
		a.forget(id)
	}
	for i, id := range userIDs {
		if id != "" {
			a.remember(id, seqs[i])
		}
	}
	return nil
}

// observe notes the numbers of users that are known, and returns the users
// whose numbers must be compared with the table.
func (a *Allocator) observe(epoch uint64, userIDs []string, seqs []int64) []string {
	if epoch != a.epoch {
		a.epoch = epoch
		a.young, a.old = map[string]int64{}, nil
	}
	var doubtful []string
	listed := map[string]bool{}
	for i, id := range userIDs {
		last, known := a.last(id)
		switch {
		case listed[id] || id == "":
		case known && seqs[i] > last:
			a.remember(id, seqs[i])
		default:
			listed[id] = true
			doubtful = append(doubtful, id)
		}
	}
	return doubtful
}

func (a *Allocator) last(id string) (int64, bool) {
	if seq, ok := a.young[id]; ok {
		return seq, true
	}
	seq, ok := a.old[id]
	return seq, ok
}

// forget drops what is known of a user whose counter went back.
func (a *Allocator) forget(id string) {
	delete(a.young, id)
	delete(a.old, id)
}

func (a *Allocator) remember(id string, seq int64) {
	if _, ok := a.young[id]; !ok && len(a.young) >= rememberUsers {
		a.young, a.old = make(map[string]int64, rememberUsers), a.young
	}
	a.young[id] = seq
}
