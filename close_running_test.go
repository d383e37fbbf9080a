package gateway_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

// Close waits for every send that runs, also for those that are not committed
// together with others, and then the nodes are told.
func TestCloseWaitsForBatchesAndTransactions(t *testing.T) {
	t.Parallel()
	for name, send := range map[string]func(context.Context, *testing.T, *backend, *gateway.Client, string) error{
		"batch": func(ctx context.Context, _ *testing.T, _ *backend, c *gateway.Client, userID string) error {
			return second(c.SendReliableBatch(ctx, []gateway.Outgoing{{UserID: userID}}))
		},
		"transaction": func(ctx context.Context, t *testing.T, b *backend, c *gateway.Client, userID string) error {
			tx, err := b.db(t).BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			if _, err := c.SendReliableTx(ctx, tx, userID, 1); err != nil {
				return err
			}
			return tx.Commit()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := realBackend(t)
			watcher, userID, ctx := b.open(t), user(), within(t, 60*time.Second)
			d := connect(t, watcher, userID, nil)
			rdb := redis.NewClient(&redis.Options{Addr: b.cfg.Redis.Addrs[0]})
			defer func() { require.NoError(t, rdb.Close()) }()
			p := behindProxy(t, &b.cfg.MySQL.Addr)
			c := b.open(t)
			_, err := c.SendReliable(ctx, user(), 1)
			require.NoError(t, err)
			// The first number of a user is compared with the table.
			p.hold()
			done, closed := make(chan error, 1), make(chan struct{})
			go func() { done <- send(ctx, t, b, c, userID) }()
			require.Eventually(t, func() bool { return rdb.Get(ctx, b.names.Seq(userID)).Val() == "1" }, 20*time.Second, time.Millisecond)
			go func() {
				defer close(closed)
				assert.NoError(t, c.Close())
			}()
			require.Eventually(t, func() bool { return second(c.Online(ctx, userID)) != nil }, 20*time.Second, time.Millisecond)
			select {
			case <-closed:
				t.Fatal("Close did not wait")
			case <-time.After(200 * time.Millisecond):
			}
			p.release()
			require.NoError(t, next(t, done))
			if name == "batch" {
				next(t, d.hints)
			}
			next(t, closed)
			require.Equal(t, 1, b.rows(t, userID))
		})
	}
}

// A transaction that committed before Close is told to the nodes.
func TestCloseTellsOfTransactions(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		watcher, userID, ctx := b.open(t), user(), within(t, 60*time.Second)
		d := connect(t, watcher, userID, nil)
		for range 10 {
			c := b.open(t)
			tx, err := b.db(t).BeginTx(ctx, nil)
			require.NoError(t, err)
			id, err := c.SendReliableTx(ctx, tx, userID, 1)
			require.NoError(t, err)
			require.NoError(t, tx.Commit())
			require.NoError(t, c.Close())
			require.Equal(t, id, next(t, d.hints).ID)
		}
	})
}

// What still waits when Close gives up fails with ErrClosed, also calls whose
// ctx never ends, on servers that say nothing.
func TestCloseEndsEveryCall(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"redis", "mysql"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			b := realBackend(t)
			b.cfg.DrainTimeout = 300 * time.Millisecond
			h := hang(t, b, server)
			type outcome struct {
				call string
				err  error
			}
			ended := make(chan outcome, 100)
			calls := 0
			for _, c := range []*gateway.Client{h.used, h.unused} {
				for call, do := range callsOf(c, h.userID, h.messageID) {
					calls++
					go func() { ended <- outcome{call, do(context.WithoutCancel(t.Context()))} }()
				}
			}
			time.Sleep(200 * time.Millisecond) // what can end has ended
			began := time.Now()
			_, _ = h.used.Close(), h.unused.Close()
			require.Less(t, time.Since(began), 10*time.Second)
			for range calls {
				o := next(t, ended)
				if o.err != nil && !errors.Is(o.err, gateway.ErrUserOffline) && !errors.Is(o.err, gateway.ErrUserNotConnected) {
					assert.ErrorIs(t, o.err, gateway.ErrClosed, o.call)
					assert.NotErrorIs(t, o.err, context.Canceled, o.call)
				}
			}
		})
	}
}
