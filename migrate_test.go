package gateway_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

func TestMigrateAtEveryStart(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		one, two := b.open(t), b.open(t)
		ctx, userID := within(t, 60*time.Second), user()
		id, err := one.SendReliable(ctx, userID, 1)
		require.NoError(t, err)
		var wg sync.WaitGroup
		for _, c := range []*gateway.Client{one, two, one, two} {
			wg.Go(func() { assert.NoError(t, c.Migrate(ctx)) })
		}
		wg.Wait()
		_, err = two.Message(ctx, id)
		require.NoError(t, err)
	})
}

// The table of the original SDK: other types, other limits, nothing of ours.
const foreignTable = `CREATE TABLE push_messages (
	id VARCHAR(36) NOT NULL PRIMARY KEY,
	sender_type VARCHAR(20) NULL, sender_id VARCHAR(64) NULL,
	target_user_id VARCHAR(64) NOT NULL,
	push_type INT NOT NULL, seq BIGINT NULL, payload JSON NULL, status VARCHAR(20) NOT NULL,
	command_request_id VARCHAR(36) NULL, command_response JSON NULL, command_response_queue VARCHAR(255) NULL,
	nonce VARCHAR(36) NULL, expired_at TIMESTAMP NULL, retry_interval INT NULL,
	delivering_at TIMESTAMP NULL, request_delivered_at TIMESTAMP NULL, finished_at TIMESTAMP NULL,
	created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
	updated_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
	deleted_at TIMESTAMP NULL,
	KEY theirs (target_user_id)
) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci`

func TestForeignTable(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	ctx, userID := within(t, 60*time.Second), user()
	_, err := b.db(t).ExecContext(ctx, foreignTable)
	require.NoError(t, err)
	old := uuid.NewString()
	_, err = b.db(t).ExecContext(ctx, "INSERT INTO push_messages (id, target_user_id, push_type, seq, payload, status) VALUES (?, ?, 1, 41, '{}', 'PENDING')", old, userID)
	require.NoError(t, err)
	columns := func() (all string) {
		require.NoError(t, b.db(t).QueryRowContext(ctx, `SELECT GROUP_CONCAT(column_name, column_type, is_nullable, IFNULL(column_default, '-'), extra ORDER BY ordinal_position)
			FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'push_messages'`).Scan(&all))
		return all
	}
	before := columns()
	c := b.open(t)
	require.Equal(t, before, columns())

	id, err := c.SendReliable(ctx, userID, point{X: 1})
	require.NoError(t, err)
	msg, err := c.Message(ctx, id)
	require.NoError(t, err)
	require.Greater(t, msg.Seq, int64(41), "above what another SDK stored")
	connect(t, c, userID, always(`1`))
	_, err = c.SendCommand(ctx, userID, "TYPE", 1)
	require.NoError(t, err)
	history, err := c.History(ctx, userID, gateway.HistoryQuery{})
	require.NoError(t, err)
	require.Len(t, history, 3)
	require.Equal(t, old, history[0].ID)

	// Its limits, and ids that its collation takes for the same.
	long := "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	_, err = c.SendReliable(ctx, long, 1)
	require.ErrorIs(t, err, gateway.ErrInvalidUserID)
	require.ErrorIs(t, c.SendRealtime(ctx, long, 1), gateway.ErrInvalidUserID, "known by now")
	_, err = c.SendReliable(ctx, userID, 1, gateway.WithMessageID(long[:37]))
	require.ErrorIs(t, err, gateway.ErrInvalidMessageID)
	_, err = c.SendReliable(ctx, userID, 1, gateway.WithSender("server", long))
	require.ErrorIs(t, err, gateway.ErrInvalidSender)
	_, err = c.SendReliable(ctx, userID, 1, gateway.WithMessageID("abc"))
	require.NoError(t, err)
	_, err = c.SendReliable(ctx, userID, 1, gateway.WithMessageID("ABC"))
	require.ErrorIs(t, err, gateway.ErrMessageIDConflict)
	_, err = c.Message(ctx, "ABC")
	require.ErrorIs(t, err, gateway.ErrMessageNotFound)
	tx, err := b.db(t).BeginTx(ctx, nil)
	require.NoError(t, err)
	_, err = c.SendReliableTx(ctx, tx, userID, 1, gateway.WithMessageID("ABC"))
	require.ErrorIs(t, err, gateway.ErrMessageIDConflict)
	require.NoError(t, tx.Rollback())
	for name, given := range map[string][]string{"stored": {"ABC"}, "stored, and the same": {"abc", "ABC"}, "in the batch": {"NEW", "new"}} {
		fresh := user()
		batch := []gateway.Outgoing{{UserID: fresh, Payload: 1}}
		for _, id := range given {
			batch = append(batch, gateway.Outgoing{UserID: userID, Payload: 1, Options: []gateway.SendOption{gateway.WithMessageID(id)}})
		}
		_, err = c.SendReliableBatch(ctx, batch)
		require.ErrorIs(t, err, gateway.ErrMessageIDConflict, name)
		require.ErrorContains(t, err, "message "+strconv.Itoa(len(given))+":", name)
		require.Zero(t, b.rows(t, fresh), name)
	}
}
