package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOthersTakeWhatIsNeitherIdleNorOurs(t *testing.T) {
	t.Parallel()
	at := time.Now()
	from := load{at: at, total: 1000, idle: 500, own: 100}
	require.InDelta(t, 0.75, from.others(load{at: at, total: 1200, idle: 510, own: 140}), 1e-9)
	require.Zero(t, from.others(load{at: at, total: 1200, idle: 500, own: 300}), "an overload of our own is none of theirs")
	require.Zero(t, from.others(load{}), "without /proc bounds stay as they are")
	require.Zero(t, load{}.others(from))
}

func TestOwnTimeGrowsWithWork(t *testing.T) {
	t.Parallel()
	before := sampleLoad()
	if before.at.IsZero() {
		t.Skip("this system has no /proc/stat")
	}
	require.Positive(t, before.total)
	require.Eventually(t, func() bool { return ownTime() > before.own }, 20*time.Second, time.Microsecond)
}
