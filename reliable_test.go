package gateway_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/wire"
)

// row is push_messages as the contract has it.
type row struct {
	senderType, senderID                    sql.NullString
	userID                                  string
	pushType                                int
	seq                                     sql.NullInt64
	payload                                 sql.NullString
	status                                  string
	requestID, response, responseQueue      sql.NullString
	nonce                                   sql.NullString
	expiredAt                               any
	retryInterval                           sql.NullInt64
	deliveringAt, requestDelivered, finised any
	createdAt, updatedAt, deletedAt         any
}

func (b *backend) row(t testing.TB, id string) row {
	t.Helper()
	var r row
	require.NoError(t, b.db(t).QueryRowContext(t.Context(), `SELECT sender_type, sender_id, target_user_id, push_type, seq, payload, status,
		command_request_id, command_response, command_response_queue, nonce, expired_at, retry_interval,
		delivering_at, request_delivered_at, finished_at, created_at, updated_at, deleted_at
		FROM push_messages WHERE id = ?`, id).Scan(
		&r.senderType, &r.senderID, &r.userID, &r.pushType, &r.seq, &r.payload, &r.status,
		&r.requestID, &r.response, &r.responseQueue, &r.nonce, &r.expiredAt, &r.retryInterval,
		&r.deliveringAt, &r.requestDelivered, &r.finised, &r.createdAt, &r.updatedAt, &r.deletedAt))
	return r
}

func TestSendReliableStoresTheColumnsOfTheContract(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 20*time.Second), user()
		id, err := c.SendReliable(ctx, userID, point{X: 1}, gateway.WithSender("client", "phone"), gateway.WithRetryInterval(1500*time.Microsecond))
		require.NoError(t, err)
		require.NoError(t, uuid.Validate(id))
		r := b.row(t, id)
		require.NoError(t, uuid.Validate(r.nonce.String))
		assert.NotNil(t, r.createdAt)
		assert.NotNil(t, r.updatedAt)
		r.createdAt, r.updatedAt, r.nonce = nil, nil, sql.NullString{}
		assert.Equal(t, row{
			senderType: text("client"), senderID: text("phone"), userID: userID, pushType: 1, seq: sql.NullInt64{Int64: 1, Valid: true},
			payload: text(`{"x":1}`), status: "PENDING", retryInterval: sql.NullInt64{Int64: 2, Valid: true},
		}, r)

		id, err = c.SendReliable(ctx, userID, nil)
		require.NoError(t, err)
		r = b.row(t, id)
		assert.Equal(t, text("server"), r.senderType)
		assert.False(t, r.senderID.Valid)
		assert.False(t, r.retryInterval.Valid)
		assert.Equal(t, int64(2), r.seq.Int64)

		msg, err := c.Message(ctx, id)
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), msg.CreatedAt, time.Minute)
		assert.Equal(t, time.UTC, msg.CreatedAt.Location())
		created := msg.CreatedAt
		msg.CreatedAt = time.Time{}
		assert.False(t, created.IsZero())
		assert.Equal(t, &gateway.Message{
			ID: id, UserID: userID, Kind: gateway.KindReliable, Status: gateway.StatusPending, Seq: 2,
			SenderType: "server", Payload: json.RawMessage("null"),
		}, msg)
	})
}

func text(s string) sql.NullString { return sql.NullString{String: s, Valid: true} }

func TestMessageNotFound(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c := b.open(t)
		_, err := c.Message(within(t, 10*time.Second), uuid.NewString())
		require.ErrorIs(t, err, gateway.ErrMessageNotFound)
	})
}

func TestSendReliableTellsTheNodes(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 20*time.Second), user()
		d, stranger := connect(t, c, userID, nil), connect(t, c, user(), nil)
		id, err := c.SendReliable(ctx, userID, point{X: 7}, gateway.WithSender("server", "backend_1"), gateway.WithRetryInterval(time.Second))
		require.NoError(t, err)
		hint := next(t, d.hints)
		assert.Equal(t, id, hint.ID)
		assert.Equal(t, wire.Reliable, hint.Type)
		assert.Equal(t, time.Second, hint.RetryInterval)
		assert.Equal(t, int64(1), hint.Seq)
		var envelope map[string]any
		require.NoError(t, json.Unmarshal(hint.Envelope, &envelope))
		assert.NotEmpty(t, envelope["sentAt"])
		delete(envelope, "sentAt")
		assert.Equal(t, map[string]any{
			"kind": "reliable", "id": id, "seq": 1.0, "payload": map[string]any{"x": 7.0},
			"sender": map[string]any{"type": "server", "id": "backend_1"},
		}, envelope)
		assert.Empty(t, stranger.hints)
		assert.Empty(t, d.realtime)
	})
}

