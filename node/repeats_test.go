package node

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRepeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := repeats{limit: 3}
		seen := func(id uint64) bool { return r.seen(id, time.Now()) }
		require.False(t, seen(1))
		require.True(t, seen(1))
		time.Sleep(repeatWindow - 1)
		require.True(t, seen(1), "the first attempt counts")
		time.Sleep(time.Nanosecond)
		require.False(t, seen(1), "the window has passed")
		require.True(t, seen(1))
		require.False(t, seen(2))
		require.False(t, seen(3))
		require.True(t, seen(1), "three fit")
		require.False(t, seen(4))
		require.False(t, seen(1), "the oldest is forgotten")
		require.True(t, seen(3))
		require.True(t, seen(4))
		for id := range uint64(1000) {
			seen(id)
		}
		require.Len(t, r.at, 3)
		require.Len(t, r.ring, 3)
		off := repeats{limit: -1}
		require.False(t, off.seen(1, time.Now()))
		require.False(t, off.seen(1, time.Now()))
	})
}
