package sqlstore

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/message-gateway/gateway/internal/store"
)

// Settle records deliveries and acknowledgements, in one statement for each
// batch of either. Each statement can be repeated; rows that are further along
// do not match it.
func (s *Store) Settle(ctx context.Context, settlements []store.Settlement) error {
	merged := mergeSettlements(settlements)
	acknowledged := slices.DeleteFunc(slices.Clone(merged), func(x store.Settlement) bool { return x.AcknowledgedAt.IsZero() })
	delivered := slices.DeleteFunc(merged, func(x store.Settlement) bool { return !x.AcknowledgedAt.IsZero() })
	for part := range slices.Chunk(delivered, batchRows) {
		var at cases
		ids := make([]string, 0, len(part))
		for _, x := range part {
			ids = append(ids, x.ID)
			at = at.when(x.ID, formatTime(x.DeliveredAt))
		}
		args := append(at, formatTime(s.Now()), ids, ids)
		if err := s.change(ctx, "settle", withCases(s.q.delivered, len(part)), args...); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(acknowledged, batchRows) {
		var delivered, acked cases
		ids := make([]string, 0, len(part))
		for _, x := range part {
			ids = append(ids, x.ID)
			delivered = delivered.when(x.ID, formatTime(x.DeliveredAt))
			acked = acked.when(x.ID, formatTime(x.AcknowledgedAt))
		}
		args := slices.Concat(delivered, acked, acked, cases{formatTime(s.Now()), ids, ids})
		if err := s.change(ctx, "settle", withCases(s.q.acknowledged, len(part)), args...); err != nil {
			return err
		}
	}
	return nil
}

// cases are the arguments of a CASE over ids.
type cases []any

func (c cases) when(id string, then any) cases { return append(c, id, then) }

// mergeSettlements leaves one settlement for each row, with the earliest times,
// sorted by id so that all writers lock rows in one order.
func mergeSettlements(settlements []store.Settlement) []store.Settlement {
	merged := make([]store.Settlement, 0, len(settlements))
	at := make(map[string]int, len(settlements))
	for _, x := range settlements {
		if x.DeliveredAt.IsZero() {
			x.DeliveredAt = x.AcknowledgedAt
		}
		if x.DeliveredAt.IsZero() {
			continue
		}
		i, ok := at[x.ID]
		if !ok {
			at[x.ID] = len(merged)
			merged = append(merged, x)
			continue
		}
		merged[i].DeliveredAt = earliest(merged[i].DeliveredAt, x.DeliveredAt)
		merged[i].AcknowledgedAt = earliest(merged[i].AcknowledgedAt, x.AcknowledgedAt)
	}
	slices.SortFunc(merged, func(a, b store.Settlement) int { return cmp.Compare(a.ID, b.ID) })
	return merged
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// SetResponseQueue fills in the queue for the answer if the row has none.
func (s *Store) SetResponseQueue(ctx context.Context, id, queue string) error {
	return s.change(ctx, "set response queue", s.q.setResponseQueue, queue, formatTime(s.Now()), id, id)
}

// change runs a statement that may be repeated.
func (s *Store) change(ctx context.Context, op, query string, args ...any) error {
	_, err := s.changed(ctx, op, query, args...)
	return err
}

// changed is change, and says how many rows matched.
func (s *Store) changed(ctx context.Context, op, query string, args ...any) (n int64, err error) {
	query, args, err = expand(query, args...)
	if err != nil {
		return 0, s.wrap(op, err)
	}
	err = s.retry(ctx, op, func(ctx context.Context) error {
		res, err := s.w.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	return n, err
}
