// Package seq draws each user's sequence numbers from the counter that all
// SDKs share, and lifts the counter where it fell behind the table, as a Redis
// that lost its data does.
package seq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/message-gateway/gateway/internal/bus"
)

// Table answers which numbers are taken. Now is the time of its clock, which
// every process has in common.
type Table interface {
	MaxSeqs(ctx context.Context, userIDs []string) (map[string]int64, error)
	Now() time.Time
}

// rememberUsers bounds the memory of an Allocator: two generations of this
// many users.
const rememberUsers = 50_000

// leap is how far above the table a counter is lifted at least that lost its
// data: more than other processes can have drawn for one user and not yet
// stored. Where they have, the table does not show it, and the same numbers
// would be drawn again. A counter that is above the table after all does not
// leap.
//
// That would not help against two losses within the time of one INSERT: what
// was drawn between them is not in the table either, and the second leap would
// land where the first did. So a counter is lifted to the time, in
// microseconds, at least: later leaps land higher, as nobody draws a number for
// one user each microsecond. Until the year 2255 JavaScript is exact there.
const leap = 1 << 20

// Allocator draws numbers. A number that grew past the last one seen in this
// process needs no check; the first number of a user, one that went back, and
// the first after another Redis answered are compared with the table. All
// methods may be called from several goroutines.
type Allocator struct {
	bus   bus.Bus
	table Table

	// turn is held while numbers are drawn and judged: two draws at the same
	// time would see each other's numbers as a counter that went back.
	turn chan struct{}
	// Users are remembered in two generations: when the young one is full it
	// becomes the old one, and who is not used again is forgotten.
	young, old map[string]last
}

// last is the last number of a user that this process saw, and the epoch of the
// bus in which the counter was above the table: unproven, if in none.
type last struct {
	seq   int64
	epoch uint64
}

const unproven = 0

// New returns an Allocator.
func New(b bus.Bus, table Table) *Allocator {
	return &Allocator{bus: b, table: table, turn: make(chan struct{}, 1), young: map[string]last{}}
}

// draw is one call of Next; failed is parallel to the users.
type draw struct {
	users  []string
	seqs   []int64
	failed []error
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
	// The epoch changes before the numbers of another Redis are returned. Numbers
	// between the two readings may be from before the change as well; they must
	// not vouch for the counters after it, and so prove nothing.
	before := a.bus.Epoch()
	seqs, err := a.bus.NextSeqs(ctx, reqs)
	d := &draw{users: userIDs, seqs: seqs, failed: make([]error, len(userIDs))}
	if err != nil {
		var partial *bus.SeqError
		if !errors.As(err, &partial) {
			return nil, err
		}
		copy(d.failed, partial.Errs)
	}
	epoch := a.bus.Epoch()
	if doubtful := a.doubtful(d, epoch); len(doubtful) > 0 {
		floors, err := a.floors(ctx, doubtful)
		if err != nil {
			return nil, err
		}
		if err := a.lift(ctx, d, floors); err != nil {
			return nil, err
		}
	}
	if epoch != before {
		epoch = unproven
	}
	for i, id := range d.users {
		if d.failed[i] == nil {
			a.remember(id, last{d.seqs[i], epoch})
		}
	}
	return d.seqs, d.err()
}

func (d *draw) err() error {
	for _, failed := range d.failed {
		if failed != nil {
			return &bus.SeqError{Errs: d.failed}
		}
	}
	return nil
}

// doubtful returns the users whose numbers must be compared with the table.
func (a *Allocator) doubtful(d *draw, epoch uint64) []string {
	var users []string
	highest := make(map[string]int64, len(d.users))
	listed := map[string]bool{}
	for i, id := range d.users {
		if d.failed[i] != nil {
			continue
		}
		entry := a.last(id)
		previous := max(entry.seq, highest[id])
		highest[id] = max(previous, d.seqs[i])
		if (entry.epoch != epoch || d.seqs[i] <= previous) && !listed[id] {
			listed[id] = true
			users = append(users, id)
			// Should the comparison fail, the next number is as doubtful.
			a.remember(id, last{entry.seq, unproven})
		}
	}
	return users
}

// floors are the numbers that the users' next ones must be above.
func (a *Allocator) floors(ctx context.Context, users []string) (map[string]int64, error) {
	taken, err := a.table.MaxSeqs(ctx, users)
	if err != nil {
		return nil, err
	}
	floors := make(map[string]int64, len(users))
	for _, id := range users {
		// What was drawn here may be on its way into the table.
		floors[id] = max(taken[id], a.last(id).seq)
	}
	return floors, nil
}

// lift draws again, above the floor, for the users whose counter was behind.
// All numbers of such a user are drawn again, so that they stay in order.
func (a *Allocator) lift(ctx context.Context, d *draw, floors map[string]int64) error {
	behind := map[string]bool{}
	previous := map[string]int64{}
	for i, id := range d.users {
		floor, ok := floors[id]
		if !ok || d.failed[i] != nil {
			continue
		}
		if d.seqs[i] <= max(floor, previous[id]) {
			behind[id] = true
		}
		previous[id] = max(previous[id], d.seqs[i])
	}
	var again []bus.SeqRequest
	var at []int
	now := a.table.Now().UnixMicro()
	for i, id := range d.users {
		if behind[id] && d.failed[i] == nil {
			again = append(again, bus.SeqRequest{UserID: id, Floor: floors[id], Leap: max(leap, now-floors[id])})
			at = append(at, i)
		}
	}
	if len(again) == 0 {
		return nil
	}
	lifted, err := a.bus.NextSeqs(ctx, again)
	var partial *bus.SeqError
	if err != nil && !errors.As(err, &partial) {
		return fmt.Errorf("lift sequence counter: %w", err)
	}
	for j, i := range at {
		if partial != nil && partial.Errs[j] != nil {
			d.failed[i] = fmt.Errorf("lift sequence counter: %w", partial.Errs[j])
			continue
		}
		d.seqs[i] = lifted[j]
	}
	return nil
}

func (a *Allocator) last(id string) last {
	if entry, ok := a.young[id]; ok {
		return entry
	}
	return a.old[id]
}

func (a *Allocator) remember(id string, entry last) {
	if _, ok := a.young[id]; !ok && len(a.young) >= rememberUsers {
		a.young, a.old = make(map[string]last, rememberUsers), a.young
	}
	a.young[id] = entry
}
