package sqlstore

import (
	"context"
	"slices"
	"time"

	"github.com/message-gateway/gateway/internal/wire"
)

// TimeOut turns these commands, where unfinished, into TIMED_OUT.
func (s *Store) TimeOut(ctx context.Context, ids []string) error {
	_, err := s.timeOut(ctx, "time out", ids)
	return err
}

func (s *Store) timeOut(ctx context.Context, op string, ids []string) (int, error) {
	sorted := distinct(ids)
	slices.Sort(sorted)
	total := 0
	for part := range slices.Chunk(sorted, batchRows) {
		n, err := s.changed(ctx, op, s.q.timeOut, formatTime(s.Now()), part, part)
		if err != nil {
			return total, err
		}
		total += int(n)
	}
	return total, nil
}

// TimeOutExpired turns up to limit unfinished commands whose time has passed into
// TIMED_OUT and says how many there were. It reads their ids first, without
// locks, so that it never holds up the writers of other rows.
func (s *Store) TimeOutExpired(ctx context.Context, limit int) (int, error) {
	ids, err := s.ids(ctx, "time out expired", s.q.expired, formatTime(s.Now()), limit)
	if err != nil {
		return 0, err
	}
	return s.timeOut(ctx, "time out expired", ids)
}

// Purge deletes up to limit rows that finished or timed out before the given
// time, and says how many there were.
func (s *Store) Purge(ctx context.Context, before time.Time, limit int) (int, error) {
	at := formatTime(before)
	ids, err := s.ids(ctx, "purge", s.q.purgeable, at, limit, at, limit, at, limit, at, limit, at, limit, limit)
	if err != nil {
		return 0, err
	}
	slices.Sort(ids)
	total := 0
	for part := range slices.Chunk(ids, batchRows) {
		n, err := s.changed(ctx, "purge", s.q.purge, part)
		if err != nil {
			return total, err
		}
		total += int(n)
	}
	return total, nil
}

// Purgeable counts what Purge would delete, up to limit.
func (s *Store) Purgeable(ctx context.Context, before time.Time, limit int) (int, error) {
	at := formatTime(before)
	return s.number(ctx, "count old rows", s.q.purgeableCount, at, limit, at, limit, at, limit, at, limit, at, limit, limit)
}

// Count counts the rows in each state, up to limit in each. It reads an index
// only, and no more of it than it counts.
func (s *Store) Count(ctx context.Context, limit int) (map[wire.Status]int, error) {
	counts := make(map[wire.Status]int, 5)
	for _, status := range []wire.Status{wire.Pending, wire.Delivering, wire.RequestDelivered, wire.Finished, wire.TimedOut} {
		n, err := s.number(ctx, "count rows", s.q.count, string(status), limit)
		if err != nil {
			return nil, err
		}
		counts[status] = n
	}
	return counts, nil
}

func (s *Store) number(ctx context.Context, op, query string, args ...any) (n int, err error) {
	err = s.retry(ctx, op, func(ctx context.Context) error {
		return s.r.GetContext(ctx, &n, query, args...)
	})
	return n, err
}

func (s *Store) ids(ctx context.Context, op, query string, args ...any) (ids []string, err error) {
	err = s.retry(ctx, op, func(ctx context.Context) error {
		ids = nil
		return s.r.SelectContext(ctx, &ids, query, args...)
	})
	return ids, err
}
