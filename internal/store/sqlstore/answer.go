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

// Answer records answers to commands, all in one commit, so that of several
// processes exactly one wins a command. One UPDATE says it all as long as every
// answer is the first one and in time. Where it changes fewer rows than that, a
// transaction locks the rows, decides, and writes.
//
// A commit whose outcome is unknown is repeated, in such a transaction. It then
// finds rows that are answered, and must tell its own answer from that of
// another. It takes an answer for its own only if the broken attempt may have
// written it, and the row holds the same outcome, the same response and the same
// time. Were it another's after all, the two are one answer that arrived twice,
// and whoever waits for it is told the same.
func (s *Store) Answer(ctx context.Context, answers []store.Answer) ([]store.AnswerOutcome, error) {
	if len(answers) == 0 {
		return nil, nil
	}
	var outcomes []store.AnswerOutcome
	unsure := make(map[int]store.AnswerOutcome)
	tried := !s.inOneStatement(answers)
	err := s.retry(ctx, "answer", func(ctx context.Context) error {
		if !tried {
			tried = true
			n, err := s.answerFirst(ctx, answers)
			if err == nil && n == len(answers) {
				outcomes = slices.Repeat([]store.AnswerOutcome{store.AnswerWon}, n)
				return nil
			}
			if err != nil || n > 0 {
				for i := range answers {
					unsure[i] = store.AnswerWon
				}
			}
			if err != nil {
				return err
			}
		}
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

// inOneStatement reports whether answerFirst can take the answers: they are not
// too many, and none is for the same command as another.
func (s *Store) inOneStatement(answers []store.Answer) bool {
	if s.fitAnswers(answers) < len(answers) {
		return false
	}
	seen := make(map[string]struct{}, len(answers))
	for _, a := range answers {
		seen[a.ID] = struct{}{}
	}
	return len(seen) == len(answers)
}

// answerFirst writes the answers that are the first ones, and says how many were.
// None is taken whose deadline lies before the latest of them: such ones are left
// to be looked at.
func (s *Store) answerFirst(ctx context.Context, answers []store.Answer) (int, error) {
	latest := answers[0].At
	for _, a := range answers {
		if a.At.After(latest) {
			latest = a.At
		}
	}
	query, args, ids := s.fillAnswers(s.q.answerFirst, 3, answers)
	query, args, err := expand(query, append(args, ids, formatTime(latest))...)
	if err != nil {
		return 0, err
	}
	res, err := s.w.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
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

// writeAnswers runs an UPDATE over answers; see fillAnswers.
func (s *Store) writeAnswers(ctx context.Context, conn *sqlx.Conn, query string, times int, answers []store.Answer) error {
	for len(answers) > 0 {
		n := s.fitAnswers(answers)
		text, args, _ := s.fillAnswers(query, times, answers[:n])
		text, args, err := expand(text, args...)
		if err != nil {
			return err
		}
		if _, err := conn.ExecContext(ctx, text, args...); err != nil {
			return err
		}
		answers = answers[n:]
	}
	return nil
}

// fillAnswers fills in an UPDATE whose marks {each} are first the time of the
// answer, as often as times says, and then the response. The last argument
// that it returns is the sorted ids.
func (s *Store) fillAnswers(query string, times int, answers []store.Answer) (text string, args []any, sorted []string) {
	ids := make([]string, len(answers))
	at := make([]time.Time, len(answers))
	responses := make([]any, len(answers))
	for i, a := range answers {
		ids[i], at[i], responses[i] = a.ID, a.At, jsonArg(a.Response)
	}
	values := slices.Repeat([]each{eachTime(ids, at)}, times)
	text, args = s.fillEach(query, append(values, each{ids, responses})...)
	sorted = slices.Sorted(slices.Values(ids))
	return text, append(args, formatTime(s.Now()), sorted), sorted
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
// may keep whole seconds only, rounded or cut off; one that keeps fractions can
// differ by timeGrain.
func holds(m *store.Message, a store.Answer, outcome store.AnswerOutcome) bool {
	if !sameJSON(m.Response, a.Response) {
		return false
	}
	if outcome == store.AnswerLate {
		return m.Status == wire.TimedOut
	}
	within := time.Second
	if m.FinishedAt.Nanosecond() != 0 {
		within = timeGrain + time.Millisecond
	}
	return m.Status == wire.Finished && m.FinishedAt.Sub(a.At).Abs() < within
}

// sameJSON compares values, not texts: MySQL stores JSON in a form of its own.
func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}
