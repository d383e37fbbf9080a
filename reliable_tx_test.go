package gateway_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

func TestSendReliableTx(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 60*time.Second), user()
		_, err := b.db(t).ExecContext(ctx, "CREATE TABLE orders (id VARCHAR(64) PRIMARY KEY)")
		require.NoError(t, err)
		d := connect(t, c, userID, nil)
		orders := func() (n int) {
			require.NoError(t, b.db(t).QueryRowContext(ctx, "SELECT COUNT(*) FROM orders").Scan(&n))
			return n
		}

		tx, err := b.db(t).BeginTx(ctx, nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(ctx, "INSERT INTO orders VALUES ('rolled back')")
		require.NoError(t, err)
		gone, err := c.SendReliableTx(ctx, tx, userID, 1)
		require.NoError(t, err)
		require.NoError(t, tx.Rollback())

		tx, err = b.db(t).BeginTx(ctx, nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(ctx, "INSERT INTO orders VALUES ('committed')")
		require.NoError(t, err)
		one, err := c.SendReliableTx(ctx, tx, userID, point{X: 1}, gateway.WithSender("server", "orders"))
		require.NoError(t, err)
		two, err := c.SendReliableTx(ctx, tx, userID, point{X: 2})
		require.NoError(t, err)
		_, err = c.Message(ctx, one)
		require.ErrorIs(t, err, gateway.ErrMessageNotFound, "not before the commit")
		require.Empty(t, d.hints, "not before the commit")
		require.NoError(t, tx.Commit())

		got := []string{next(t, d.hints).ID, next(t, d.hints).ID}
		assert.ElementsMatch(t, []string{one, two}, got)
		assert.Equal(t, 1, orders())
		assert.Equal(t, 2, b.rows(t, userID))
		_, err = c.Message(ctx, gone)
		require.ErrorIs(t, err, gateway.ErrMessageNotFound)
		msg, err := c.Message(ctx, one)
		require.NoError(t, err)
		assert.Equal(t, "orders", msg.SenderID)
		assert.Equal(t, int64(2), msg.Seq, "the number of the rolled back message is a gap")
		r := b.row(t, two)
		assert.Equal(t, "PENDING", r.status)
		assert.True(t, r.nonce.Valid)
	})
}

func TestSendReliableTxWithMessageID(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID, id := b.open(t), within(t, 60*time.Second), user(), uuid.NewString()
		tx, err := b.db(t).BeginTx(ctx, nil)
		require.NoError(t, err)
		for range 2 { // the second meets the first in the same transaction
			got, err := c.SendReliableTx(ctx, tx, userID, 1, gateway.WithMessageID(id))
			require.NoError(t, err)
			require.Equal(t, id, got)
		}
		require.NoError(t, tx.Commit())
		got, err := c.SendReliable(ctx, userID, 1, gateway.WithMessageID(id))
		require.NoError(t, err)
		require.Equal(t, id, got)
		tx, err = b.db(t).BeginTx(ctx, nil)
		require.NoError(t, err)
		_, err = c.SendReliableTx(ctx, tx, userID, 1, gateway.WithMessageID(id))
		require.NoError(t, err)
		_, err = c.SendReliableTx(ctx, tx, user(), 1, gateway.WithMessageID(id))
		require.ErrorIs(t, err, gateway.ErrMessageIDConflict)
		require.NoError(t, tx.Rollback())
		require.Equal(t, 1, b.rows(t, userID))
		_, err = c.SendReliableTx(ctx, tx, userID, 1)
		require.Error(t, err, "the transaction is over")
		require.Equal(t, 1, b.rows(t, userID))
	})
}

// An id that belongs to another message is refused, wherever that one is.
func TestSendReliableTxRefusesTakenIDs(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID, other := b.open(t), within(t, 60*time.Second), user(), user()
		deleted, id := uuid.NewString(), uuid.NewString()
		_, err := c.SendReliable(ctx, userID, 1, gateway.WithMessageID(deleted))
		require.NoError(t, err)
		_, err = b.db(t).ExecContext(ctx, "UPDATE push_messages SET deleted_at = created_at WHERE id = ?", deleted)
		require.NoError(t, err)
		command, err := c.SendCommand(ctx, userID, "TYPE", 1, gateway.NoWait())
		require.NoError(t, err)

		tx, err := b.db(t).BeginTx(ctx, nil)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback() }()
		_, err = c.SendReliableTx(ctx, tx, userID, 1, gateway.WithMessageID(id))
		require.NoError(t, err)
		_, err = c.SendReliableTx(ctx, tx, other, 2, gateway.WithMessageID(id))
		assert.ErrorIs(t, err, gateway.ErrMessageIDConflict, "another user's in the same transaction")
		_, err = c.SendReliableTx(ctx, tx, userID, 1, gateway.WithMessageID(deleted))
		assert.ErrorIs(t, err, gateway.ErrMessageIDConflict, "a deleted one's")
		_, err = c.SendReliableTx(ctx, tx, userID, 1, gateway.WithMessageID(command.MessageID))
		assert.ErrorIs(t, err, gateway.ErrMessageIDConflict, "a command's")
		require.NoError(t, tx.Commit())
		assert.Zero(t, b.rows(t, other))
		assert.Equal(t, 3, b.rows(t, userID))
	})
}

// A process that died right after the commit leaves a row that nodes find.
func TestSendReliableTxSurvivesTheClient(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		watcher, c, ctx, userID := b.open(t), b.open(t), within(t, 60*time.Second), user()
		tx, err := b.db(t).BeginTx(ctx, nil)
		require.NoError(t, err)
		id, err := c.SendReliableTx(ctx, tx, userID, 1)
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.NoError(t, tx.Commit())
		msg, err := watcher.Message(ctx, id)
		require.NoError(t, err)
		require.Equal(t, gateway.StatusPending, msg.Status)
	})
}
