package sqlstore

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/jmoiron/sqlx"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

const (
	// batchRows is the most ids in one statement that reads or changes rows.
	batchRows = 256
	// batchUsers is the most users in one statement; SQLite takes 500 parts
	// in a UNION.
	batchUsers = 100
)

// Get reads one row, or returns store.ErrNotFound.
func (s *Store) Get(ctx context.Context, id string) (*store.Message, error) {
	return s.one(ctx, "get", s.q.get, []string{id}, []string{id})
}

// GetMany reads the rows that exist, in no order.
func (s *Store) GetMany(ctx context.Context, ids []string) ([]*store.Message, error) {
	var all []*store.Message
	for part := range slices.Chunk(distinct(ids), batchRows) {
		msgs, err := s.list(ctx, "get", s.q.get, part, part)
		if err != nil {
			return nil, err
		}
		all = append(all, msgs...)
	}
	return all, nil
}

// FindCommand reads the command of a user by its request id, unless it is
// FINISHED, or returns store.ErrNotFound.
func (s *Store) FindCommand(ctx context.Context, userID, requestID string) (*store.Message, error) {
	return s.one(ctx, "find command", s.q.findCommand, userID, userID, requestID)
}

// Unfinished reads up to limit unfinished rows of a user behind the cursor, in
// order of (seq, id).
func (s *Store) Unfinished(ctx context.Context, userID string, after store.Cursor, limit int) ([]*store.Message, error) {
	if limit <= 0 {
		return nil, nil
	}
	query, behind := s.q.unfinishedFirst, []any(nil)
	switch {
	case after.Seq != 0:
		query, behind = s.q.unfinishedSeq, []any{after.Seq, after.Seq, after.ID}
	case after.ID != "":
		query, behind = s.q.unfinishedNull, []any{after.ID}
	}
	now := formatTime(s.Now())
	args := make([]any, 0, 22)
	for _, state := range []wire.Status{wire.Pending, wire.Delivering, wire.RequestDelivered} {
		args = append(args, userID, userID, string(state), now)
		args = append(args, behind...)
		args = append(args, limit)
	}
	return s.list(ctx, "read unfinished", query, append(args, limit)...)
}

// UnfinishedRefs names up to limit unfinished rows of these users, in order of
// (user id, id), as Go orders strings.
func (s *Store) UnfinishedRefs(ctx context.Context, userIDs []string, after store.Ref, limit int) ([]store.Ref, error) {
	users := distinct(userIDs)
	slices.Sort(users)
	// Users before the cursor's have been read.
	from, _ := slices.BinarySearchFunc(users, after.UserID, cmp.Compare[string])
	now := formatTime(s.Now())
	var refs []store.Ref
	for part := range slices.Chunk(users[from:], batchUsers) {
		if len(refs) >= limit {
			break
		}
		query, args, err := expand(s.q.unfinishedRefs, part, part, now,
			after.UserID, after.UserID, after.ID, limit-len(refs))
		if err != nil {
			return nil, s.wrap("read unfinished", err)
		}
		var rows []struct {
			ID     string `db:"id"`
			UserID string `db:"target_user_id"`
		}
		err = s.retry(ctx, "read unfinished", func(ctx context.Context) error {
			rows = nil
			return s.r.SelectContext(ctx, &rows, query, args...)
		})
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			refs = append(refs, store.Ref{ID: r.ID, UserID: r.UserID})
		}
	}
	return refs, nil
}

// History reads up to limit rows of a user that have a seq. Rows of one seq,
// which two senders of different makes can produce, stay on one page, since a
// page is continued by seq alone: what would be torn is left to the next page.
func (s *Store) History(ctx context.Context, userID string, fromSeq int64, limit int, backwards bool) ([]*store.Message, error) {
	if limit <= 0 {
		return nil, nil
	}
	query := s.q.history
	if backwards {
		query = s.q.historyBack
		if fromSeq == 0 {
			fromSeq = math.MaxInt64
		}
	}
	args := slices.Repeat([]any{userID, userID, fromSeq, limit + 1}, len(s.dialect.places))
	msgs, err := s.list(ctx, "read history", query, append(args, limit+1)...)
	if err != nil || len(msgs) <= limit {
		return msgs, err
	}
	torn := msgs[limit].Seq
	end := limit
	for end > 0 && msgs[end-1].Seq == torn {
		end--
	}
	if end == 0 {
		end = limit // the page holds nothing else
	}
	return msgs[:end], nil
}

func (s *Store) one(ctx context.Context, op, query string, args ...any) (*store.Message, error) {
	msgs, err := s.list(ctx, op, query, args...)
	if err != nil {
		return nil, err
	}
	if len(msgs) == 0 {
		return nil, store.ErrNotFound
	}
	return msgs[0], nil
}

func (s *Store) list(ctx context.Context, op, query string, args ...any) (msgs []*store.Message, err error) {
	err = s.retry(ctx, op, func(ctx context.Context) error {
		msgs, err = selectMessages(ctx, s.r, query, args...)
		return err
	})
	return msgs, err
}

func selectMessages(ctx context.Context, q sqlx.QueryerContext, query string, args ...any) ([]*store.Message, error) {
	query, args, err := expand(query, args...)
	if err != nil {
		return nil, fmt.Errorf("expand: %w", err)
	}
	var rows []row
	if err := sqlx.SelectContext(ctx, q, &rows, query, args...); err != nil {
		return nil, err
	}
	return messages(rows)
}

// distinct returns the strings without repetitions, in order of their first
// appearance; it leaves the argument alone.
func distinct(all []string) []string {
	seen := make(map[string]struct{}, len(all))
	once := make([]string, 0, len(all))
	for _, v := range all {
		if _, ok := seen[v]; !ok {
			seen[v] = struct{}{}
			once = append(once, v)
		}
	}
	return once
}
