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
// do not match it. Times may be written up to timeGrain late.
func (s *Store) Settle(ctx context.Context, settlements []store.Settlement) error {
	merged := mergeSettlements(settlements)
	acknowledged := slices.DeleteFunc(slices.Clone(merged), func(x store.Settlement) bool { return x.AcknowledgedAt.IsZero() })
	delivered := slices.DeleteFunc(merged, func(x store.Settlement) bool { return !x.AcknowledgedAt.IsZero() })
	for part := range slices.Chunk(delivered, batchRows) {
		ids, at, _ := columnsOf(part)
		query, args := s.fillEach(s.q.delivered, eachTime(ids, at))
		if err := s.change(ctx, "settle", query, append(args, formatTime(s.Now()), ids, ids)...); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(acknowledged, batchRows) {
		ids, delivered, acked := columnsOf(part)
		from, at := eachTime(ids, delivered), eachTime(ids, acked)
		if len(at.values) > 1 { // a delivery that is late by the grain could come after its acknowledgement
			from = eachOwnTime(ids, delivered)
		}
		query, args := s.fillEach(s.q.acknowledged, from, at, at)
		if err := s.change(ctx, "settle", query, append(args, formatTime(s.Now()), ids, ids)...); err != nil {
			return err
		}
	}
	return nil
}

func columnsOf(settlements []store.Settlement) (ids []string, delivered, acknowledged []time.Time) {
	for _, x := range settlements {
		ids = append(ids, x.ID)
		delivered = append(delivered, x.DeliveredAt)
		acknowledged = append(acknowledged, x.AcknowledgedAt)
	}
	return ids, delivered, acknowledged
}

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
