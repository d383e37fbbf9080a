package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/message-gateway/gateway"
)

// A flood is more than a stopped database can take, for a while.
const (
	floodRate     = 10_000
	floodDeadline = 4 * time.Second
	// floodAround is how long it lasts before and after the pause.
	floodAround = time.Second
	// margin is how exactly this process knows when the pause begins and ends.
	margin = 500 * time.Millisecond
	// floodHeap is what the heap may hold, garbage included: 8 KB for each of
	// the 40,000 sends that wait at a time, with the caller's own part of them.
	floodHeap = 320 << 20
	// floodRest is what it may hold when nothing waits any more.
	floodRest = 64 << 20
	// drainTime bounds how long it takes until nothing waits any more.
	drainTime = 20 * time.Second
)

// floodSums is what became of a flood.
type floodSums struct {
	Sent, OK, Overloaded, Failed int64
	// Unnamed are errors during the pause that do not say what is down; Sample
	// is one of them.
	Unnamed int64
	Sample  string
	// LateMS is the worst time after the deadline, DrainMS how long after the
	// last send the last one returned, CloseMS how long Close took.
	LateMS, DrainMS, CloseMS int64
	// Heap is the most that the heap held, HeapAfter what it holds in the end.
	Heap, HeapAfter uint64
}

// runFlood sends without mercy around a pause of the database, which begins one
// second after it is up.
func runFlood(c procConfig, client *gateway.Client, _ *slog.Logger, out *recorder) error {
	p := startPulse()
	var sums floodSums
	var mu sync.Mutex
	var ok, overloaded, failed, sent atomic.Int64
	var running sync.WaitGroup
	ctx := context.Background()
	// paused is when the database certainly does not answer.
	var paused stall
	one := func(i int64) {
		deadline := time.Now().Add(floodDeadline)
		bounded, cancel := context.WithDeadline(ctx, deadline)
		defer cancel()
		_, err := client.SendReliable(bounded, fmt.Sprintf("flood-%d", i%1000), i, gateway.WithSender("server", c.Name))
		now := time.Now()
		late := p.late(deadline, now).Milliseconds()
		switch {
		case err == nil:
			ok.Add(1)
		case errors.Is(err, gateway.ErrOverloaded):
			overloaded.Add(1)
		default:
			failed.Add(1)
		}
		mu.Lock()
		defer mu.Unlock()
		sums.LateMS = max(sums.LateMS, late)
		if now.After(paused.from) && now.Before(paused.to) && err != nil && !errors.Is(err, gateway.ErrOverloaded) && !(strings.Contains(err.Error(), "mysql") && strings.Contains(err.Error(), c.MySQL)) {
			sums.Unnamed++
			sums.Sample = err.Error()
		}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	// A send before the flood, so that the connections are there.
	one(0)
	sent.Add(1)
	out.put(record{Kind: kindUp, From: c.Name})
	began := time.Now()
	paused = stall{began.Add(floodAround + margin), began.Add(floodAround + c.Pause - margin)}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	looked := began
	for time.Since(began) < c.Pause+2*floodAround {
		<-tick.C
		for due := int64(time.Since(began).Seconds() * floodRate); sent.Load() < due; {
			i := sent.Add(1)
			running.Go(func() { one(i) })
		}
		if time.Since(looked) > 100*time.Millisecond {
			looked = time.Now()
			sums.Heap = max(sums.Heap, heap())
		}
	}
	last := time.Now()
	running.Wait()
	sums.DrainMS = time.Since(last).Milliseconds()
	runtime.GC()
	sums.HeapAfter = heap()
	last = time.Now()
	err := client.Close()
	sums.CloseMS = time.Since(last).Milliseconds()
	sums.Sent, sums.OK, sums.Overloaded, sums.Failed = sent.Load(), ok.Load(), overloaded.Load(), failed.Load()
	out.put(record{Kind: kindFlood, From: c.Name, Flood: &sums})
	return err
}
