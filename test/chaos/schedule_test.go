package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A round is what its seed says, and has every kind of fault, whatever the seed.
func TestARoundIsWholeAndRepeatable(t *testing.T) {
	t.Parallel()
	names := func(seed uint64, n int) (all []string, length time.Duration) {
		for _, f := range roundOf(options{seed: seed, duration: 2 * time.Minute}, n) {
			all = append(all, f.String())
			length += f.length
		}
		return all, length
	}
	first, _ := names(7, 1)
	again, _ := names(7, 1)
	require.Equal(t, first, again)
	second, _ := names(7, 2)
	require.NotEqual(t, first, second)
	for seed := range uint64(50) {
		round, length := names(seed, 1)
		require.Len(t, round, len(first))
		require.Less(t, length, 65*time.Second, "a short run is one round")
	}
}

// What the requirements of this suite name is in every long round, in the
// lengths that they name.
func TestLongFaultsAreLong(t *testing.T) {
	t.Parallel()
	longest := map[string]time.Duration{}
	for seed := range uint64(100) {
		for _, f := range roundOf(options{seed: seed, duration: longRun}, 1) {
			longest[f.name] = max(longest[f.name], f.length)
		}
	}
	for _, service := range serviceNames {
		require.Greater(t, longest["SIGSTOP "+service], 15*time.Second)
		require.LessOrEqual(t, longest["SIGSTOP "+service], 20*time.Second)
		require.Contains(t, longest, "kill -9 "+service)
	}
	for _, name := range append(append([]string{}, nodeNames...), senderNames...) {
		require.Contains(t, longest, "SIGSTOP "+name)
		require.Contains(t, longest, "kill -9 "+name)
	}
	require.Equal(t, 30*time.Second, longest["SIGSTOP mysql under 10000 more sends/s"])
}
