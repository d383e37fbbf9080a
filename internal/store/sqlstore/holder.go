package sqlstore

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// holder is the row that holds an id: one with that id, deleted or not, or with
// one that is equal to it in the collation of the column.
type holder struct {
	ID       string        `db:"id"`
	UserID   string        `db:"target_user_id"`
	PushType wire.PushType `db:"push_type"`
	Deleted  bool          `db:"deleted"`
	Nonce    string        `db:"nonce"`
}

// stored reports whether this call, or an earlier attempt of it, wrote the row.
func (h *holder) stored(m *store.Message) bool { return h.ID == m.ID && h.Nonce == m.Nonce }

// same reports whether the row is the message, sent before.
func (h *holder) same(m *store.Message) bool {
	return h.ID == m.ID && h.UserID == m.UserID && h.PushType == m.PushType && !h.Deleted
}

func readHolders(ctx context.Context, q sqlx.QueryerContext, query string, ids []string, holders map[string]*holder) error {
	query, args, err := expand(query, ids)
	if err != nil {
		return err
	}
	var rows []*holder
	if err := sqlx.SelectContext(ctx, q, &rows, query, args...); err != nil {
		return err
	}
	for _, h := range rows {
		holders[h.ID] = h
	}
	return nil
}

// holderOf takes the row that holds the id of this message from those that were
// read, or reads it where its id is not the same but equal. No row at all means
// that another unique key of the table is taken.
func holderOf(ctx context.Context, q sqlx.QueryerContext, query string, m *store.Message, holders map[string]*holder) (*holder, error) {
	if h, ok := holders[m.ID]; ok {
		return h, nil
	}
	equal := make(map[string]*holder, 1)
	if err := readHolders(ctx, q, query, []string{m.ID}, equal); err != nil {
		return nil, err
	}
	for _, h := range equal {
		return h, nil
	}
	return nil, fmt.Errorf("%w: message %q breaks a unique key other than id", store.ErrRejected, m.ID)
}
