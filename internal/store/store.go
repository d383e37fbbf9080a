// Package store keeps reliable messages and commands in the table
// push_messages. Two implementations fit the interface, MySQL or MariaDB and
// SQLite; the suite in storetest holds for both.
package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway/internal/wire"
)

// Errors that callers tell apart. Everything else is a failure of the
// connection or the server, and may succeed when it is tried again.
var (
	// ErrNotFound means that no row has that id.
	ErrNotFound = errors.New("store: no such message")
	// ErrRejected means that the database refused the values of a row (too
	// long, not JSON to its parser, a broken constraint). The text says which;
	// trying again does not help.
	ErrRejected = errors.New("store: the database refused the row")
	// ErrClosed is what calls on a closed Store return, and what those get that
	// wait while it closes.
	ErrClosed = errors.New("store: closed")
	// ErrNoTable means that push_messages does not exist: Migrate was not run.
	ErrNoTable = errors.New("store: table push_messages does not exist")
)

// TakenError means that the id of a message belongs to another one, and that
// nothing was stored. The other is of another user or another kind, or deleted,
// or its id is equal only in the collation of the table.
type TakenError struct {
	// Index is that of the message among those to store.
	Index int
	ID    string
}

// Error implements error.
func (e *TakenError) Error() string {
	return fmt.Sprintf("store: the id %q belongs to another message", e.ID)
}

// Message is a row of push_messages. Zero values stand for NULL where the
// column allows it.
type Message struct {
	ID                 string
	SenderType         string
	SenderID           string
	UserID             string
	PushType           wire.PushType
	Seq                int64
	Payload            json.RawMessage
	Status             wire.Status
	RequestID          string
	Response           json.RawMessage
	ResponseQueue      string
	Nonce              string
	ExpiresAt          time.Time
	RetryInterval      time.Duration
	DeliveringAt       time.Time
	RequestDeliveredAt time.Time
	FinishedAt         time.Time
	CreatedAt          time.Time
	UpdatedAt          time.Time
	// Trace is the trace of the send. It is not stored.
	Trace trace.SpanContext
}

// Ref names a row and its user.
type Ref struct {
	ID     string
	UserID string
}

// Cursor is a place in the order (seq, id) in which a user's rows are read.
// The zero Cursor stands before every row; rows without a seq come first.
type Cursor struct {
	Seq int64
	ID  string
}

// Settlement is what a node learned about one row.
type Settlement struct {
	ID string
	// DeliveredAt is when the row was first written to a device.
	DeliveredAt time.Time
	// AcknowledgedAt is when a device acknowledged it; zero if none has.
	AcknowledgedAt time.Time
}

// Answer is a device's answer to the command with this message id.
type Answer struct {
	ID       string
	Response json.RawMessage
	At       time.Time
}

// AnswerOutcome says what became of an Answer.
type AnswerOutcome int

// The outcomes of an Answer.
const (
	// AnswerIgnored: the row already has an answer, or is no command, or is gone.
	AnswerIgnored AnswerOutcome = iota
	// AnswerWon: the first answer in time; the row is FINISHED.
	AnswerWon
	// AnswerLate: the first answer, after the deadline; it is stored and the
	// row is (or became) TIMED_OUT.
	AnswerLate
)

// Limits are the longest values, in characters, that the columns of the
// existing table take.
type Limits struct {
	ID       int
	UserID   int
	SenderID int
}

// DefaultLimits are the limits of the table that Migrate creates.
var DefaultLimits = Limits{ID: 64, UserID: 255, SenderID: 255}

