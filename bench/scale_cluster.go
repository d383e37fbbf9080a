package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// cluster is a Redis Cluster of this run's own, masters only.
type cluster struct {
	masters []*redis.Client
	cmds    []*exec.Cmd
	dir     string
	busPort string // of the first master
}

// clusterSlots is the number of slots of every Redis Cluster.
const clusterSlots = 16384

// startCluster starts n masters, which own equal parts of the slots.
func startCluster(ctx context.Context, binary string, n int) (c *cluster, err error) {
	c = &cluster{}
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	if c.dir, err = os.MkdirTemp("", "gwbench-"); err != nil {
		return c, err
	}
	for i := range n {
		addr, err := c.start(ctx, binary, i)
		if err != nil {
			return c, err
		}
		rdb := redis.NewClient(&redis.Options{Addr: addr})
		c.masters = append(c.masters, rdb)
		if err := c.eventually(func() bool { return rdb.Ping(ctx).Err() == nil }, addr+" answers"); err != nil {
			return c, err
		}
		if err := rdb.ClusterAddSlotsRange(ctx, i*clusterSlots/n, (i+1)*clusterSlots/n-1).Err(); err != nil {
			return c, err
		}
		host, port, _ := net.SplitHostPort(c.masters[0].Options().Addr)
		if i > 0 {
			if err := rdb.Do(ctx, "cluster", "meet", host, port, c.busPort).Err(); err != nil {
				return c, err
			}
		}
	}
	for _, rdb := range c.masters {
		if err := c.eventually(func() bool {
			shards, err := rdb.ClusterShards(ctx).Result()
			info, infoErr := rdb.ClusterInfo(ctx).Result()
			return err == nil && infoErr == nil && len(shards) == n && len(info) > 16 && info[:16] == "cluster_state:ok"
		}, "the cluster is whole"); err != nil {
			return c, err
		}
	}
	return c, nil
}

// start starts one server on a free port, whose bus port is another free one.
func (c *cluster) start(ctx context.Context, binary string, i int) (addr string, err error) {
	var ports [2]string
	for k := range ports {
		ln, err := listen()
		if err != nil {
			return "", err
		}
		defer func() { _ = ln.Close() }()
		_, ports[k], _ = net.SplitHostPort(ln.Addr().String())
		if err := ln.Close(); err != nil {
			return "", err
		}
	}
	if i == 0 {
		c.busPort = ports[1]
	}
	cmd := exec.CommandContext(ctx, binary, "--port", ports[0], "--bind", "127.0.0.1", "--dir", c.dir, "--save", "", //nolint:gosec // redis-server, with arguments of our own
		"--loglevel", "warning", "--cluster-enabled", "yes", "--cluster-port", ports[1],
		"--cluster-config-file", fmt.Sprintf("nodes-%d.conf", i))
	c.cmds = append(c.cmds, cmd)
	return net.JoinHostPort("127.0.0.1", ports[0]), cmd.Start()
}

func (c *cluster) eventually(holds func() bool, what string) error {
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("not within 20 seconds: " + what)
		}
	}
	return nil
}

