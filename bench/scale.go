package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// scales are rows that check the model of docs/scaling.md: its constants are
// taken at a small size, what they predict is measured at larger ones.
func scales() []row {
	return []row{
		{"scale-subscriptions", "Redis' memory and CPU by the number of subscribed channels", scaleSubscriptions},
		{"scale-counters", "Redis' memory by the number of users' counters", scaleCounters},
		{"scale-nodes", "Redis' CPU for a send by the number of nodes that are subscribed, and of their users", scaleNodes},
		{"scale-cluster", "CPU of all servers of a Redis Cluster for a publish, by the number of masters", scaleCluster},
		{"scale-rows", "time for a row of MySQL by the size of the table", scaleRows},
		{"scale-reconnect", "a node is killed: its users connect to another one and get what waits for them", scaleReconnect},
	}
}

// modelHolds is how far a measurement may be from what was predicted.
var modelHolds = goal{"0.67 to 1.5 ×", func(v float64) bool { return v >= 0.67 && v <= 1.5 }}

// series are the figures of one kind at growing sizes.
type series struct {
	name, unit string
	lines      []line
}

// calibrate notes a figure that the model is made of.
func (s *series) calibrate(size string, measured float64) {
	s.lines = append(s.lines, line{Row: s.name + " " + size, Unit: s.unit, Ours: measured, Goal: "calibrates"})
}

// check notes a figure that the model predicted.
func (s *series) check(size string, measured, predicted float64, model string) {
	ratio := measured / predicted
	holds := modelHolds.holds(ratio)
	s.lines = append(s.lines, line{
		Row: s.name + " " + size, Unit: s.unit, Ours: measured, Against: model, Theirs: predicted,
		Ratio: ratio, Ratios: []float64{ratio}, Goal: modelHolds.text, Met: &holds,
	})
}

// flat is the model of what does not depend on the size: the first figure holds
// for all others.
func (s *series) flat(size string, measured float64) {
	if len(s.lines) == 0 {
		s.calibrate(size, measured)
		return
	}
	s.check(size, measured, s.lines[0].Ours, "flat")
}

// sizes leaves the largest of growing sizes out of a quick look.
func (b *bench) sizes(n ...int) []int {
	if b.opts.short {
		return n[:len(n)-2]
	}
	return n
}

// redisFigure reads one number of INFO.
func redisFigure(ctx context.Context, rdb *redis.Client, section, name string) (float64, error) {
	info, err := rdb.InfoMap(ctx, section).Result()
	if err != nil {
		return 0, err
	}
	for _, figures := range info {
		if v, ok := figures[name]; ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, fmt.Errorf("INFO %s has no %s", section, name)
}

// redisCPU is the user and system time that a Redis server has taken so far.
func redisCPU(ctx context.Context, rdb *redis.Client) (time.Duration, error) {
	var sum float64
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		v, err := redisFigure(ctx, rdb, "cpu", name)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return time.Duration(sum * float64(time.Second)), nil
}

// costRounds is how often a cost is taken; the median counts.
const costRounds = 5

// redisCost is the median of what n operations cost the servers, in µs of
// CPU for each.
func redisCost(ctx context.Context, servers []*redis.Client, n int, run func(n int) error) (float64, error) {
	cpu := func() (sum time.Duration, err error) {
		for _, rdb := range servers {
			one, err := redisCPU(ctx, rdb)
			if err != nil {
				return 0, err
			}
			sum += one
		}
		return sum, nil
	}
	if err := run(n / 4); err != nil { // warm
		return 0, err
	}
	costs := make([]float64, costRounds)
	for i := range costs {
		before, err := cpu()
		if err != nil {
			return 0, err
		}
		if err := run(n); err != nil {
			return 0, err
		}
		after, err := cpu()
		if err != nil {
			return 0, err
		}
		costs[i] = float64((after - before).Nanoseconds()) / 1e3 / float64(n)
	}
	return median(costs), nil
}