// Store is a place where messages are kept. All methods may be called at the
// same time from several goroutines, end with their ctx, and repeat themselves
// where the server asks for it (deadlock, lost connection, busy). A nil error
// of a writing method means that the write is durable to the degree that the
// server is configured for.
//
// Comparisons of ids are exact, whatever the collation of the table says: a
// row of user "Bob" is never returned for "bob", nor one of "bob " for "bob".
type Store interface {
	// Migrate creates what is missing of the schema and alters nothing that
	// is there. Safe to call from several processes at once.
	Migrate(ctx context.Context) error
	// Ping answers whether the database can be reached.
	Ping(ctx context.Context) error
	// Close fails what is under way with ErrClosed, and releases the
	// connections, unless they were handed over.
	Close() error
	// Now is the time of the database's clock in UTC, as well as this process
	// knows it. Every time that is stored or compared with a stored one is
	// taken from here, so that processes with wrong clocks agree.
	Now() time.Time
	// Limits says what the columns can hold. It reads the table once.
	Limits(ctx context.Context) (Limits, error)

	// Insert stores messages, all or none, in one statement. A message whose
	// id is taken by another row is left out and its index is returned; a row
	// that an earlier, broken attempt of the same call stored (same nonce) is
	// no duplicate. Nonce, Status (PENDING), CreatedAt and UpdatedAt are set
	// where they are zero.
	Insert(ctx context.Context, msgs []*Message) (duplicates []int, err error)
	// InsertAll is Insert that stores nothing where an id belongs to another
	// message, which is a *TakenError. A duplicate is the same message.
	InsertAll(ctx context.Context, msgs []*Message) (duplicates []int, err error)
	// InsertSize is how many of so many waiting messages one Insert does best
	// with: all of them, or some, and at least one.
	InsertSize(waiting int) int
	// InsertTx is InsertAll for one message inside the caller's transaction.
	InsertTx(ctx context.Context, tx *sql.Tx, msg *Message) (duplicate bool, err error)

	// Get reads one row, or returns ErrNotFound.
	Get(ctx context.Context, id string) (*Message, error)
	// GetMany reads the rows that exist, in no order.
	GetMany(ctx context.Context, ids []string) ([]*Message, error)
	// FindCommand reads the command of a user by its request id, unless it
	// is FINISHED, or returns ErrNotFound.
	FindCommand(ctx context.Context, userID, requestID string) (*Message, error)
	// MaxSeqs reads the highest seq of each user; users without rows are absent.
	// A user whose name the table takes for equal to another's may get the other's
	// number, if that is higher: a gap does no harm.
	MaxSeqs(ctx context.Context, userIDs []string) (map[string]int64, error)
	// Unfinished reads up to limit unfinished rows of a user behind the cursor,
	// in order of (seq, id).
	Unfinished(ctx context.Context, userID string, after Cursor, limit int) ([]*Message, error)
	// UnfinishedRefs names up to limit unfinished rows of these users, in
	// order of (user id, id), behind the ref after (zero: from the start).
	UnfinishedRefs(ctx context.Context, userIDs []string, after Ref, limit int) ([]Ref, error)
	// History reads up to limit rows of a user, of any state, but not deleted
	// ones: with seq > fromSeq ascending, or, if backwards, with seq < fromSeq
	// descending (fromSeq 0 then means from the newest). Rows without a seq are
	// left out. Rows of one seq are not torn apart by the limit, unless the page
	// holds nothing else, so a page can be continued from its last seq.
	History(ctx context.Context, userID string, fromSeq int64, limit int, backwards bool) ([]*Message, error)

	// Settle records deliveries and acknowledgements. A row only moves forward:
	// delivered PENDING → DELIVERING; acknowledged reliable → FINISHED;
	// acknowledged command → REQUEST_DELIVERED. Times that an earlier state
	// should have set are set with it; times already there stay.
	Settle(ctx context.Context, settlements []Settlement) error
	// Answer records answers to commands in one transaction; the outcomes are
	// parallel to the answers. The first answer of a command wins, in whatever
	// process it arrives. One response that the database refuses (ErrRejected)
	// fails them all; a caller that batches answers of several devices repeats
	// them one by one.
	Answer(ctx context.Context, answers []Answer) ([]AnswerOutcome, error)
	// SetResponseQueue fills in the queue for the answer if the row has none.
	SetResponseQueue(ctx context.Context, id, queue string) error
	// TimeOut turns these commands, where unfinished, into TIMED_OUT.
	TimeOut(ctx context.Context, ids []string) error
	// TimeOutExpired does so with up to limit unfinished commands whose time
	// has passed, and says how many there were.
	TimeOutExpired(ctx context.Context, limit int) (int, error)
	// Purge deletes up to limit rows that finished or timed out before the
	// given time, and says how many there were.
	Purge(ctx context.Context, before time.Time, limit int) (int, error)
	// Purgeable counts what Purge would delete, up to limit.
	Purgeable(ctx context.Context, before time.Time, limit int) (int, error)
	// Count counts the rows in each state, deleted ones among them, up to limit
	// in each; every state of the contract has an entry.
	Count(ctx context.Context, limit int) (map[wire.Status]int, error)
	// Schema says what is there of the schema. It changes nothing.
	Schema(ctx context.Context) (Schema, error)
}

// Schema is what is there of the table push_messages.
type Schema struct {
	// Exists says that the table is there.
	Exists bool
	// Foreign says that the table is there and no migration of ours created or
	// completed it.
	Foreign bool
	// Versions are the migrations that were applied, and Pending those that
	// were not.
	Versions, Pending []int64
	// MissingColumns are columns of the contract that the table lacks, and
	// MissingIndexes the columns of indexes that Migrate would add.
	MissingColumns, MissingIndexes []string
	// IgnoringCase are the columns of ids whose collation takes different ids
	// for equal ones: a second message with the id "A" after "a" is refused.
	IgnoringCase []string
}

// Ready reports whether a node can work with the schema.
func (s Schema) Ready() bool { return s.Exists && len(s.MissingColumns) == 0 }
