package sqlstore

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

const (
	// insertRows is the most rows in one INSERT.
	insertRows = 512
	// rowOverhead is more than a row takes in a statement beside its texts.
	rowOverhead = 512
)

// insertStatements keeps the text of the INSERT of each length, and some prepared.
type insertStatements struct {
	head, row string
	texts     [insertRows + 1]atomic.Pointer[string]
	prepared  prepared
}

func (t *insertStatements) text(rows int) string {
	if text := t.texts[rows].Load(); text != nil {
		return *text
	}
	var b strings.Builder
	b.Grow(len(t.head) + rows*(len(t.row)+1))
	b.WriteString(t.head)
	for i := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(t.row)
	}
	text := b.String()
	t.texts[rows].Store(&text)
	return text
}

// Insert stores messages, all or none, but for those whose id is taken.
func (s *Store) Insert(ctx context.Context, msgs []*store.Message) (duplicates []int, err error) {
	return s.insert(ctx, msgs, false)
}

// InsertAll is Insert that stores nothing where an id belongs to another message.
func (s *Store) InsertAll(ctx context.Context, msgs []*store.Message) (duplicates []int, err error) {
	return s.insert(ctx, msgs, true)
}

// insert stores messages; whole says that it is all or none where an id belongs
// to another message.
//
// The normal case is plain INSERTs, on MySQL mostly one. Only where that meets an id that is
// taken, perhaps by an earlier attempt of this call, the rows are inserted again
// around the taken ones, and the nonces tell whose those are.
func (s *Store) insert(ctx context.Context, msgs []*store.Message, whole bool) (duplicates []int, err error) {
	if len(msgs) == 0 {
		return nil, nil
	}
	s.complete(msgs)
	err = s.retry(ctx, "insert", func(ctx context.Context) (err error) {
		duplicates = nil
		err = s.dialect.insert(ctx, s, msgs)
		if err != nil && s.dialect.classify(err) == duplicate {
			duplicates, err = s.insertAround(ctx, msgs, whole)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return duplicates, nil
}

// complete sets what the caller left to the store.
func (s *Store) complete(msgs []*store.Message) {
	now := s.Now()
	for _, m := range msgs {
		if m.Nonce == "" {
			m.Nonce = uuid.NewString()
		}
		if m.Status == "" {
			m.Status = wire.Pending
		}
		if m.CreatedAt.IsZero() {
			m.CreatedAt = now
		}
		if m.UpdatedAt.IsZero() {
			m.UpdatedAt = now
		}
	}
}

// insertTogether inserts rows whose ids are all free, with as few statements as
// can be.
func insertTogether(ctx context.Context, s *Store, msgs []*store.Message) error {
	n, err := s.fit(msgs)
	if err != nil {
		return err
	}
	if n == len(msgs) {
		form, args := s.insertion(msgs)
		if done, err := s.insertPrepared(ctx, form, msgs, args); done {
			return err
		}
		_, err := s.w.ExecContext(ctx, form.text(len(msgs)), args...)
		return err
	}
	return s.inTx(ctx, func(conn *sqlx.Conn) error {
		return s.insertParts(ctx, conn, msgs, "")
	})
}

func (s *Store) insertParts(ctx context.Context, conn *sqlx.Conn, msgs []*store.Message, tail string) error {
	for len(msgs) > 0 {
		n, err := s.fit(msgs)
		if err != nil {
			return err
		}
		form, args := s.insertion(msgs[:n])
		if _, err := conn.ExecContext(ctx, form.text(n)+tail, args...); err != nil {
			return err
		}
		msgs = msgs[n:]
	}
	return nil
}

// insertAround inserts the rows whose ids are free and names the others. Where
// the whole is asked for, it inserts nothing if one belongs to another message.
func (s *Store) insertAround(ctx context.Context, msgs []*store.Message, whole bool) (duplicates []int, err error) {
	// One order for everybody, or two batches with the same ids deadlock. Of
	// two messages with one id the first in the batch stays the first.
	sorted := slices.Clone(msgs)
	slices.SortStableFunc(sorted, func(a, b *store.Message) int { return cmp.Compare(a.ID, b.ID) })
	err = s.inTx(ctx, func(conn *sqlx.Conn) error {
		if err := s.insertParts(ctx, conn, sorted, s.q.skipTaken); err != nil {
			return err
		}
		holders := make(map[string]*holder, len(sorted))
		for part := range slices.Chunk(sorted, insertRows) {
			ids := make([]string, len(part))
			for i, m := range part {
				ids[i] = m.ID
			}
			if err := readHolders(ctx, conn, s.q.holders, ids, holders); err != nil {
				return err
			}
		}
		for i, m := range msgs {
			h, err := holderOf(ctx, conn, s.q.holders, m, holders)
			if err != nil {
				return err
			}
			if h.stored(m) {
				continue
			}
			if whole && !h.same(m) {
				return &store.TakenError{Index: i, ID: m.ID}
			}
			duplicates = append(duplicates, i)
		}
		return nil
	})
	return duplicates, err
}

// InsertTx is InsertAll for one message inside the caller's transaction. It
// repeats nothing: after an error the transaction is the caller's to end.
func (s *Store) InsertTx(ctx context.Context, tx *sql.Tx, msg *store.Message) (bool, error) {
	msgs := []*store.Message{msg}
	s.complete(msgs)
	var dup bool
	err := s.untilClosed(ctx, func(ctx context.Context) (err error) {
		dup, err = s.insertTx(ctx, tx, msgs)
		return err
	})
	if err != nil {
		return false, s.wrap("insert in transaction", s.mark(err))
	}
	return dup, nil
}

func (s *Store) insertTx(ctx context.Context, tx *sql.Tx, msgs []*store.Message) (bool, error) {
	if _, err := s.fit(msgs); err != nil {
		return false, err
	}
	res, err := s.dialect.insertTx(ctx, s, tx, s.q.insertTx, insertArgs(msgs, false))
	if err == nil {
		n, err := res.RowsAffected()
		if err != nil || n == 1 {
			return false, err
		}
	} else if s.dialect.classify(err) != duplicate {
		return false, err
	}
	q := &sqlx.Tx{Tx: tx, Mapper: s.w.Mapper}
	h, err := holderOf(ctx, q, s.q.holdersTx, msgs[0], nil)
	if err != nil || h.stored(msgs[0]) {
		return false, err
	}
	if !h.same(msgs[0]) {
		return false, &store.TakenError{ID: msgs[0].ID}
	}
	return true, nil
}

// fit says how many of the rows go into one statement. It counts each text
// twice, since quoting can double it; a row that may be too long by that count
// is sent alone, and refused here only if it cannot fit unquoted.
func (s *Store) fit(msgs []*store.Message) (int, error) {
	size := len(s.q.insert) + len(s.q.skipTaken)
	for i, m := range msgs {
		text, err := s.textSize(m)
		if err != nil {
			return 0, err
		}
		size += 2*text + rowOverhead
		if i > 0 && (size > s.maxPacket || i == insertRows) {
			return i, nil
		}
	}
	return len(msgs), nil
}

// textSize is the length of a row's texts. One that fits into no statement is
// refused.
func (s *Store) textSize(m *store.Message) (int, error) {
	text := len(m.Payload) + len(m.Response) + len(m.ID) + len(m.UserID) + len(m.SenderID) +
		len(m.SenderType) + len(m.RequestID) + len(m.ResponseQueue) + len(m.Nonce)
	if text+rowOverhead > s.maxPacket {
		return 0, fmt.Errorf("%w: message %q of %d bytes is too large for one statement of at most %d (max_allowed_packet)",
			store.ErrRejected, m.ID, text, s.maxPacket)
	}
	return text, nil
}

// insertion is the form of the INSERT of these rows, and its arguments.
func (s *Store) insertion(msgs []*store.Message) (*insertStatements, []any) {
	if slices.ContainsFunc(msgs, needsAllColumns) {
		return &s.long, insertArgs(msgs, false)
	}
	return &s.short, insertArgs(msgs, true)
}

func needsAllColumns(m *store.Message) bool {
	return m.PushType != wire.Reliable || m.Status != wire.Pending ||
		m.RequestID != "" || m.Response != nil || m.ResponseQueue != "" || m.RetryInterval != 0 || !m.ExpiresAt.IsZero() ||
		!m.DeliveringAt.IsZero() || !m.RequestDeliveredAt.IsZero() || !m.FinishedAt.IsZero()
}

// insertArgs are the arguments of an INSERT in its long or short form.
func insertArgs(msgs []*store.Message, short bool) []any {
	args := make([]any, 0, insertColumns*len(msgs))
	var shared sharedArgs
	for _, m := range msgs {
		args = shared.appendRow(args, m, short)
	}
	return args
}

// sharedArgs are arguments of the last row. Most rows of a batch share their
// times and their status, so those are made into arguments once.
type sharedArgs struct {
	last            *store.Message
	created, status any
}

// appendRow appends the arguments of the next row.
func (a *sharedArgs) appendRow(args []any, m *store.Message, short bool) []any {
	if a.last == nil || !m.CreatedAt.Equal(a.last.CreatedAt) {
		a.created = formatTime(m.CreatedAt)
	}
	updated := a.created
	if !m.UpdatedAt.Equal(m.CreatedAt) {
		updated = formatTime(m.UpdatedAt)
	}
	if a.last == nil || m.Status != a.last.Status {
		a.status = string(m.Status)
	}
	a.last = m
	args = append(args, m.ID, textArg(m.SenderType), textArg(m.SenderID), m.UserID, int64(m.PushType),
		numberArg(m.Seq), jsonArg(m.Payload), a.status, m.Nonce, a.created, updated)
	if short {
		return args
	}
	return append(args, textArg(m.RequestID), jsonArg(m.Response), textArg(m.ResponseQueue),
		timeArg(m.ExpiresAt), numberArg(m.RetryInterval.Milliseconds()),
		timeArg(m.DeliveringAt), timeArg(m.RequestDeliveredAt), timeArg(m.FinishedAt))
}
