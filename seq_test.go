package gateway_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

func TestSeqNeverGoesBackWhenRedisIsEmptied(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	one, two := b.open(t), b.open(t)
	ctx, userID := within(t, 60*time.Second), user()
	rdb := redis.NewClient(&redis.Options{Addr: b.cfg.Redis.Addrs[0]})
	defer func() { require.NoError(t, rdb.Close()) }()
	last := int64(0)
	send := func(c *gateway.Client) {
		t.Helper()
		id, err := c.SendReliable(ctx, userID, 1)
		require.NoError(t, err)
		msg, err := one.Message(ctx, id)
		require.NoError(t, err)
		require.Greater(t, msg.Seq, last)
		last = msg.Seq
	}
	for range 3 {
		send(one)
		send(two)
	}
	require.NoError(t, rdb.Del(ctx, b.names.Seq(userID)).Err())
	send(one)
	send(two)
	require.NoError(t, rdb.Del(ctx, b.names.Seq(userID)).Err())
	ids, err := two.SendReliableBatch(ctx, []gateway.Outgoing{{UserID: userID}, {UserID: user()}, {UserID: userID}})
	require.NoError(t, err)
	for _, id := range []string{ids[0], ids[2]} {
		msg, err := one.Message(ctx, id)
		require.NoError(t, err)
		require.Greater(t, msg.Seq, last)
		last = msg.Seq
	}
	require.NoError(t, rdb.Del(ctx, b.names.Seq(userID)).Err())
	send(b.open(t)) // a process that has never seen the user
	n, err := rdb.Get(ctx, b.names.Seq(userID)).Int64()
	require.NoError(t, err)
	require.Equal(t, last, n, "the counter that all SDKs share was lifted")
	send(one)

	tx, err := b.db(t).BeginTx(ctx, nil)
	require.NoError(t, err)
	require.NoError(t, rdb.Del(ctx, b.names.Seq(userID)).Err())
	id, err := two.SendReliableTx(ctx, tx, userID, 1)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	msg, err := one.Message(ctx, id)
	require.NoError(t, err)
	require.Greater(t, msg.Seq, last)
}

// A counter that holds no number fails its own user only, with the address.
func TestBrokenCounterConcernsOneUser(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	c, ctx, broken := b.open(t), within(t, 60*time.Second), user()
	rdb := redis.NewClient(&redis.Options{Addr: b.cfg.Redis.Addrs[0]})
	defer func() { require.NoError(t, rdb.Close()) }()
	require.NoError(t, rdb.Set(ctx, b.names.Seq(broken), "not a number", 0).Err())
	results := make(chan error, 40)
	for range 20 {
		go func() {
			_, err := c.SendReliable(ctx, broken, 1)
			results <- err
		}()
		go func() {
			_, err := c.SendReliable(ctx, user(), 1)
			if err != nil {
				t.Errorf("somebody else: %v", err)
			}
			results <- nil
		}()
	}
	failed := 0
	for range 40 {
		if err := next(t, results); err != nil {
			failed++
			require.ErrorContains(t, err, b.cfg.Redis.Addrs[0])
		}
	}
	require.Equal(t, 20, failed)
	require.Zero(t, b.rows(t, broken))
}

func TestSeqAfterARestartOfTheEmbeddedBackend(t *testing.T) {
	t.Parallel()
	b := embeddedBackend(t)
	ctx, userID, last := context.WithoutCancel(t.Context()), user(), int64(0)
	for range 3 {
		c, err := gateway.New(ctx, b.cfg)
		require.NoError(t, err)
		id, err := c.SendReliable(ctx, userID, 1, gateway.WithMessageID(uuid.NewString()))
		require.NoError(t, err)
		msg, err := c.Message(ctx, id)
		require.NoError(t, err)
		require.Greater(t, msg.Seq, last)
		last = msg.Seq
		require.NoError(t, c.Close())
	}
}

// Only the table knows of numbers that a counter lost: without a row there is
// nothing to be above of.
func TestSeqBeginsAgainWithoutCounterAndRows(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		ctx, userID := within(t, 60*time.Second), user()
		send := func(c *gateway.Client) int64 {
			id, err := c.SendReliable(ctx, userID, 1)
			require.NoError(t, err)
			msg, err := c.Message(ctx, id)
			require.NoError(t, err)
			return msg.Seq
		}
		lose := func(c *gateway.Client) {
			require.NoError(t, c.Close()) // takes the counters of the embedded backend along
			if b.mysql == nil {
				return
			}
			rdb := redis.NewClient(&redis.Options{Addr: b.cfg.Redis.Addrs[0]})
			defer func() { require.NoError(t, rdb.Close()) }()
			require.NoError(t, rdb.Del(ctx, b.names.Seq(userID)).Err())
		}
		c := b.open(t)
		require.EqualValues(t, 1, send(c))
		require.EqualValues(t, 2, send(c))
		lose(c)
		c = b.open(t)
		require.Greater(t, send(c), int64(2))
		_, err := b.db(t).ExecContext(ctx, "DELETE FROM push_messages WHERE target_user_id = ?", userID)
		require.NoError(t, err)
		require.Greater(t, send(c), int64(3), "the counter is still there")
		_, err = b.db(t).ExecContext(ctx, "DELETE FROM push_messages WHERE target_user_id = ?", userID)
		require.NoError(t, err)
		lose(c)
		require.EqualValues(t, 1, send(b.open(t)))
	})
}