func (c *cluster) stop() {
	for _, rdb := range c.masters {
		_ = rdb.Close()
	}
	for _, cmd := range c.cmds {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	if c.dir != "" {
		_ = os.RemoveAll(c.dir)
	}
}

// byMaster finds the master of each channel: all of them, a part of the slots
// each.
func (c *cluster) byMaster(ctx context.Context, names []string) ([][]string, error) {
	parts := make([][]string, len(c.masters))
	pipe := c.masters[0].Pipeline()
	for _, name := range names {
		pipe.ClusterKeySlot(ctx, name)
	}
	answers, err := pipe.Exec(ctx)
	if err != nil {
		return nil, err
	}
	for k, answer := range answers {
		slot, i := int(answer.(*redis.IntCmd).Val()), 0
		for slot >= (i+1)*clusterSlots/len(parts) {
			i++
		}
		parts[i] = append(parts[i], names[k])
	}
	return parts, nil
}

// cost is what a publish costs all servers until its one subscriber has it. The
// subscribers of PUBLISH are on another master than the one that is published
// to, as nodes are; those of SPUBLISH can only be on that one.
func (c *cluster) cost(ctx context.Context, publish, subscribe string, away int, parts [][]string, body []byte) (float64, error) {
	nodes := make([]*subscriber, len(c.masters))
	for i, rdb := range c.masters {
		var err error
		if nodes[i], err = newSubscriber(ctx, rdb.Options().Addr, subscribe); err != nil {
			return 0, err
		}
		defer nodes[i].close()
		if err := nodes[i].subscribe(parts[(i+away)%len(parts)]...); err != nil {
			return 0, err
		}
	}
	received := func() (sum int64) {
		for _, n := range nodes {
			sum += n.messages.Load()
		}
		return sum
	}
	sent := int64(0)
	return redisCost(ctx, c.masters, 30_000, func(n int) error {
		for i, rdb := range c.masters {
			pipe := rdb.Pipeline()
			for k := range n / len(c.masters) {
				pipe.Do(ctx, publish, parts[i][k%len(parts[i])], body)
				sent++
				if pipe.Len() < 200 {
					continue
				}
				if _, err := pipe.Exec(ctx); err != nil {
					return err
				}
			}
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
		}
		return reach(received, sent, "messages")
	})
}

// scaleCluster compares what SPUBLISH and PUBLISH cost a cluster that grows:
// the first concerns one master, the second all of them.
func scaleCluster(ctx context.Context, b *bench) ([]line, error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return []line{notRun("Redis Cluster", "no redis-server is installed, to start some of its own")}, nil
	}
	names := prefixed("deliver:user:", newLoad(2000, 0).names)
	body := payload(payloadSize)
	sharded := series{name: "SPUBLISH", unit: "µs CPU, all masters"}
	plain := series{name: "PUBLISH", unit: "µs CPU, all masters"}
	costs := map[int]float64{}
	for _, n := range b.sizes(1, 2, 4, 8) {
		one, err := clusterCosts(ctx, binary, n, names, body)
		if err != nil {
			return nil, err
		}
		size := fmt.Sprintf("%d masters", n)
		sharded.flat(size, one[0])
		if costs[n] = one[1]; n <= 2 {
			plain.calibrate(size, one[1])
			continue
		}
		plain.check(size, one[1], costs[1]+(costs[2]-costs[1])*float64(n-1), "one publish + each other master")
	}
	memory, err := shardedMemory(ctx, binary, b.sizes(10_000, 20_000, 40_000, 80_000, 160_000))
	return slices.Concat(sharded.lines, plain.lines, memory), err
}

// shardedMemory grows the sharded channels of one master: it keeps them by slot
// as well, which other subscriptions are not.
func shardedMemory(ctx context.Context, binary string, sizes []int) ([]line, error) {
	c, err := startCluster(ctx, binary, 1)
	if err != nil {
		return nil, err
	}
	defer c.stop()
	node, err := newSubscriber(ctx, c.masters[0].Options().Addr, "SSUBSCRIBE")
	if err != nil {
		return nil, err
	}
	defer node.close()
	empty, err := redisFigure(ctx, c.masters[0], "memory", "used_memory")
	if err != nil {
		return nil, err
	}
	memory := series{name: "memory", unit: "bytes/sharded channel"}
	have := 0
	for _, n := range sizes {
		var names []string
		for ; have < n; have++ {
			names = append(names, fmt.Sprintf("gwbench_01234567:deliver:user:user_%d", have))
		}
		if err := node.subscribe(names...); err != nil {
			return nil, err
		}
		used, err := redisFigure(ctx, c.masters[0], "memory", "used_memory")
		if err != nil {
			return nil, err
		}
		memory.flat(fmt.Sprintf("%d channels", n), (used-empty)/float64(n))
	}
	return memory.lines, nil
}

// clusterCosts are those of SPUBLISH and PUBLISH on a cluster of n masters.
func clusterCosts(ctx context.Context, binary string, n int, names []string, body []byte) (costs [2]float64, err error) {
	c, err := startCluster(ctx, binary, n)
	if err != nil {
		return costs, err
	}
	defer c.stop()
	parts, err := c.byMaster(ctx, names)
	if err != nil {
		return costs, err
	}
	if costs[0], err = c.cost(ctx, "spublish", "SSUBSCRIBE", 0, parts, body); err != nil {
		return costs, err
	}
	costs[1], err = c.cost(ctx, "publish", "SUBSCRIBE", 1, parts, body)
	return costs, err
}
