package gateway

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/message-gateway/gateway/internal/store"
)

// checkUserID checks a user id against the columns of the table.
func checkUserID(userID string, limits store.Limits) error {
	if userID == "" {
		return ErrEmptyUserID
	}
	if !utf8.ValidString(userID) {
		return fmt.Errorf("%w: not valid UTF-8", ErrInvalidUserID)
	}
	if n := utf8.RuneCountInString(userID); n > limits.UserID {
		return fmt.Errorf("%w: %d characters, the column takes %d", ErrInvalidUserID, n, limits.UserID)
	}
	return nil
}

// senderTypeLimit is the length of the column sender_type in the table that
// Migrate creates.
const senderTypeLimit = 32

// checkStored checks what only stored messages have.
func checkStored(limits store.Limits, o *sendOptions) error {
	if n := utf8.RuneCountInString(o.messageID); n > limits.ID {
		return fmt.Errorf("%w: %d characters, the column takes %d", ErrInvalidMessageID, n, limits.ID)
	}
	for _, s := range []struct {
		text  string
		limit int
	}{{o.senderID, limits.SenderID}, {o.senderType, senderTypeLimit}} {
		if n := utf8.RuneCountInString(s.text); n > s.limit {
			return fmt.Errorf("%w: %d characters, the column takes %d", ErrInvalidSender, n, s.limit)
		}
	}
	return nil
}

// knownLimits are for what needs no table, as realtime sends: those of the
// table if they were read, since this must work while the database is down.
func (c *Client) knownLimits() store.Limits {
	if known := c.columns.Load(); known != nil {
		return *known
	}
	return store.DefaultLimits
}

// limits are those of the existing table, or the default ones while it cannot
// be asked: the insert then reports what does not fit. It fails only where ctx
// ended while it waited for the database.
func (c *Client) limits(ctx context.Context) (store.Limits, error) {
	if known := c.columns.Load(); known != nil {
		return *known, nil
	}
	limits, err := c.core.Store.Limits(ctx)
	switch {
	case err == nil:
		c.columns.Store(&limits)
		return limits, nil
	case ctx.Err() != nil:
		return store.Limits{}, c.translate(err)
	default:
		return store.DefaultLimits, nil
	}
}
