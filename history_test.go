package gateway_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

func TestHistoryPages(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 60*time.Second), user()
		const total = 1100
		batch := make([]gateway.Outgoing, total)
		for i := range batch {
			batch[i] = gateway.Outgoing{UserID: userID, Payload: i}
		}
		ids, err := c.SendReliableBatch(ctx, batch)
		require.NoError(t, err)
		_, err = c.SendReliable(ctx, user(), "a stranger's")
		require.NoError(t, err)

		page, err := c.History(ctx, userID, gateway.HistoryQuery{})
		require.NoError(t, err)
		require.Len(t, page, gateway.DefaultHistoryLimit)
		page, err = c.History(ctx, userID, gateway.HistoryQuery{Limit: gateway.MaxHistoryLimit})
		require.NoError(t, err)
		require.Len(t, page, gateway.MaxHistoryLimit)

		for _, backwards := range []bool{false, true} {
			var got []string
			q := gateway.HistoryQuery{Limit: 400, Backwards: backwards}
			for {
				page, err := c.History(ctx, userID, q)
				require.NoError(t, err)
				if len(page) == 0 {
					break
				}
				for _, msg := range page {
					require.Equal(t, userID, msg.UserID)
					got = append(got, msg.ID)
				}
				q.FromSeq = page[len(page)-1].Seq
			}
			require.Len(t, got, total)
			for i := range got {
				j := i
				if backwards {
					j = total - 1 - i
				}
				require.Equal(t, ids[j], got[i])
			}
		}
		page, err = c.History(ctx, userID, gateway.HistoryQuery{FromSeq: 1, Backwards: true})
		require.NoError(t, err)
		require.Empty(t, page)
		page, err = c.History(ctx, userID, gateway.HistoryQuery{FromSeq: 1 << 62})
		require.NoError(t, err)
		require.Empty(t, page)
		page, err = c.History(ctx, user(), gateway.HistoryQuery{})
		require.NoError(t, err)
		require.NotNil(t, page)
		require.Empty(t, page)
	})
}
