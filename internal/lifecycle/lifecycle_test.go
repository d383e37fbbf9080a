package lifecycle

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStopWaitsForAll(t *testing.T) {
	t.Parallel()
	g := New(context.Background())
	var ended atomic.Int32
	for range 10 {
		require.True(t, g.Go(func(ctx context.Context) {
			<-ctx.Done()
			ended.Add(1)
		}))
	}
	require.NoError(t, g.Context().Err())
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			g.Stop()
			if ended.Load() != 10 {
				t.Error("Stop did not wait")
			}
		})
	}
	wg.Wait()
	g.Stop()
	require.ErrorIs(t, g.Context().Err(), context.Canceled)
	require.False(t, g.Go(func(context.Context) { t.Error("started after Stop") }))
}

func TestStopWithoutStart(t *testing.T) {
	t.Parallel()
	New(context.Background()).Stop()
}

func TestParentEndsTheGroup(t *testing.T) {
	t.Parallel()
	parent, cancel := context.WithCancel(context.Background())
	g := New(parent)
	done := make(chan struct{})
	g.Go(func(ctx context.Context) { <-ctx.Done(); close(done) })
	cancel()
	<-done
	g.Stop()
}

func TestGoDuringStop(t *testing.T) {
	t.Parallel()
	g := New(context.Background())
	var wg sync.WaitGroup
	var started, ended atomic.Int32
	for range 50 {
		wg.Go(func() {
			if g.Go(func(ctx context.Context) { <-ctx.Done(); ended.Add(1) }) {
				started.Add(1)
			}
		})
	}
	g.Stop()
	before := ended.Load()
	wg.Wait()
	require.Equal(t, started.Load(), ended.Load())
	require.Equal(t, before, ended.Load(), "nothing runs after Stop")
}
