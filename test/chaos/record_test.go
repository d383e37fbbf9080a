package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Time in which the process did not run is not the call's, also if the call is
// the first to run again. What it runs is.
func TestTheFirstCallAfterAStallIsNotLate(t *testing.T) {
	t.Parallel()
	began := time.Now()
	at := func(d time.Duration) time.Time { return began.Add(d) }
	p := &pulse{last: began}
	require.Zero(t, p.late(at(3*time.Second), at(12*time.Second)), "it stood still until now")
	for d := 12 * time.Second; d <= 15*time.Second; d += pulseTick {
		p.feel(at(d))
	}
	require.Equal(t, time.Second, p.late(at(3*time.Second), at(13*time.Second)))
	require.Equal(t, 2*time.Second, p.late(at(13*time.Second), at(15*time.Second)))
	require.Zero(t, p.late(at(15*time.Second), at(14*time.Second)), "in time")
	require.Len(t, p.stalls, 1)
}

func TestStallsOfTheProcessAreNotLateness(t *testing.T) {
	t.Parallel()
	deadline := time.Now()
	p := &pulse{last: deadline.Add(9 * time.Second), stalls: []stall{{deadline.Add(-time.Second), deadline.Add(3 * time.Second)}, {deadline.Add(4 * time.Second), deadline.Add(9 * time.Second)}}}
	require.Equal(t, time.Second, p.late(deadline, deadline.Add(5*time.Second)))
	require.Zero(t, p.late(deadline, deadline.Add(-time.Second)))
}
