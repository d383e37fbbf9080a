package sqlstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The clock follows the server, however wrong that of this machine is, and a
// measurement over a slow connection does not spoil a good one.
func TestClockFollowsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ahead := 3 * time.Minute // of this machine
		var there, back time.Duration
		var down error
		c, err := startClock(t.Context(), func(context.Context) (time.Time, error) {
			time.Sleep(there)
			now := time.Now().Add(ahead)
			time.Sleep(back)
			return now, down
		})
		require.NoError(t, err)
		defer c.stop()
		off := func() time.Duration { return c.now().Sub(time.Now().Add(ahead)) }
		require.Zero(t, off())

		// The server answers late: it was asked a second before it looked.
		there, ahead = time.Second, 4*time.Minute
		time.Sleep(clockInterval + 2*time.Second)
		require.Equal(t, -time.Minute, off(), "it keeps the good measurement")
		there = 0
		time.Sleep(3 * time.Second)
		require.Zero(t, off(), "and measures again soon")

		down, ahead = errors.New("down"), 5*time.Minute
		time.Sleep(2 * clockInterval)
		require.Equal(t, -time.Minute, off())
		down, there = nil, time.Second
		time.Sleep(clockDrift + 2*clockInterval)
		require.Equal(t, 500*time.Millisecond, off(), "a slow measurement is better than an old one")
		back, there = 0, 0
		time.Sleep(2 * clockInterval)
		require.Zero(t, off())
	})
}
