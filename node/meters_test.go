package node

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A meter that is full again, and that nobody holds, is forgotten; one that
// counts is not.
func TestMetersAreForgottenWhenFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMeters(Rate{PerSecond: 1, Burst: 10})
		held := m.acquire("held")
		for range 10 {
			_, ok := m.allow("empty")
			require.True(t, ok)
		}
		wait, ok := m.allow("empty")
		require.False(t, ok)
		require.Equal(t, time.Second, wait)
		m.allow("almost full")

		time.Sleep(5 * time.Second)
		m.allow("another")
		require.NotContains(t, m.keys, "almost full")
		require.Contains(t, m.keys, "empty")
		require.Contains(t, m.keys, "held")
		require.Same(t, held, m.acquire("held"), "all who hold a meter share it")
	})
}

// However many strangers knock, memory is bounded, and what is held stays.
func TestMetersAreBounded(t *testing.T) {
	t.Parallel()
	m := newMeters(Rate{PerSecond: 1e-3, Burst: 2})
	held := m.acquire("held")
	for i := range maxMeters + 1000 {
		m.allow(strconv.Itoa(i))
	}
	require.LessOrEqual(t, len(m.keys), maxMeters+2)
	require.Same(t, held, m.keys["held"])
	idle := 0
	for _, e := range m.keys {
		if e.held == 0 {
			idle++
		}
	}
	require.Equal(t, m.idle, idle)
}
