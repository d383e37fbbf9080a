package batch

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var options = Options{MaxBatch: 4, MaxBytes: 100, Parallel: 1, MaxWaiting: 8, Timeout: 30 * time.Second}

// slow is a flush that takes a second, or until its ctx ends, and records what
// it got.
type slow struct {
	mu      sync.Mutex
	batches [][]int
	bounds  []time.Duration
}

func (s *slow) flush(ctx context.Context, items []int, errs []error) {
	deadline, _ := ctx.Deadline()
	s.mu.Lock()
	s.batches = append(s.batches, slices.Clone(items))
	s.bounds = append(s.bounds, time.Until(deadline))
	s.mu.Unlock()
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		for i := range errs {
			errs[i] = ctx.Err()
		}
	}
}

func (s *slow) got() [][]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.batches)
}

// inBubble runs test with a group whose clock is fake.
func inBubble(t *testing.T, o Options, test func(t *testing.T, g *Group[int], s *slow)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{}
		g := New(o, s.flush)
		test(t, g, s)
		g.Close(time.Minute)
	})
}

// start calls Do in the background, and returns once it flushes or waits.
func start(t *testing.T, g *Group[int], ctx context.Context, item, size int) <-chan error { //nolint:revive // ctx belongs to the call of Do
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := g.Do(ctx, item, size)
		done <- err
	}()
	synctest.Wait()
	return done
}

func TestLoneCallerRunsAtOnce(t *testing.T) {
	inBubble(t, options, func(t *testing.T, g *Group[int], s *slow) {
		withDone, cancel := context.WithCancel(context.Background())
		defer cancel()
		for _, ctx := range []context.Context{context.Background(), withDone} {
			began := time.Now()
			started, err := g.Do(ctx, 1, 1)
			require.True(t, started)
			require.NoError(t, err)
			require.Equal(t, time.Second, time.Since(began))
		}
		require.Equal(t, [][]int{{1}, {1}}, s.batches)
	})
}

func TestCallsThatArriveMeanwhileGoTogether(t *testing.T) {
	inBubble(t, options, func(t *testing.T, g *Group[int], s *slow) {
		began := time.Now()
		var all []<-chan error
		for i := range 7 {
			all = append(all, start(t, g, t.Context(), i, 1))
		}
		require.Equal(t, 6, g.Waiting())
		for _, done := range all {
			require.NoError(t, <-done)
		}
		require.Equal(t, 3*time.Second, time.Since(began))
		require.Equal(t, [][]int{{0}, {1, 2, 3, 4}, {5, 6}}, s.batches)
	})
}

func TestBytesBoundABatch(t *testing.T) {
	inBubble(t, options, func(t *testing.T, g *Group[int], s *slow) {
		var all []<-chan error
		for i, size := range []int{1, 60, 40, 1, 500, 1} {
			all = append(all, start(t, g, t.Context(), i, size))
		}
		for _, done := range all {
			require.NoError(t, <-done)
		}
		require.Equal(t, [][]int{{0}, {1, 2}, {3}, {4}, {5}}, s.batches)
	})
}

// TestGather: beside a flush that runs only enough calls get another, or those
// who have waited for gatherMost.
func TestGather(t *testing.T) {
	o := options
	o.Parallel, o.Gather = 3, 4
	inBubble(t, o, func(t *testing.T, g *Group[int], s *slow) {
		began := time.Now()
		var all []<-chan error
		first := func(items ...int) {
			for _, item := range items {
				all = append(all, start(t, g, t.Context(), item, 1))
			}
		}
		first(0, 1, 2) // each by itself: while flushes are small nobody waits
		first(3, 4, 5) // no more than three flushes at a time
		time.Sleep(time.Second + 500*time.Millisecond)
		synctest.Wait()
		require.Equal(t, [][]int{{0}, {1}, {2}, {3, 4, 5}}, s.got())

		first(6, 7, 8)
		require.Len(t, s.got(), 4, "three wait for a fourth")
		first(9)
		require.Equal(t, []int{6, 7, 8, 9}, s.got()[4])

		first(10)
		time.Sleep(gatherMost - 1)
		require.Len(t, s.got(), 5)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Equal(t, []int{10}, s.got()[5], "nobody came")
		for _, done := range all {
			require.NoError(t, <-done)
		}
		require.Equal(t, 2500*time.Millisecond+gatherMost, time.Since(began))
	})
}

