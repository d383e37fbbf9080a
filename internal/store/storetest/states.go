package storetest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

func testStates(t *testing.T, open func(t *testing.T) store.Store) {
	run(t, open, "Reliable", func(b *bench) {
		m := b.reliable(1)
		b.insert(m)
		t1 := b.Now().Add(-time.Minute)
		b.settle(m.ID, t1, time.Time{})
		got := b.get(m.ID)
		require.Equal(b, wire.Delivering, got.Status)
		b.sameTime(t1, got.DeliveringAt)
		b.settle(m.ID, t1.Add(10*time.Second), time.Time{})
		b.sameTime(t1, b.get(m.ID).DeliveringAt)
		b.settle(m.ID, t1, t1.Add(20*time.Second))
		got = b.get(m.ID)
		require.Equal(b, wire.Finished, got.Status)
		b.sameTime(t1, got.DeliveringAt)
		b.sameTime(t1.Add(20*time.Second), got.FinishedAt)
		require.True(b, got.RequestDeliveredAt.IsZero())
		b.settle(m.ID, t1, t1.Add(40*time.Second))
		b.settle(m.ID, t1, time.Time{})
		require.NoError(b, b.TimeOut(b.Context(), []string{m.ID}))
		again := b.get(m.ID)
		require.Equal(b, got, again, "a finished row stays as it is")
		require.Empty(b, b.unfinished())
	})
	run(t, open, "ReliableInOneStep", func(b *bench) {
		m := b.reliable(1)
		b.insert(m)
		t1 := b.Now().Add(-time.Minute)
		b.settle(m.ID, t1, t1.Add(10*time.Second))
		got := b.get(m.ID)
		require.Equal(b, wire.Finished, got.Status)
		b.sameTime(t1, got.DeliveringAt)
		b.sameTime(t1.Add(10*time.Second), got.FinishedAt)
	})
	run(t, open, "Command", func(b *bench) {
		m, quick := b.command(1, time.Hour), b.command(2, time.Hour)
		b.insert(m, quick)
		t1 := b.Now().Add(-time.Minute)
		b.settle(m.ID, t1, time.Time{})
		require.Equal(b, wire.Delivering, b.get(m.ID).Status)
		b.settle(m.ID, t1, t1.Add(10*time.Second))
		b.settle(quick.ID, t1, t1.Add(10*time.Second))
		for _, id := range []string{m.ID, quick.ID} {
			got := b.get(id)
			require.Equal(b, wire.RequestDelivered, got.Status)
			b.sameTime(t1, got.DeliveringAt)
			b.sameTime(t1.Add(10*time.Second), got.RequestDeliveredAt)
			require.True(b, got.FinishedAt.IsZero())
			b.settle(id, t1, time.Time{})
			b.settle(id, t1, t1.Add(30*time.Second))
			require.Equal(b, got, b.get(id))
		}
		require.Len(b, b.unfinished(), 2)
	})
	run(t, open, "SettlementsOfOneRowMerge", func(b *bench) {
		m := b.reliable(1)
		b.insert(m)
		t1 := b.Now().Add(-time.Minute)
		require.NoError(b, b.Settle(b.Context(), []store.Settlement{
			{ID: m.ID, DeliveredAt: t1.Add(10 * time.Second), AcknowledgedAt: t1.Add(30 * time.Second)},
			{ID: m.ID, DeliveredAt: t1},
			{ID: m.ID, AcknowledgedAt: t1.Add(20 * time.Second)},
		}))
		got := b.get(m.ID)
		require.Equal(b, wire.Finished, got.Status)
		b.sameTime(t1, got.DeliveringAt)
		b.sameTime(t1.Add(20*time.Second), got.FinishedAt)
	})
	run(t, open, "NoneIsAcknowledgedBeforeItsDelivery", func(b *bench) {
		// Deliveries that share their time, and acknowledgements that do not.
		t1 := b.Now().Add(-time.Minute).Truncate(time.Second)
		at := func(ms int) time.Time { return t1.Add(time.Duration(ms) * time.Millisecond) }
		quick, slow := b.reliable(1), b.reliable(2)
		b.insert(quick, slow)
		require.NoError(b, b.Settle(b.Context(), []store.Settlement{
			{ID: quick.ID, DeliveredAt: at(300), AcknowledgedAt: at(301)},
			{ID: slow.ID, DeliveredAt: at(340), AcknowledgedAt: at(440)},
		}))
		for _, id := range []string{quick.ID, slow.ID} {
			got := b.get(id)
			require.False(b, got.FinishedAt.Before(got.DeliveringAt), "%v before %v", got.FinishedAt, got.DeliveringAt)
		}
	})
	run(t, open, "SettleMany", func(b *bench) {
		var msgs []*store.Message
		var settlements []store.Settlement
		t1 := b.Now().Add(-time.Hour)
		for i := range 700 {
			m := b.reliable(int64(i + 1))
			if i%3 == 0 {
				m = b.command(int64(i+1), time.Hour)
			}
			msgs = append(msgs, m)
			x := store.Settlement{ID: m.ID, DeliveredAt: t1.Add(time.Duration(i) * time.Second)}
			if i%2 == 0 {
				x.AcknowledgedAt = x.DeliveredAt.Add(10 * time.Minute)
			}
			settlements = append(settlements, x)
		}
		b.insert(msgs...)
		slices.Reverse(settlements)
		require.NoError(b, b.Settle(b.Context(), append(settlements, store.Settlement{ID: "no such row", DeliveredAt: t1})))
		require.NoError(b, b.Settle(b.Context(), nil))
		for i, m := range msgs {
			if i%41 != 0 {
				continue
			}
			got := b.get(m.ID)
			b.sameTime(t1.Add(time.Duration(i)*time.Second), got.DeliveringAt)
			switch {
			case i%2 != 0:
				require.Equal(b, wire.Delivering, got.Status)
			case i%3 == 0:
				require.Equal(b, wire.RequestDelivered, got.Status)
				b.sameTime(got.DeliveringAt.Add(10*time.Minute), got.RequestDeliveredAt)
			default:
				require.Equal(b, wire.Finished, got.Status)
				b.sameTime(got.DeliveringAt.Add(10*time.Minute), got.FinishedAt)
			}
		}
	})
	run(t, open, "SettleConcurrently", func(b *bench) {
		var msgs []*store.Message
		for i := range 100 {
			msgs = append(msgs, b.reliable(int64(i+1)))
		}
		b.insert(msgs...)
		var wg sync.WaitGroup
		for c := range 8 {
			wg.Go(func() {
				var settlements []store.Settlement
				for i, m := range msgs {
					x := store.Settlement{ID: m.ID, DeliveredAt: b.Now()}
					if i%8 == c {
						x.AcknowledgedAt = b.Now()
					}
					settlements = append(settlements, x)
				}
				if c%2 == 0 {
					slices.Reverse(settlements)
				}
				if err := b.Settle(b.Context(), settlements); err != nil {
					b.Errorf("settle: %v", err)
				}
			})
		}
		wg.Wait()
		require.Empty(b, b.unfinished(), "every row was acknowledged by one of them")
	})
	run(t, open, "ResponseQueue", func(b *bench) {
		m := b.command(1, time.Hour)
		b.insert(m)
		require.NoError(b, b.SetResponseQueue(b.Context(), m.ID, "first"))
		require.NoError(b, b.SetResponseQueue(b.Context(), m.ID, "second"))
		require.Equal(b, "first", b.get(m.ID).ResponseQueue)
		require.NoError(b, b.SetResponseQueue(b.Context(), "no such row", "queue"))
	})
}
