package gateway_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/store"
)

func TestSendReliableBatch(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, one, two := b.open(t), within(t, 60*time.Second), user(), user()
		d := connect(t, c, one, nil)
		stored := uuid.NewString()
		_, err := c.SendReliable(ctx, one, 0, gateway.WithMessageID(stored))
		require.NoError(t, err)
		ids, err := c.SendReliableBatch(ctx, []gateway.Outgoing{
			{UserID: one, Payload: 1},
			{UserID: two, Payload: 2, Options: []gateway.SendOption{gateway.WithSender("client", "x")}},
			{UserID: one, Payload: 3, Options: []gateway.SendOption{gateway.WithMessageID(stored)}},
			{UserID: one, Payload: 4},
		})
		require.NoError(t, err)
		require.Len(t, ids, 4)
		require.Equal(t, stored, ids[2])
		assert.Equal(t, 3, b.rows(t, one))
		assert.Equal(t, 1, b.rows(t, two))
		assert.Equal(t, "client", b.row(t, ids[1]).senderType.String)
		for _, id := range []string{stored, ids[0], ids[3]} {
			assert.Equal(t, id, next(t, d.hints).ID)
		}
		history, err := c.History(ctx, one, gateway.HistoryQuery{})
		require.NoError(t, err)
		require.Equal(t, []string{stored, ids[0], ids[3]}, []string{history[0].ID, history[1].ID, history[2].ID})
	})
}

func TestSendReliableBatchIsAllOrNone(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, taken := b.open(t), within(t, 60*time.Second), uuid.NewString()
		_, err := c.SendReliable(ctx, user(), 0, gateway.WithMessageID(taken))
		require.NoError(t, err)
		owner, deleted := user(), uuid.NewString()
		_, err = c.SendReliable(ctx, owner, 0, gateway.WithMessageID(deleted))
		require.NoError(t, err)
		_, err = b.db(t).ExecContext(ctx, "UPDATE push_messages SET deleted_at = created_at WHERE id = ?", deleted)
		require.NoError(t, err)
		for name, bad := range map[string]struct {
			out  gateway.Outgoing
			want error
		}{
			"argument":      {gateway.Outgoing{UserID: ""}, gateway.ErrEmptyUserID},
			"somebody's id": {gateway.Outgoing{UserID: user(), Options: []gateway.SendOption{gateway.WithMessageID(taken)}}, gateway.ErrMessageIDConflict},
			"deleted":       {gateway.Outgoing{UserID: owner, Options: []gateway.SendOption{gateway.WithMessageID(deleted)}}, gateway.ErrMessageIDConflict},
			"database": {
				gateway.Outgoing{UserID: user(), Payload: json.RawMessage(strings.Repeat("[", 200) + strings.Repeat("]", 200))},
				gateway.ErrInvalidPayload,
			},
		} {
			if name == "database" && b.mysql == nil {
				continue // SQLite takes it
			}
			userID := user()
			ids, err := c.SendReliableBatch(ctx, []gateway.Outgoing{{UserID: userID, Payload: 1}, bad.out, {UserID: userID, Payload: 2}})
			require.ErrorIs(t, err, bad.want, name)
			require.Empty(t, ids)
			if name != "database" {
				require.ErrorContains(t, err, "message 1:")
			}
			require.Zero(t, b.rows(t, userID), name)
		}
	})
}

// racingStore lets somebody else be first.
type racingStore struct {
	store.Store
	first func()
}

func (s *racingStore) InsertAll(ctx context.Context, msgs []*store.Message) ([]int, error) {
	s.first()
	return s.Store.InsertAll(ctx, msgs)
}

// An id that was free when the batch was sent is taken when it is stored.
func TestIDThatIsTakenDuringABatch(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, other, ctx := b.open(t), b.open(t), within(t, 60*time.Second)
		id, userID := uuid.NewString(), user()
		_, err := c.SendReliable(ctx, user(), 1) // the table is known
		require.NoError(t, err)
		k := core.Of(c)
		k.Store = &racingStore{k.Store, func() {
			_, err := other.SendReliable(ctx, user(), 1, gateway.WithMessageID(id))
			assert.NoError(t, err)
		}}
		_, err = c.SendReliableBatch(ctx, []gateway.Outgoing{
			{UserID: userID}, {UserID: userID, Options: []gateway.SendOption{gateway.WithMessageID(id)}}, {UserID: userID},
		})
		require.ErrorIs(t, err, gateway.ErrMessageIDConflict)
		require.ErrorContains(t, err, "message 1:")
		require.Zero(t, b.rows(t, userID))
	})
}

func TestLargestBatch(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 60*time.Second), user()
		batch := make([]gateway.Outgoing, gateway.MaxBatch)
		for i := range batch {
			batch[i] = gateway.Outgoing{UserID: userID, Payload: i}
		}
		ids, err := c.SendReliableBatch(ctx, batch)
		require.NoError(t, err)
		require.Len(t, ids, gateway.MaxBatch)
		require.Equal(t, gateway.MaxBatch, b.rows(t, userID))
		require.NotNil(t, core.Of(c))
	})
}
