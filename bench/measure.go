package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// figures are what one side did in one slice of time.
type figures struct {
	// Ops is the number of completed operations.
	Ops int `json:"ops"`
	// Rate is operations per second.
	Rate float64 `json:"per_second"`
	// P50 and P99 are latencies in microseconds; 0 where they were not taken.
	P50 float64 `json:"p50_us,omitempty"`
	P99 float64 `json:"p99_us,omitempty"`
	// Value is the figure of rows that count neither of the above.
	Value float64 `json:"value,omitempty"`
	// Allocs and CPU are those of the process that is measured, per operation.
	Allocs float64 `json:"allocs_per_op"`
	CPU    float64 `json:"cpu_us_per_op"`
}

// side is one of those that a row compares.
type side struct {
	name string
	// run measures for about d.
	run func(ctx context.Context, d time.Duration) (figures, error)
}

// slices of time: rounds of all sides in turn.
type plan struct {
	rounds int
	slice  time.Duration
	// warm comes before everything and is not counted.
	warm time.Duration
	// alone leaves the other sides out, for a profile of the first.
	alone bool
}

func (b *bench) plan(rounds int, slice time.Duration) plan {
	p := plan{rounds: rounds, slice: slice, warm: slice / 2, alone: b.opts.profile != ""}
	if b.opts.short {
		p.rounds, p.slice, p.warm = min(rounds, 3), slice/2, slice/4
	}
	return p
}

// interleave runs the sides in turn, A B C A B C …, and returns their figures,
// for each side those of each round. Every second round goes backwards, so
// that no side always follows the same one.
func interleave(ctx context.Context, p plan, sides ...side) ([][]figures, error) {
	taken := make([][]figures, len(sides))
	if p.alone {
		sides = sides[:1]
	}
	for _, s := range sides {
		if _, err := s.run(ctx, p.warm); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	for round := range p.rounds {
		for i := range sides {
			if round%2 == 1 {
				i = len(sides) - 1 - i
			}
			runtime.GC()
			f, err := sides[i].run(ctx, p.slice)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", sides[i].name, err)
			}
			taken[i] = append(taken[i], f)
		}
	}
	return taken, nil
}

// meter reads what this process has spent.
type meter struct {
	began   time.Time
	mallocs uint64
	cpu     time.Duration
}

func startMeter() meter {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return meter{mallocs: m.Mallocs, cpu: cpuTime(), began: time.Now()}
}

// stop gives what ops operations took since the start.
func (m meter) stop(ops int) figures {
	elapsed, cpu := time.Since(m.began), cpuTime()-m.cpu
	var now runtime.MemStats
	runtime.ReadMemStats(&now)
	n := float64(max(ops, 1))
	return figures{
		Ops: ops, Rate: float64(ops) / elapsed.Seconds(),
		Allocs: float64(now.Mallocs-m.mallocs) / n, CPU: float64(cpu.Nanoseconds()) / 1e3 / n,
	}
}

// cpuTime is the user and system time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for bad arguments only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// untilQuiet waits until the process has nothing to do any more.
func untilQuiet(ctx context.Context) error {
	const look, most, limit = 100 * time.Millisecond, 5 * time.Millisecond, 60 * time.Second
	for began, quiet := time.Now(), 0; quiet < 3; {
		if time.Since(began) > limit {
			return fmt.Errorf("the process is still busy after %v", limit)
		}
		before := cpuTime()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
		if quiet++; cpuTime()-before > most {
			quiet = 0
		}
	}
	return nil
}

// maxLatencies bounds the latencies kept of one slice.
const maxLatencies = 1 << 20

// latencies keeps its memory, so that it does not count as allocations.
var latencies = make([]time.Duration, maxLatencies)

// callers has n goroutines call again and again for d, and counts the calls that
// completed, up to the moment when the last one has. A call gets the number of
// its goroutine and its own number among all calls.
func callers(ctx context.Context, n int, d time.Duration, call func(ctx context.Context, caller, i int) error) (figures, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var next, kept atomic.Int64
	var failure error
	var once sync.Once
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	m := startMeter()
	for caller := range n {
		wg.Go(func() {
			for {
				start := time.Now()
				if start.After(end) {
					return
				}
				if err := call(ctx, caller, int(next.Add(1)-1)); err != nil {
					once.Do(func() { failure = err })
					cancel()
					return
				}
				if k := kept.Add(1) - 1; k < maxLatencies {
					latencies[k] = time.Since(start)
				}
			}
		})
	}
	wg.Wait()
	f := m.stop(int(kept.Load()))
	f.P50, f.P99 = percentiles(latencies[:min(kept.Load(), maxLatencies)])
	return f, failure
}

// percentiles sorts d and returns the median and the 99th percentile in
// microseconds.
func percentiles(d []time.Duration) (p50, p99 float64) {
	if len(d) == 0 {
		return 0, 0
	}
	slices.Sort(d)
	us := func(i int) float64 { return float64(d[i].Nanoseconds()) / 1e3 }
	return us(len(d) / 2), us(min(len(d)*99/100, len(d)-1))
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// medians takes each figure by itself.
func medians(all []figures) figures {
	of := func(get func(figures) float64) float64 {
		v := make([]float64, len(all))
		for i, f := range all {
			v[i] = get(f)
		}
		return median(v)
	}
	f := figures{
		Rate: of(func(f figures) float64 { return f.Rate }), P50: of(func(f figures) float64 { return f.P50 }),
		P99: of(func(f figures) float64 { return f.P99 }), Value: of(func(f figures) float64 { return f.Value }),
		Allocs: of(func(f figures) float64 { return f.Allocs }), CPU: of(func(f figures) float64 { return f.CPU }),
	}
	for _, one := range all {
		f.Ops += one.Ops
	}
	return f
}
