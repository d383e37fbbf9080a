package batch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A flush that takes too long is no end of its callers' ctx, but that of one whose
// callers have an earlier deadline is.
func TestTimeoutIsNotTheCallers(t *testing.T) {
	t.Parallel()
	for _, inline := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			failure := errors.New("server")
			g := New(Options{MaxBatch: 10, MaxBytes: 1 << 20, Parallel: 1, MaxWaiting: 100, Timeout: time.Minute, Inline: inline},
				func(ctx context.Context, _ []int, errs []error) {
					<-ctx.Done()
					errs[0] = fmt.Errorf("%w: %w", failure, ctx.Err())
				})
			defer g.Close(time.Second)
			for _, patient := range []context.Context{t.Context(), deadline(t, time.Hour)} {
				began := time.Now()
				_, err := g.Do(patient, 1, 1)
				require.Equal(t, time.Minute, time.Since(began))
				require.ErrorIs(t, err, ErrTimeout)
				require.ErrorIs(t, err, failure)
				require.NotErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "1m0s")
			}
			_, err := g.Do(deadline(t, time.Second), 1, 1)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NotErrorIs(t, err, ErrTimeout)
		})
	}
}

func deadline(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
