package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/message-gateway/gateway/internal/store"
)

// A prepared INSERT takes MySQL a third less time for a row than its text, which
// has to be read anew for each (BenchmarkInsert). But it takes about 5 KB for a
// row in each connection of the server, so only these numbers of rows are
// prepared, and those who gather messages cut what waits to one of them.
var preparedSizes = [...]int{8, 16, 32, 48, 64, 96, 128}

// fewRows go as text, where that is not worth another INSERT.
const fewRows = 8

const (
	// preparedText is the longest text in a prepared INSERT. The driver sends
	// longer ones ahead, in packets of their own.
	preparedText = 4 << 10
	// withoutPrepared is how long a server gets texts that would not prepare.
	withoutPrepared = time.Minute
)

// InsertSize implements store.Store.
func (s *Store) InsertSize(waiting int) int {
	if !s.dialect.prepares || waiting < fewRows {
		return waiting
	}
	i, found := slices.BinarySearch(preparedSizes[:], waiting)
	if !found {
		i--
	}
	return preparedSizes[i]
}

// prepared keeps the INSERT of each of preparedSizes as a statement.
type prepared struct {
	mu         sync.Mutex // guards what is not there yet
	statements [len(preparedSizes)]atomic.Pointer[sql.Stmt]
}

// get returns the statement for so many rows, or nil where there is none.
func (p *prepared) get(ctx context.Context, s *Store, text string, rows int) (*sql.Stmt, error) {
	i, found := slices.BinarySearch(preparedSizes[:], rows)
	if refused := s.refused.Load(); !found || refused != nil && time.Since(*refused) < withoutPrepared {
		return nil, nil
	}
	if statement := p.statements[i].Load(); statement != nil {
		return statement, nil
	}
	statement, err := s.w.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.closing.Err() != nil { // close may have been here already
		return nil, errors.Join(store.ErrClosed, statement.Close()) //nolint:sqlclosecheck // it is closed
	}
	if other := p.statements[i].Load(); other != nil {
		return other, statement.Close() // another has been faster
	}
	p.statements[i].Store(statement)
	return statement, nil
}

// close ends the statements, whose connections may belong to the application.
func (p *prepared) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for i := range p.statements {
		if statement := p.statements[i].Swap(nil); statement != nil {
			errs = append(errs, statement.Close()) //nolint:sqlclosecheck // a list of them
		}
	}
	return errors.Join(errs...)
}

// insertPrepared runs the INSERT of these rows as a prepared statement, if there
// is one of that length. ok is false where the text must be sent.
func (s *Store) insertPrepared(ctx context.Context, form *insertStatements, msgs []*store.Message, args []any) (ok bool, err error) {
	longest := 0
	for _, m := range msgs {
		longest = max(longest, len(m.Payload), len(m.Response))
	}
	if longest > min(preparedText, s.maxPacket/(len(args)+2)) {
		return false, nil
	}
	statement, err := form.prepared.get(ctx, s, form.text(len(msgs)), len(msgs)) //nolint:sqlclosecheck // it is kept
	if err == nil && statement != nil {
		_, err = statement.ExecContext(ctx, args...)
	}
	if refusesPrepared(err) {
		now := time.Now()
		s.refused.Store(&now)
		return false, nil
	}
	return statement != nil || err != nil, err
}

// refusesPrepared reports whether an error concerns prepared statements only, and
// nothing was done.
func refusesPrepared(err error) bool {
	var server *mysql.MySQLError
	if !errors.As(err, &server) {
		return false
	}
	switch server.Number {
	case 1243, // unknown to the server, as behind a proxy that changed it
		1295, // not supported by this server
		1461, // max_prepared_stmt_count
		1615: // the table changed, and again while it was prepared anew
		return true
	}
	return false
}
