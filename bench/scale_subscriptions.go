package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/redis/go-redis/v9"
)

// subscribedNodes are the connections that share the channels.
const subscribedNodes = 4

// publishes sends to random channels in pipelines, one caller.
func publishes(ctx context.Context, rdb *redis.Client, body []byte, channel func(i int) string) func(n int) error {
	return func(n int) error {
		for n > 0 {
			pipe := rdb.Pipeline()
			for range min(n, 200) {
				pipe.Publish(ctx, channel(rand.Int()), body)
			}
			n -= pipe.Len()
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// scaleSubscriptions grows the channels of some connections, without a node
// behind them, and publishes to them.
func scaleSubscriptions(ctx context.Context, b *bench) ([]line, error) {
	in, err := b.newInstall(ctx)
	if err != nil {
		return nil, err
	}
	nodes, stop, err := startSubscribers(ctx, b.redis, subscribedNodes)
	if err != nil {
		return nil, err
	}
	defer stop()
	empty, err := redisFigure(ctx, b.rdb, "memory", "used_memory")
	if err != nil {
		return nil, err
	}
	memory := series{name: "memory", unit: "MB"}
	subscribing := series{name: "SUBSCRIBE", unit: "µs Redis CPU"}
	publishing := series{name: "PUBLISH", unit: "µs Redis CPU"}
	channel := func(i int) string { return in.names.Deliver(fmt.Sprintf("user_%d", i)) }
	body := payload(payloadSize)
	var each float64 // bytes of one subscription
	subscribe := map[int]float64{}
	have := 0
	for _, n := range b.sizes(20_000, 40_000, 80_000, 160_000, 320_000) {
		names := make([][]string, subscribedNodes)
		for i := have; i < n; i++ {
			names[i%subscribedNodes] = append(names[i%subscribedNodes], channel(i))
		}
		before, err := redisCPU(ctx, b.rdb)
		if err != nil {
			return nil, err
		}
		for i, node := range nodes {
			if err := node.subscribe(names[i]...); err != nil {
				return nil, err
			}
		}
		after, err := redisCPU(ctx, b.rdb)
		if err != nil {
			return nil, err
		}
		used, err := redisFigure(ctx, b.rdb, "memory", "used_memory")
		if err != nil {
			return nil, err
		}
		cost, err := redisCost(ctx, []*redis.Client{b.rdb}, 20_000, publishes(ctx, b.rdb, body, func(i int) string { return channel(i % n) }))
		if err != nil {
			return nil, err
		}
		size := fmt.Sprintf("%d channels", n)
		if bytes := used - empty; have == 0 {
			each = bytes / float64(n)
			memory.calibrate(size, bytes/1e6)
			memory.lines[0].Note = fmt.Sprintf("%.0f bytes for each subscription, names of %d bytes", each, len(channel(n-1)))
		} else {
			memory.check(size, bytes/1e6, each*float64(n)/1e6, "bytes for each")
		}
		subscribe[n] = float64((after - before).Nanoseconds()) / 1e3 / float64(n-have)
		if n <= 80_000 {
			subscribing.calibrate(size, subscribe[n])
		} else {
			// The larger the tables, the less of them is in the processor's caches.
			doubling := (subscribe[80_000] - subscribe[20_000]) / 2
			subscribing.check(size, subscribe[n], subscribe[80_000]+doubling*math.Log2(float64(n)/80_000), "more by each doubling")
		}
		publishing.flat(size, cost)
		have = n
	}
	return slices.Concat(memory.lines, subscribing.lines, publishing.lines), nil
}

// scaleCounters grows the number of users who were ever sent a stored message:
// each has a counter.
func scaleCounters(ctx context.Context, b *bench) ([]line, error) {
	in, err := b.newInstall(ctx)
	if err != nil {
		return nil, err
	}
	empty, err := redisFigure(ctx, b.rdb, "memory", "used_memory")
	if err != nil {
		return nil, err
	}
	memory := series{name: "memory", unit: "bytes/counter"}
	have := 0
	for _, n := range b.sizes(20_000, 40_000, 80_000, 160_000) {
		for have < n {
			pipe := b.rdb.Pipeline()
			for range 1000 {
				pipe.Incr(ctx, in.names.Seq(fmt.Sprintf("user_%d", have)))
				have++
			}
			if _, err := pipe.Exec(ctx); err != nil {
				return nil, err
			}
		}
		used, err := redisFigure(ctx, b.rdb, "memory", "used_memory")
		if err != nil {
			return nil, err
		}
		memory.flat(fmt.Sprintf("%d counters", n), (used-empty)/float64(n))
	}
	return memory.lines, nil
}
