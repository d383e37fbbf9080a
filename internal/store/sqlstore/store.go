// Package sqlstore is the store over SQL: MySQL or MariaDB, and SQLite.
//
// One implementation serves both. What differs (opening, locking, the
// comparison of ids, error codes) is in mysql.go, sqlite.go and errors.go; the
// statements are in queries.go.
//
// Times cross the wire as text in UTC, in both directions, so that neither the
// driver's parseTime and loc nor a column's own precision changes their meaning.
package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/message-gateway/gateway/internal/store"
)

// Store implements store.Store. All methods may run at the same time.
type Store struct {
	dialect *dialect
	q       queries
	// w writes and r reads. On MySQL they are the same pool; SQLite has one
	// writer, so that readers never wait for it.
	w, r *sqlx.DB
	// owned says that Close closes the pools.
	owned bool
	// name says in errors which database this is; it holds no password.
	name string
	// database is the schema of push_messages on MySQL.
	database string

	clock     *clock
	maxPacket int
	// long and short are the INSERT of all columns and of the usual ones.
	long, short insertStatements
	// refused is when the server last would not prepare.
	refused atomic.Pointer[time.Time]
	limits  atomic.Pointer[store.Limits]
	// userCollation is how MySQL compares user ids, once that is known.
	userCollation atomic.Pointer[string]

	closing   context.Context // ends when Close begins
	stop      context.CancelFunc
	closeOnce sync.Once
	closeErr  error
}

var _ store.Store = (*Store)(nil)

// dialect is what the two kinds of server do differently.
type dialect struct {
	begin string
	// remote says that an error of closing a connection means that it was lost
	// before: nothing waits to be written in it.
	remote bool
	// retryMost is the longest pause before a repetition.
	retryMost time.Duration
	// words replaces the marks in the statements of queries.go.
	words []string
	// places are where a user's rows are in the indexes, see places.go.
	places  []string
	maxSeqs func(ctx context.Context, s *Store, users []string, highest map[string]int64) error
	// classify says what a driver's error means.
	classify func(error) class
	migrate  func(ctx context.Context, s *Store) error
	// migrations is the folder of the migrations; columns and indexes read
	// what there is, see schema.go.
	migrations, columns, indexes string
	limits                       func(ctx context.Context, s *Store) (store.Limits, error)
	// prepares says that insert has prepared statements for some numbers of rows.
	prepares bool
	// insert stores rows whose ids are all free, all or none.
	insert   func(ctx context.Context, s *Store, msgs []*store.Message) error
	insertTx func(ctx context.Context, s *Store, tx *sql.Tx, query string, args []any) (sql.Result, error)
}

// Ping answers whether the database can be reached. It tries once.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.untilClosed(ctx, s.w.PingContext); err != nil {
		return s.wrap("ping", err)
	}
	return nil
}

// untilClosed calls fn with a context that ends with ctx and with the store.
func (s *Store) untilClosed(ctx context.Context, fn func(ctx context.Context) error) error {
	open, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	err := fn(open)
	if err != nil && s.closing.Err() != nil && ctx.Err() == nil {
		return store.ErrClosed
	}
	return err
}

// Close ends what is under way, stops the clock and closes the pools, unless they
// were handed over. Calling it again does nothing.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		s.stop()
		s.clock.stop()
		if !s.owned {
			s.closeErr = errors.Join(s.short.prepared.close(), s.long.prepared.close())
			return
		}
		s.closeErr = s.w.Close()
		if s.r != s.w {
			s.closeErr = errors.Join(s.closeErr, s.r.Close())
		}
		if s.dialect.remote {
			s.closeErr = nil
		}
	})
	return s.closeErr
}

// Limits says what the columns can hold. It reads the table once.
func (s *Store) Limits(ctx context.Context) (store.Limits, error) {
	if l := s.limits.Load(); l != nil {
		return *l, nil
	}
	var limits store.Limits
	err := s.retry(ctx, "read limits", func(ctx context.Context) (err error) {
		limits, err = s.dialect.limits(ctx, s)
		return err
	})
	if err != nil {
		return store.Limits{}, err
	}
	s.limits.Store(&limits)
	return limits, nil
}

// wrap adds the operation and the database to an error, once.
func (s *Store) wrap(op string, err error) error {
	return fmt.Errorf("store: %s (%s): %w", op, s.name, err)
}
