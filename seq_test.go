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
