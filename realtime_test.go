package gateway_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

func TestSendRealtimeReachesWhoIsConnected(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 30*time.Second), user()
		require.NoError(t, c.SendRealtime(ctx, userID, "nobody hears it"))
		phone, laptop, stranger := connect(t, c, userID, nil), connect(t, c, userID, nil), connect(t, c, user(), nil)
		require.NoError(t, c.SendRealtime(ctx, userID, point{X: 1}))
		assert.Equal(t, `{"x":1}`, string(next(t, phone.realtime)))
		assert.Equal(t, `{"x":1}`, string(next(t, laptop.realtime)))
		assert.Empty(t, stranger.realtime)
		assert.Zero(t, b.rows(t, userID))
		assert.Equal(t, int64(1), draw(t, c, userID))
	})
}

func TestRealtimeOfOneGoroutineStaysInOrder(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx := b.open(t), within(t, 30*time.Second)
		var wg sync.WaitGroup
		for range 8 {
			userID := user()
			d := connect(t, c, userID, nil)
			wg.Go(func() {
				for i := range 100 {
					assert.NoError(t, c.SendRealtime(ctx, userID, i))
				}
				for i := range 100 {
					assert.Equal(t, fmt.Sprint(i), string(next(t, d.realtime)))
				}
			})
		}
		wg.Wait()
	})
}

func TestOnlineAndFailIfOffline(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx := b.open(t), within(t, 30*time.Second)
		here, away := user(), user()
		d := connect(t, c, here, always(`1`))
		online, err := c.Online(ctx, here, away, here)
		require.NoError(t, err)
		require.Equal(t, map[string]bool{here: true, away: false}, online)
		online, err = c.Online(ctx)
		require.NoError(t, err)
		require.Empty(t, online)

		require.ErrorIs(t, c.SendRealtime(ctx, away, 1, gateway.FailIfOffline()), gateway.ErrUserOffline)
		_, err = c.SendReliable(ctx, away, 1, gateway.FailIfOffline())
		require.ErrorIs(t, err, gateway.ErrUserOffline)
		_, err = c.SendCommand(ctx, away, "TYPE", 1, gateway.FailIfOffline())
		require.ErrorIs(t, err, gateway.ErrUserOffline)
		require.NotErrorIs(t, err, gateway.ErrInvalidArgument)
		require.Zero(t, b.rows(t, away))
		require.Equal(t, int64(1), draw(t, c, away), "the counter is untouched")

		require.NoError(t, c.SendRealtime(ctx, here, 1, gateway.FailIfOffline()))
		require.Equal(t, "1", string(next(t, d.realtime)))
		_, err = c.SendReliable(ctx, here, 1, gateway.FailIfOffline())
		require.NoError(t, err)
		_, err = c.SendCommand(ctx, here, "TYPE", 1, gateway.FailIfOffline())
		require.NoError(t, err)
	})
}
