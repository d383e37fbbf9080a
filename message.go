package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// Kind tells a reliable message from a command.
type Kind int

// The kinds, with their numbers in the wire contract.
const (
	KindReliable = Kind(wire.Reliable)
	KindCommand  = Kind(wire.Command)
)

// String is "reliable" or "command".
func (k Kind) String() string {
	switch k {
	case KindReliable:
		return kindReliable
	case KindCommand:
		return kindCommand
	default:
		return fmt.Sprintf("kind %d", int(k))
	}
}

// Status is the state of a stored message.
type Status string

// The states. A reliable message goes StatusPending, StatusDelivering,
// StatusFinished; a command StatusPending, StatusDelivering,
// StatusRequestDelivered and then StatusFinished or StatusTimedOut. States can
// be skipped, but never go back.
const (
	// StatusPending: stored, not written to any device yet.
	StatusPending = Status(wire.Pending)
	// StatusDelivering: written to a device that has not acknowledged it.
	StatusDelivering = Status(wire.Delivering)
	// StatusRequestDelivered: a device acknowledged the command.
	StatusRequestDelivered = Status(wire.RequestDelivered)
	// StatusFinished: a device acknowledged the message, or answered the command.
	StatusFinished = Status(wire.Finished)
	// StatusTimedOut: the command's time passed without an answer.
	StatusTimedOut = Status(wire.TimedOut)
)

// Message is a stored message. Times are in UTC by the clock of the database;
// zero times mean that it has not happened.
type Message struct {
	ID         string
	UserID     string
	Kind       Kind
	Status     Status
	Seq        int64 // per user: grows, with gaps; see docs/guarantees.md
	SenderType string
	SenderID   string
	// Payload is the payload as stored; for a command {"type":…,"data":…}.
	// MySQL may have changed its white space and the order of its members.
	Payload json.RawMessage
	// Response is the answer to a command; nil if there is none.
	Response json.RawMessage

	CreatedAt          time.Time
	DeliveringAt       time.Time
	RequestDeliveredAt time.Time
	FinishedAt         time.Time
	ExpiresAt          time.Time
}

// Message reads a stored message and its state. State changes are written in
// batches, so what a device did a moment ago may not show yet. Errors:
// ErrMessageNotFound, also after the row was purged; ErrNoSchema, ErrClosed,
// the end of ctx, or that of MySQL.
func (c *Client) Message(ctx context.Context, messageID string) (*Message, error) {
	if err := c.usable(ctx); err != nil {
		return nil, fmt.Errorf("gateway: read message: %w", err)
	}
	row, err := c.core.Store.Get(ctx, messageID)
	if err != nil {
		return nil, fmt.Errorf("gateway: read message: %w", c.translate(err))
	}
	return newMessage(row), nil
}

// Bounds of HistoryQuery.Limit.
const (
	DefaultHistoryLimit = 100
	MaxHistoryLimit     = 1000
)

// HistoryQuery selects a part of a user's stored messages.
type HistoryQuery struct {
	// FromSeq is where to start, exclusive: the seq of the last message of the
	// page before. 0 means the oldest message, or, with Backwards, the newest.
	FromSeq int64
	// Limit is the size of the page. 0 means DefaultHistoryLimit; more than
	// MaxHistoryLimit is an error.
	Limit int
	// Backwards reads from newer to older.
	Backwards bool
}

// History reads a user's stored messages in order of seq, whatever their
// state. A message that commits late may have a smaller seq than one that was
// read before; a gap in seq is no loss. Finished messages disappear when nodes
// purge them. Errors: those that match ErrInvalidArgument, ErrNoSchema,
// ErrClosed, the end of ctx, or that of MySQL.
func (c *Client) History(ctx context.Context, userID string, q HistoryQuery) ([]*Message, error) {
	rows, err := c.history(ctx, userID, q)
	if err != nil {
		return nil, fmt.Errorf("gateway: history: %w", err)
	}
	messages := make([]*Message, len(rows))
	for i, row := range rows {
		messages[i] = newMessage(row)
	}
	return messages, nil
}

func (c *Client) history(ctx context.Context, userID string, q HistoryQuery) ([]*store.Message, error) {
	if err := c.usable(ctx); err != nil {
		return nil, err
	}
	limits, err := c.limits(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkUserID(userID, limits); err != nil {
		return nil, err
	}
	if q.Limit < 0 || q.Limit > MaxHistoryLimit {
		return nil, fmt.Errorf("%w: limit %d is not between 0 and %d", ErrInvalidQuery, q.Limit, MaxHistoryLimit)
	}
	if q.FromSeq < 0 {
		return nil, fmt.Errorf("%w: negative seq %d", ErrInvalidQuery, q.FromSeq)
	}
	rows, err := c.core.Store.History(ctx, userID, q.FromSeq, or(q.Limit, DefaultHistoryLimit), q.Backwards)
	return rows, c.translate(err)
}

func newMessage(row *store.Message) *Message {
	return &Message{
		ID: row.ID, UserID: row.UserID, Kind: Kind(row.PushType), Status: Status(row.Status), Seq: row.Seq,
		SenderType: row.SenderType, SenderID: row.SenderID, Payload: row.Payload, Response: row.Response,
		CreatedAt: row.CreatedAt, DeliveringAt: row.DeliveringAt, RequestDeliveredAt: row.RequestDeliveredAt,
		FinishedAt: row.FinishedAt, ExpiresAt: row.ExpiresAt,
	}
}
