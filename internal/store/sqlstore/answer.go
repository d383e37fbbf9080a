package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// Answer records answers to commands in one transaction. It locks the rows,
// decides, and writes, so that of several processes exactly one wins a command.
//
// A COMMIT whose outcome is unknown is repeated. The repetition then finds rows
// that are answered, and must tell its own answer from that of another. It takes
// an answer for its own only if the broken attempt was about to write it, under
// a lock and as the first, and the row holds the same outcome, the same response
// and the same time. Were it another's after all, the two are one answer that
// arrived twice, and whoever waits for it is told the same.
func (s *Store) Answer(ctx context.Context, answers []store.Answer) ([]store.AnswerOutcome, error) {
	if len(answers) == 0 {
		return nil, nil
	}
	var outcomes []store.AnswerOutcome
	unsure := make(map[int]store.AnswerOutcome)
	err := s.retry(ctx, "answer", func(ctx context.Context) error {
		err := s.inTx(ctx, func(conn *sqlx.Conn) (err error) {
			outcomes, err = s.answer(ctx, conn, answers, unsure)
			return err
		})
		if errors.Is(err, errUnknownOutcome) {
			for i, o := range outcomes {
				if o != store.AnswerIgnored {
					unsure[i] = o
				}
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return outcomes, nil
}

func (s *Store) answer(
	ctx context.Context, conn *sqlx.Conn, answers []store.Answer, unsure map[int]store.AnswerOutcome,
) ([]store.AnswerOutcome, error) {
	ids := make([]string, len(answers))
	for i, a := range answers {
		ids[i] = a.ID
	}
	ids = distinct(ids)
	slices.Sort(ids) // all writers lock rows in one order
	rows := make(map[string]*store.Message, len(ids))
	for part := range slices.Chunk(ids, batchRows) {
		msgs, err := selectMessages(ctx, conn, s.q.lockAnswers, part, part)
		if err != nil {
			return nil, err
		}
		for _, m := range msgs {
			rows[m.ID] = m
		}
	}
	outcomes := make([]store.AnswerOutcome, len(answers))
	var won, late []store.Answer
	for i, a := range answers {
		m, ok := rows[a.ID]
		if !ok {
			continue
		}
		if o := unsure[i]; o != store.AnswerIgnored && holds(m, a, o) {
			outcomes[i] = o
			delete(rows, a.ID) // later answers of this batch to it are ignored
			continue
		}
		switch {
		case m.Status == wire.TimedOut && m.Response == nil,
			m.Status.Unfinished() && !m.ExpiresAt.IsZero() && !m.ExpiresAt.After(a.At):
			outcomes[i] = store.AnswerLate
			late = append(late, a)
			delete(rows, a.ID)
		case m.Status.Unfinished():
			outcomes[i] = store.AnswerWon
			won = append(won, a)
			delete(rows, a.ID)
		}
	}
	if err := s.writeAnswers(ctx, conn, s.q.answerWon, 3, won); err != nil {
		return nil, err
	}
	return outcomes, s.writeAnswers(ctx, conn, s.q.answerLate, 0, late)
}

// writeAnswers runs an UPDATE over answers whose CASEs are first the time of the
// answer, as often as times says, and then the response.
func (s *Store) writeAnswers(ctx context.Context, conn *sqlx.Conn, query string, times int, answers []store.Answer) error {
	for len(answers) > 0 {
		n := s.fitAnswers(answers)
		part := answers[:n]
		answers = answers[n:]
		var at, responses cases
		ids := make([]string, 0, n)
		for _, a := range part {
			ids = append(ids, a.ID)
			at = at.when(a.ID, formatTime(a.At))
			responses = responses.when(a.ID, jsonArg(a.Response))
		}
		slices.Sort(ids)
		var args []any
		for range times {
			args = append(args, at...)
		}
		args = append(append(args, responses...), formatTime(s.Now()), ids)
		text, args, err := expand(withCases(query, n), args...)
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, text, args...); err != nil {
			return err
		}
	}
	return nil
}

// fitAnswers says how many answers go into one statement, as fit does for rows.
func (s *Store) fitAnswers(answers []store.Answer) int {
	size := len(s.q.answerWon)
	for i, a := range answers {
		size += 2*len(a.Response) + 10*len(a.ID) + rowOverhead
		if i > 0 && (size > s.maxPacket || i == batchRows) {
			return i
		}
	}
	return len(answers)
}

// holds reports whether the row holds this answer with this outcome. A column
// may keep whole seconds only, rounded or cut off.
func holds(m *store.Message, a store.Answer, outcome store.AnswerOutcome) bool {
	if !sameJSON(m.Response, a.Response) {
		return false
	}
	if outcome == store.AnswerLate {
		return m.Status == wire.TimedOut
	}
	return m.Status == wire.Finished && m.FinishedAt.Sub(a.At).Abs() < time.Second
}

// sameJSON compares values, not texts: MySQL stores JSON in a form of its own.
func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}
