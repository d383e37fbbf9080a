package batch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Calls whose callers have left are not kept once nothing else waits.
func TestCallsThatLeftAreLetGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		g := New(Options{MaxBatch: 10, MaxBytes: 1 << 20, Parallel: 1, MaxWaiting: 100, Timeout: time.Minute},
			func(context.Context, []int, []error) { <-goOn })
		do := func(ctx context.Context) {
			go func() { _, _ = g.Do(ctx, 1, 1) }()
			synctest.Wait()
		}
		ctx, leave := context.WithCancel(t.Context())
		do(t.Context())
		do(t.Context())
		do(ctx)
		leave()
		synctest.Wait()
		for range 2 {
			goOn <- struct{}{}
			synctest.Wait()
		}
		require.Empty(t, g.queue)
		g.Close(time.Second)
	})
}
