package sqlstore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The clock follows the server, however wrong that of this machine is, and a
// measurement over a slow connection does not spoil a good one.
func TestClockFollowsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var there, ahead time.Duration // of the request; of the server's clock
		var down error
		set := func(newThere, newAhead time.Duration, newDown error) {
			mu.Lock()
			defer mu.Unlock()
			there, ahead, down = newThere, newAhead, newDown
		}
		get := func() (time.Duration, time.Duration, error) {
			mu.Lock()
			defer mu.Unlock()
			return there, ahead, down
		}
		set(0, 3*time.Minute, nil)
		c, err := startClock(t.Context(), func(context.Context) (time.Time, error) {
			there, ahead, down := get()
			time.Sleep(there)
			return time.Now().Add(ahead), down
		})
		require.NoError(t, err)
		defer c.stop()
		off := func() time.Duration {
			_, ahead, _ := get()
			return c.now().Sub(time.Now().Add(ahead))
		}
		require.Zero(t, off())

		// The server answers late: it was asked a second before it looked.
		set(time.Second, 4*time.Minute, nil)
		time.Sleep(clockInterval + 2*time.Second)
		require.Equal(t, -time.Minute, off(), "it keeps the good measurement")
		set(0, 4*time.Minute, nil)
		time.Sleep(3 * time.Second)
		require.Zero(t, off(), "and measures again soon")

		set(0, 5*time.Minute, errors.New("down"))
		time.Sleep(2 * clockInterval)
		require.Equal(t, -time.Minute, off())
		set(time.Second, 5*time.Minute, nil)
		time.Sleep(clockDrift + 2*clockInterval)
		require.Equal(t, 500*time.Millisecond, off(), "a slow measurement is better than an old one")
		set(0, 5*time.Minute, nil)
		time.Sleep(2 * clockInterval)
		require.Zero(t, off())
	})
}