// TestGatherEndsWithTheFlush: those who wait for others go when a flush has ended.
func TestGatherEndsWithTheFlush(t *testing.T) {
	o := options
	o.Parallel, o.Gather = 3, 4
	inBubble(t, o, func(t *testing.T, g *Group[int], s *slow) {
		var all []<-chan error
		for i := range 6 {
			all = append(all, start(t, g, t.Context(), i, 1))
		}
		time.Sleep(2*time.Second - gatherMost/2) // {3, 4, 5} is about to end
		began := time.Now()
		all = append(all, start(t, g, t.Context(), 6, 1))
		for _, done := range all {
			require.NoError(t, <-done)
		}
		require.Equal(t, []int{6}, s.got()[4])
		require.Equal(t, time.Second+gatherMost/2, time.Since(began))
	})
}

// TestSizeCutsABatch: what a flush does not take waits for the next.
func TestSizeCutsABatch(t *testing.T) {
	o := options
	o.Size = func(n int) int { return max(n&^1, 1) }
	inBubble(t, o, func(t *testing.T, g *Group[int], s *slow) {
		var all []<-chan error
		for i, size := range []int{1, 1, 1, 1, 1, 60, 60} {
			all = append(all, start(t, g, t.Context(), i, size))
		}
		for _, done := range all {
			require.NoError(t, <-done)
		}
		require.Equal(t, [][]int{{0}, {1, 2, 3, 4}, {5}, {6}}, s.batches)
	})
}

func TestParallelFlushes(t *testing.T) {
	o := options
	o.Parallel = 2
	inBubble(t, o, func(t *testing.T, g *Group[int], s *slow) {
		began := time.Now()
		var all []<-chan error
		for i := range 4 {
			all = append(all, start(t, g, t.Context(), i, 1))
		}
		for _, done := range all {
			require.NoError(t, <-done)
		}
		require.Equal(t, 2*time.Second, time.Since(began))
		require.ElementsMatch(t, [][]int{{0}, {1}, {2, 3}}, s.batches)
	})
}

func TestContextThatEnds(t *testing.T) {
	inBubble(t, options, func(t *testing.T, g *Group[int], s *slow) {
		running := start(t, g, t.Context(), 1, 1)
		ctx, cancel := context.WithCancel(t.Context())
		waiting := start(t, g, ctx, 2, 1)
		other := start(t, g, t.Context(), 3, 1)
		cancel()
		require.ErrorIs(t, <-waiting, context.Canceled)
		require.Equal(t, 1, g.Waiting())
		started, err := g.Do(ctx, 4, 1)
		require.False(t, started)
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, <-running)
		require.NoError(t, <-other)
		require.Equal(t, [][]int{{1}, {3}}, s.batches, "what was taken out was not done")

		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		started, err = g.Do(short, 5, 1)
		require.True(t, started, "the outcome is unknown")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 100*time.Millisecond, time.Since(began))
	})
}

func TestFlushEndsWithItsLastCaller(t *testing.T) {
	inBubble(t, options, func(t *testing.T, g *Group[int], s *slow) {
		first := start(t, g, t.Context(), 0, 1)
		ctx := func(d time.Duration) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			t.Cleanup(cancel)
			return ctx
		}
		calls := []<-chan error{start(t, g, ctx(3*time.Second), 1, 1), start(t, g, ctx(5*time.Second), 2, 1)}
		for _, done := range append(calls, first) {
			require.NoError(t, <-done)
		}
		require.Equal(t, []time.Duration{options.Timeout, 4 * time.Second}, s.bounds)
		s.bounds = nil
		calls = []<-chan error{start(t, g, ctx(time.Hour), 3, 1), start(t, g, ctx(3*time.Second), 4, 1), start(t, g, t.Context(), 5, 1)}
		for _, done := range calls {
			require.NoError(t, <-done)
		}
		require.Equal(t, []time.Duration{options.Timeout, options.Timeout}, s.bounds)
	})
}

func TestFull(t *testing.T) {
	inBubble(t, options, func(t *testing.T, g *Group[int], _ *slow) {
		var all []<-chan error
		for i := range 1 + options.MaxWaiting {
			all = append(all, start(t, g, t.Context(), i, 1))
		}
		started, err := g.Do(t.Context(), 99, 1)
		require.False(t, started)
		require.ErrorIs(t, err, ErrFull)
		for _, done := range all {
			require.NoError(t, <-done)
		}
		_, err = g.Do(t.Context(), 99, 1)
		require.NoError(t, err)
	})
}