func TestWithMessageIDIsIdempotent(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		one, two := b.open(t), b.open(t)
		ctx, userID, id := within(t, 30*time.Second), user(), uuid.NewString()
		d := connect(t, one, userID, nil)
		var wg sync.WaitGroup
		for i := range 20 {
			c := []*gateway.Client{one, two}[i%2]
			wg.Go(func() {
				got, err := c.SendReliable(ctx, userID, i, gateway.WithMessageID(id))
				assert.NoError(t, err)
				assert.Equal(t, id, got)
			})
		}
		wg.Wait()
		assert.Equal(t, 1, b.rows(t, userID))
		assert.Equal(t, id, next(t, d.hints).ID)

		other := user()
		_, err := two.SendReliable(ctx, other, 1, gateway.WithMessageID(id))
		require.ErrorIs(t, err, gateway.ErrMessageIDConflict)
		require.NotErrorIs(t, err, gateway.ErrInvalidArgument)
		res, err := two.SendCommand(ctx, userID, "TYPE", 1, gateway.WithMessageID(id), gateway.NoWait())
		require.ErrorIs(t, err, gateway.ErrMessageIDConflict)
		require.NotNil(t, res)
		assert.Zero(t, b.rows(t, other))
		assert.Equal(t, 1, b.rows(t, userID))
		assert.Empty(t, d.hints, "told once")
	})
}

func TestSeqGrowsUnderConcurrency(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		one, two := b.open(t), b.open(t)
		ctx, userID := within(t, 60*time.Second), user()
		var wg sync.WaitGroup
		for i := range 8 {
			c := []*gateway.Client{one, two}[i%2]
			wg.Go(func() {
				last := int64(0)
				for range 10 {
					id, err := c.SendReliable(ctx, userID, i)
					if !assert.NoError(t, err) {
						return
					}
					msg, err := c.Message(ctx, id)
					if !assert.NoError(t, err) {
						return
					}
					assert.Greater(t, msg.Seq, last)
					last = msg.Seq
				}
			})
		}
		wg.Wait()
		history, err := one.History(ctx, userID, gateway.HistoryQuery{})
		require.NoError(t, err)
		require.Len(t, history, 80)
		for i, msg := range history[1:] {
			require.Greater(t, msg.Seq, history[i].Seq) // not without gaps
		}
	})
}

func TestContextThatEndedSendsNothing(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, userID := b.open(t), user()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.SendReliable(ctx, userID, 1)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, c.SendRealtime(ctx, userID, 1), context.Canceled)
		_, err = c.SendCommand(ctx, userID, "TYPE", 1)
		require.ErrorIs(t, err, context.Canceled)
		_, err = c.AwaitCommand(ctx, "x")
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, c.Ping(ctx), context.Canceled)
		require.Zero(t, b.rows(t, userID))
		require.Equal(t, int64(1), draw(t, c, userID))
	})
}

func TestWithoutTheTable(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	b.migrated.Do(func() {}) // not this time
	c, ctx, userID := b.open(t), within(t, 20*time.Second), user()
	require.NoError(t, c.SendRealtime(ctx, userID, 1))
	_, err := c.SendReliable(ctx, userID, 1)
	require.ErrorIs(t, err, gateway.ErrNoSchema)
	_, err = c.History(ctx, userID, gateway.HistoryQuery{})
	require.ErrorIs(t, err, gateway.ErrNoSchema)
	_, err = c.Message(ctx, "x")
	require.ErrorIs(t, err, gateway.ErrNoSchema)
	_, err = c.SendCommand(ctx, userID, "TYPE", 1)
	require.ErrorIs(t, err, gateway.ErrNoSchema)
	require.NoError(t, c.Migrate(ctx))
	_, err = c.SendReliable(ctx, userID, 1)
	require.NoError(t, err)
}
