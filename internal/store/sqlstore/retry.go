package sqlstore

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jmoiron/sqlx"

	"github.com/message-gateway/gateway/internal/store"
)

const (
	// retryFirst is the first pause before a repetition, which then grow to the
	// dialect's longest. A part of each is chance, so that those who collided do
	// not collide again.
	retryFirst = 5 * time.Millisecond
	// retryWithoutDeadline ends the repetitions for a caller whose context has
	// no deadline.
	retryWithoutDeadline = 30 * time.Second
)

// retry runs fn, and again while it fails in a way that passes, until ctx or the
// store ends. fn must be safe to repeat after an attempt whose outcome is unknown.
func (s *Store) retry(ctx context.Context, op string, fn func(context.Context) error) error {
	err := s.untilClosed(ctx, func(ctx context.Context) error {
		err := fn(ctx)
		if err != nil && s.dialect.classify(err) == transient && ctx.Err() == nil {
			err = s.again(ctx, err, fn)
		}
		return err
	})
	if err == nil {
		return nil
	}
	if errors.Is(err, store.ErrNotFound) {
		return err
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		err = lastAttempt(ended, err)
	}
	return s.wrap(op, s.mark(err))
}

// again repeats fn after its first failure. The error of a context that ended
// carries the last failure of the database, which is why it had to wait.
func (s *Store) again(ctx context.Context, last error, fn func(context.Context) error) error {
	first := true
	limit := retryWithoutDeadline
	if _, ok := ctx.Deadline(); ok {
		limit = 0
	}
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = retryFirst, s.dialect.retryMost
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := last
		if !first {
			err = fn(ctx)
		}
		first = false
		if err == nil {
			return struct{}{}, nil
		}
		if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
			return struct{}{}, backoff.Permanent(err) // says nothing of the database
		}
		last = err
		if s.dialect.classify(err) != transient {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(limit))
	if ended := ctx.Err(); err != nil && ended != nil {
		return lastAttempt(ended, last)
	}
	return err
}

func lastAttempt(ended, last error) error {
	return fmt.Errorf("%w; the last attempt failed with: %w", ended, last)
}

// errUnknownOutcome marks a COMMIT that may or may not have happened.
var errUnknownOutcome = errors.New("outcome of the commit is unknown")

// inTx runs fn in one transaction on one connection. BEGIN and COMMIT are
// ordinary statements here, because database/sql gives COMMIT no context: a
// server that hangs would hold the caller past its deadline.
func (s *Store) inTx(ctx context.Context, fn func(conn *sqlx.Conn) error) (err error) {
	conn, err := s.w.Connx(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.ExecContext(ctx, s.dialect.begin); err != nil {
		discard(conn) // the statement may have been carried out all the same
		return err
	}
	if err := fn(conn); err != nil {
		if _, rollback := conn.ExecContext(ctx, "ROLLBACK"); rollback != nil {
			discard(conn)
		}
		return err
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		discard(conn)
		return fmt.Errorf("%w: %w", errUnknownOutcome, err)
	}
	return nil
}

// discard closes a connection instead of returning it to its pool, which ends
// the transaction that it may be in.
func discard(conn *sqlx.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
}
