package gateway_test

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/testenv"
)

func TestClosedClientSaysSo(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 20*time.Second), user()
		tx, err := b.db(t).BeginTx(ctx, nil)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback() }()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { assert.NoError(t, c.Close()) })
		}
		wg.Wait()
		require.NoError(t, c.Close())
		for name, err := range map[string]error{
			"SendRealtime":      c.SendRealtime(ctx, userID, 1),
			"SendReliable":      second(c.SendReliable(ctx, userID, 1)),
			"SendReliableTx":    second(c.SendReliableTx(ctx, tx, userID, 1)),
			"SendReliableBatch": second(c.SendReliableBatch(ctx, []gateway.Outgoing{{UserID: userID}})),
			"SendCommand":       second(c.SendCommand(ctx, userID, "TYPE", 1)),
			"AwaitCommand":      second(c.AwaitCommand(ctx, "x")),
			"Call":              second(gateway.Call[int](ctx, c, userID, "TYPE", 1)),
			"Message":           second(c.Message(ctx, "x")),
			"History":           second(c.History(ctx, userID, gateway.HistoryQuery{})),
			"Online":            second(c.Online(ctx, userID)),
			"Ping":              c.Ping(ctx),
			"Migrate":           c.Migrate(ctx),
			"ClientAccessToken": second(c.ClientAccessToken(ctx, userID)),
		} {
			assert.ErrorIs(t, err, gateway.ErrClosed, name)
			assert.NotErrorIs(t, err, gateway.ErrInvalidArgument, name)
		}
	})
}

func TestCloseFailsWhatWaits(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 30*time.Second), user()
		sent, err := c.SendCommand(ctx, userID, "TYPE", 1, gateway.NoWait())
		require.NoError(t, err)
		failed := make(chan error, 20)
		for range 10 {
			go func() { failed <- second(c.SendCommand(ctx, userID, "TYPE", 1)) }()
			go func() { failed <- second(c.AwaitCommand(ctx, sent.MessageID)) }()
		}
		require.Eventually(t, func() bool { return b.rows(t, userID) == 11 }, 20*time.Second, time.Millisecond)
		began := time.Now()
		require.NoError(t, c.Close())
		assert.Less(t, time.Since(began), 10*time.Second)
		for range 20 {
			require.ErrorIs(t, next(t, failed), gateway.ErrClosed)
		}
	})
}

// What was accepted is stored, and the nodes are told before Close returns.
func TestCloseSendsWhatWasAccepted(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		watcher, userID := b.open(t), user()
		d := connect(t, watcher, userID, nil)
		for range 10 {
			c := b.open(t)
			id, err := c.SendReliable(within(t, 20*time.Second), userID, 1)
			require.NoError(t, err)
			require.NoError(t, c.Close())
			require.Equal(t, id, next(t, d.hints).ID)
		}
	})
}

func TestCloseDuringSends(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 30*time.Second), user()
		var stored sync.Map
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				for {
					id, err := c.SendReliable(ctx, userID, i)
					if err != nil {
						assert.ErrorIs(t, err, gateway.ErrClosed)
						return
					}
					stored.Store(id, true)
				}
			})
		}
		require.Eventually(t, func() bool { return b.rows(t, userID) > 30 }, 20*time.Second, time.Millisecond)
		require.NoError(t, c.Close())
		wg.Wait()
		stored.Range(func(id, _ any) bool {
			b.row(t, id.(string))
			return true
		})
	})
}

func TestCloseIsBoundedWhileEverythingIsDown(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	var proxies []*proxy
	for _, addr := range []*string{&b.cfg.Redis.Addrs[0], &b.cfg.MySQL.Addr, &b.cfg.RabbitMQ.Addrs[0]} {
		p := newProxy(t, *addr)
		proxies = append(proxies, p)
		*addr = p.addr()
	}
	b.cfg.DrainTimeout = 500 * time.Millisecond
	c, userID := b.open(t), user()
	_, err := c.SendReliable(within(t, 10*time.Second), userID, 1)
	require.NoError(t, err)
	for _, p := range proxies {
		p.cut()
	}
	failed := make(chan error, 20)
	for range 10 {
		go func() { failed <- second(c.SendReliable(context.WithoutCancel(t.Context()), userID, 1)) }()
		go func() { failed <- second(c.SendCommand(context.WithoutCancel(t.Context()), userID, "TYPE", 1)) }()
	}
	require.Eventually(t, func() bool { return c.Ping(within(t, time.Second)) != nil }, 10*time.Second, time.Millisecond)
	began := time.Now()
	_ = c.Close()
	require.Less(t, time.Since(began), 10*time.Second)
	for range 20 {
		require.Error(t, next(t, failed))
	}
}

func TestTemporaryFolderIsRemoved(t *testing.T) {
	t.Parallel()
	testenv.Count(t, testenv.Embedded)
	c, err := gateway.New(t.Context(), gateway.Embedded(""))
	require.NoError(t, err)
	dir := strings.TrimPrefix(core.Of(c).StoreName, "sqlite in ")
	require.DirExists(t, dir)
	_, err = c.SendReliable(t.Context(), user(), 1)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	_, err = os.Stat(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
}
