package redisbus

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/bus/bustest"
	"github.com/message-gateway/gateway/internal/testenv"
)

func TestConformanceFromClient(t *testing.T) {
	addr := testenv.Redis(t)
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	bustest.Run(t, func(t *testing.T) (a, b bus.Bus) {
		testenv.Count(t, "redis")
		names := testNames()
		a, err := FromClient(t.Context(), client, names, nil)
		require.NoError(t, err)
		b, err = FromClient(t.Context(), client, names, nil)
		require.NoError(t, err)
		return a, b
	})
}

// RESP2 is what proxies and old services speak.
func TestConformanceRESP2(t *testing.T) {
	bustest.Run(t, func(t *testing.T) (a, b bus.Bus) {
		addr, names := testenv.Redis(t), testNames()
		o := Options{Universal: &redis.UniversalOptions{Addrs: []string{addr}, Protocol: 2}, Names: names}
		a, err := Open(t.Context(), o)
		require.NoError(t, err)
		b, err = Open(t.Context(), o)
		require.NoError(t, err)
		return a, b
	})
}

// A call that gave up leaves its channels only where another wants them.
func TestSubscribeGivenUp(t *testing.T) {
	b, p := proxied(t)
	in := listenTo(b)
	require.NoError(t, in.Subscribe(t.Context(), true, "held"))
	p.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp, stays := make(chan error, 1), make(chan error, 1)
	go func() { gaveUp <- in.Subscribe(ctx, true, "held", "wanted twice", "given up") }()
	go func() { stays <- in.Subscribe(t.Context(), true, "wanted twice") }()
	require.Eventually(t, func() bool {
		in.plain.mu.Lock()
		defer in.plain.mu.Unlock()
		return len(in.plain.waiting["wanted twice"]) == 2
	}, patience, time.Millisecond)
	cancel()
	require.ErrorIs(t, await(t, gaveUp, "the call that gave up"), context.Canceled)
	require.NoError(t, p.Start())
	require.NoError(t, await(t, stays, "the call that stays"))
	await(t, in.gaps, "the gap")
	direct := open(t, testenv.Redis(t), testNames())
	counts, err := direct.Subscribers(t.Context(), true, []string{"held", "wanted twice", "given up"})
	require.NoError(t, err)
	require.Equal(t, []int64{1, 1, 0}, counts)
	in.plain.mu.Lock()
	defer in.plain.mu.Unlock()
	require.Len(t, in.plain.entries, 2, "nothing is left of what was given up")
	require.Empty(t, in.plain.waiting)
}

// Subscribe, Unsubscribe, short contexts and broken connections in any order: at
// the end Redis knows exactly the channels that were asked for last.
func TestSubscriptionsConverge(t *testing.T) {
	b, p := proxied(t)
	in := listenTo(b)
	const workers, channels, steps, minCuts = 8, 50, 300, 8
	prefix := testenv.Unique()
	final := make([][]string, workers)
	gone := make([][]string, workers)
	var stop atomic.Bool
	var cut atomic.Int32
	var cuts sync.WaitGroup
	cuts.Go(func() {
		for !stop.Load() {
			p.Stop()
			if !assert.NoError(t, p.Start()) {
				return
			}
			cut.Add(1)
			select {
			case <-in.gaps:
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			subscribed := make(map[string]bool)
			for step := 0; step < steps || cut.Load() < minCuts; step++ {
				name := prefix + ":" + string(rune('a'+w)) + string(rune('0'+rand.IntN(channels)))
				switch rand.IntN(3) {
				case 0:
					in.Unsubscribe(true, name)
					subscribed[name] = false
				case 1:
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(3000))*time.Microsecond)
					err := in.Subscribe(ctx, true, name)
					cancel()
					subscribed[name] = subscribed[name] || err == nil
				case 2:
					if !assert.NoError(t, in.Subscribe(t.Context(), true, name)) {
						return
					}
					subscribed[name] = true
				}
			}
			for name, yes := range subscribed {
				if yes {
					final[w] = append(final[w], name)
				} else {
					gone[w] = append(gone[w], name)
				}
			}
		})
	}
	wg.Wait()
	stop.Store(true)
	cuts.Wait()
	direct := open(t, testenv.Redis(t), testNames())
	for w := range workers {
		require.NoError(t, in.Subscribe(t.Context(), true, final[w]...))
		require.Eventually(t, func() bool {
			yes, err := direct.Subscribers(t.Context(), true, final[w])
			require.NoError(t, err)
			no, err := direct.Subscribers(t.Context(), true, gone[w])
			require.NoError(t, err)
			for _, n := range yes {
				if n != 1 {
					return false
				}
			}
			for _, n := range no {
				if n != 0 {
					return false
				}
			}
			return true
		}, patience, 10*time.Millisecond)
	}
}

// A listener must be able to hold the users of a large node.
func TestMemoryPerChannel(t *testing.T) {
	const n, limit = 100_000, 300
	b := open(t, testenv.Redis(t), testNames())
	in := listenTo(b)
	require.NoError(t, in.Subscribe(t.Context(), true, "first"))
	names := channelNames(n) // counted apart: the node has the names anyway
	before := heap()
	began := time.Now()
	require.NoError(t, in.Subscribe(t.Context(), true, names...))
	took := time.Since(began)
	per := float64(heap()-before) / n
	runtime.KeepAlive(names)
	t.Logf("%d channels: %.0f bytes each without the name, subscribed in %v", n, per, took)
	require.Less(t, per, float64(limit))
	in.Unsubscribe(true, names...)
	require.Eventually(t, func() bool {
		in.plain.mu.Lock()
		defer in.plain.mu.Unlock()
		return len(in.plain.entries) == 1
	}, patience, time.Millisecond)
}

// heap measures what is reachable; the second cycle frees what the first found
// in pools.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
