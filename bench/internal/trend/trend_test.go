package trend

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// series has a value every ten seconds for ten minutes.
func series(value func(i int) float64) *Series {
	s := &Series{Name: "memory", Floor: 5}
	for i := range 60 {
		s.Add(time.Duration(i)*10*time.Second, value(i))
	}
	return s
}

func TestWhatGrowsIsSeen(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 1))
	for name, value := range map[string]func(i int) float64{
		"line":                    func(i int) float64 { return 100 + float64(i) },
		"line with noise":         func(i int) float64 { return 100 + float64(i) + 10*rng.Float64() },
		"line under a saw":        func(i int) float64 { return 100 + 2*float64(i) + float64(i%6)*3 },
		"steps":                   func(i int) float64 { return 100 + 10*float64(i/6) },
		"ever faster":             func(i int) float64 { return 100 + float64(i*i)/20 },
		"only in the second half": func(i int) float64 { return 100 + 2*math.Max(0, float64(i-30)) },
	} {
		require.ErrorContains(t, series(value).Check(), "memory grows", name)
	}
}

func TestWhatMovesIsNoGrowth(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(2, 2))
	for name, value := range map[string]func(i int) float64{
		"still":                   func(int) float64 { return 100 },
		"noise":                   func(int) float64 { return 100 + 50*rng.Float64() },
		"saw of a collector":      func(i int) float64 { return 100 + float64(i%9)*10 },
		"fills and stays":         func(i int) float64 { return 100 * (1 - math.Exp(-float64(i)/6)) },
		"falls":                   func(i int) float64 { return 200 - float64(i) },
		"one peak":                func(i int) float64 { return 100 + 400*math.Max(0, 1-math.Abs(float64(i-50))) },
		"line below the floor":    func(i int) float64 { return 1 + float64(i)/20 },
		"a tenth is not too much": func(i int) float64 { return 1000 + float64(i) },
	} {
		require.NoError(t, series(value).Check(), name)
	}
}

func TestAShortRunTellsNothing(t *testing.T) {
	t.Parallel()
	s := &Series{Name: "memory"}
	require.Error(t, s.Check())
	for i := range 14 {
		s.Add(time.Duration(i)*time.Second, 1)
		require.Error(t, s.Check())
	}
	s.Add(time.Minute, 1)
	s.Add(2*time.Minute, 1)
	require.NoError(t, s.Check())
	require.InDelta(t, 1, s.Last(), 0)
}