// Calls whose ctx ended in the queue take no room, and no flush sees them.
func TestCallsThatLeaveTheQueue(t *testing.T) {
	inBubble(t, options, func(t *testing.T, g *Group[int], s *slow) {
		running := start(t, g, t.Context(), 0, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var left, stay []<-chan error
		for i := range options.MaxWaiting {
			if i%3 == 0 {
				stay = append(stay, start(t, g, t.Context(), 10+i, 1))
			} else {
				left = append(left, start(t, g, ctx, 10+i, 1))
			}
		}
		cancel()
		for _, done := range left {
			require.ErrorIs(t, <-done, context.Canceled)
		}
		require.Equal(t, len(stay), g.Waiting())
		for i := range len(left) { // as many as have left
			stay = append(stay, start(t, g, t.Context(), 20+i, 1))
		}
		_, err := g.Do(t.Context(), 99, 1)
		require.ErrorIs(t, err, ErrFull)
		for _, done := range append(stay, running) {
			require.NoError(t, <-done)
		}
		require.Equal(t, [][]int{{0}, {10, 13, 16, 20}, {21, 22, 23, 24}}, s.batches)
	})
}

func TestErrorsReachTheirOwnCaller(t *testing.T) {
	t.Parallel()
	odd := errors.New("odd")
	g := New(options, func(_ context.Context, items []int, errs []error) {
		for i, item := range items {
			if item%2 == 1 {
				errs[i] = odd
			}
		}
	})
	defer g.Close(time.Minute)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := g.Do(t.Context(), i, 1)
			assert.Equal(t, i%2 == 1, errors.Is(err, odd))
		})
	}
	wg.Wait()
}

func TestCloseDrains(t *testing.T) {
	inBubble(t, options, func(t *testing.T, g *Group[int], s *slow) {
		calls := []<-chan error{start(t, g, t.Context(), 0, 1), start(t, g, t.Context(), 1, 1)}
		began := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { g.Close(time.Minute) })
		}
		synctest.Wait()
		_, err := g.Do(t.Context(), 2, 1)
		require.ErrorIs(t, err, ErrClosed)
		wg.Wait()
		require.Equal(t, 2*time.Second, time.Since(began))
		for _, done := range calls {
			require.NoError(t, <-done)
		}
		require.Equal(t, [][]int{{0}, {1}}, s.batches)
	})
}

func TestCloseGivesUp(t *testing.T) {
	inBubble(t, options, func(t *testing.T, g *Group[int], s *slow) {
		running, waiting := start(t, g, context.Background(), 0, 1), start(t, g, t.Context(), 1, 1)
		began := time.Now()
		g.Close(300 * time.Millisecond)
		require.Equal(t, 300*time.Millisecond, time.Since(began))
		require.ErrorIs(t, <-waiting, ErrClosed)
		require.ErrorIs(t, <-running, context.Canceled)
		require.Equal(t, [][]int{{0}}, s.batches)
	})
}

// Every item is flushed once, and no caller is forgotten.
func TestUnderLoad(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[int]int{}
	g := New(Options{MaxBatch: 7, MaxBytes: 1 << 20, Parallel: 3, MaxWaiting: 10_000, Timeout: time.Minute},
		func(_ context.Context, items []int, _ []error) {
			mu.Lock()
			defer mu.Unlock()
			for _, item := range items {
				seen[item]++
			}
		})
	var wg sync.WaitGroup
	cancelled := 0
	for i := range 500 {
		wg.Go(func() {
			for j := range 10 {
				ctx, cancel := context.WithCancel(context.Background())
				if i%5 == 0 {
					go cancel()
				}
				started, err := g.Do(ctx, i*10+j, 1)
				cancel()
				mu.Lock()
				if err != nil && !started {
					cancelled++
					seen[i*10+j] += 0
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	g.Close(time.Minute)
	none := 0
	for item, n := range seen {
		require.LessOrEqual(t, n, 1, item)
		if n == 0 {
			none++
		}
	}
	require.Len(t, seen, 5000)
	require.Equal(t, cancelled, none, "what was not started was not done")
}
