package membroker

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestQueueDropsTheOldest(t *testing.T) {
	t.Parallel()
	var drops []uint64
	q := newQueue[int](3, func(n uint64) { drops = append(drops, n) })
	for i := range 5 {
		q.push(i)
	}
	require.Equal(t, []uint64{1, 2}, drops)
	for want := 2; want < 5; want++ {
		got, err := q.take(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestQueueCountsWhatPauses(t *testing.T) {
	t.Parallel()
	drops := 0
	q := newQueue[int](2, func(uint64) { drops++ })
	require.True(t, q.park())
	q.push(1)
	q.push(2)
	require.Equal(t, 1, drops, "one pauses, so there is room for one")
	require.True(t, q.park())
	require.False(t, q.park())
	require.Equal(t, 2, drops)
	q.unpark(3)
	got, err := q.take(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, got, "the oldest went")
}

// TestQueueKeepsOrder compares with a plain slice, through growth, put-backs
// and compaction.
func TestQueueKeepsOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := newQueue[int](1<<20, func(uint64) {})
		var model []int
		next := 0
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			for range rapid.IntRange(0, 3000).Draw(t, "push") {
				q.push(next)
				model = append(model, next)
				next++
			}
			for range min(len(model), rapid.IntRange(0, 3000).Draw(t, "take")) {
				got, err := q.take(context.Background())
				if err != nil || got != model[0] {
					t.Fatalf("got %d, %v, want %d", got, err, model[0])
				}
				model = model[1:]
			}
			if rapid.Bool().Draw(t, "put back") {
				q.pushFront(-next)
				model = append([]int{-next}, model...)
			}
		}
	})
}

// TestQueueLosesNothingToLeavingTakers has takers give up while items come.
func TestQueueLosesNothingToLeavingTakers(t *testing.T) {
	t.Parallel()
	const n = 5000
	q := newQueue[int](n, func(uint64) { t.Error("dropped") })
	got := make(chan int, n)
	var takers sync.WaitGroup
	for range 4 {
		takers.Go(func() {
			for len(got) < n {
				ctx, cancel := context.WithCancel(t.Context())
				go cancel()
				if item, err := q.take(ctx); err == nil {
					got <- item
				}
				cancel()
			}
		})
	}
	for i := range n {
		q.push(i)
	}
	takers.Wait()
	seen := make(map[int]bool)
	for range n {
		seen[<-got] = true
	}
	require.Len(t, seen, n)
}
