package redisbus

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway/internal/bus"
)

// publishCmd is a PUBLISH or SPUBLISH. It is not sent again after an error:
// Redis may have delivered it, and a realtime message arrives at most once.
type publishCmd struct{ *redis.IntCmd }

// NoRetry keeps go-redis from sending the command a second time.
func (publishCmd) NoRetry() bool { return true }

func (b *Bus) publishCmd(ctx context.Context, p *bus.Publication) publishCmd {
	name := "publish"
	if p.Sharded && b.cluster != nil {
		name = "spublish"
	}
	cmd := redis.NewIntCmd(ctx, name, p.Channel, p.Payload)
	// PUBLISH works on any node of a cluster. Routed by channel, what is
	// published on one channel takes one way, and so keeps its order.
	cmd.SetFirstKeyPos(1)
	return publishCmd{cmd}
}

// Publish sends messages in one round trip. On a cluster that is one for each
// node concerned, and order holds within each channel; the count of a message
// that is not Sharded then says how many subscribers one node has.
func (b *Bus) Publish(ctx context.Context, pubs []bus.Publication) ([]int64, error) {
	if len(pubs) == 0 {
		return nil, ctx.Err()
	}
	if b.single != nil {
		if receivers, ok, err := b.publish(ctx, pubs); ok {
			return receivers, err
		}
	}
	return b.publishPooled(ctx, pubs)
}

// publishPooled sends messages through the pool of go-redis.
func (b *Bus) publishPooled(ctx context.Context, pubs []bus.Publication) ([]int64, error) {
	return call(ctx, b, "publish", func(ctx context.Context) ([]int64, error) {
		if len(pubs) == 1 {
			cmd := b.publishCmd(ctx, &pubs[0])
			if err := b.client.Process(ctx, cmd); err != nil {
				return nil, err
			}
			return []int64{cmd.Val()}, nil
		}
		cmds := make([]publishCmd, len(pubs))
		pipe := b.client.Pipeline()
		for i := range pubs {
			cmds[i] = b.publishCmd(ctx, &pubs[i])
			_ = pipe.Process(ctx, cmds[i]) // queued; its error comes with Exec
		}
		_, err := pipe.Exec(ctx)
		receivers := make([]int64, len(pubs))
		for i, cmd := range cmds {
			n, cmdErr := cmd.Result()
			if cmdErr != nil {
				n = -1 // Exec reports the first error
			}
			receivers[i] = n
		}
		return receivers, err
	})
}

// numSubChunk bounds the channels of one PUBSUB NUMSUB.
const numSubChunk = 1000

// Subscribers counts the connections that subscribed each channel. On a cluster
// it asks every node, or with sharded the master that owns the channel.
func (b *Bus) Subscribers(ctx context.Context, sharded bool, channels []string) ([]int64, error) {
	if len(channels) == 0 {
		return nil, ctx.Err()
	}
	return call(ctx, b, "count subscribers", func(ctx context.Context) ([]int64, error) {
		if b.cluster == nil {
			return numSub(ctx, b.client, false, channels)
		}
		if sharded {
			return b.shardNumSub(ctx, channels)
		}
		return b.clusterNumSub(ctx, channels)
	})
}

// numSub asks one server.
func numSub(ctx context.Context, node redis.Cmdable, sharded bool, channels []string) ([]int64, error) {
	counts := make([]int64, 0, len(channels))
	for len(channels) > 0 {
		chunk := channels[:min(numSubChunk, len(channels))]
		channels = channels[len(chunk):]
		var cmd *redis.MapStringIntCmd
		if sharded {
			cmd = node.PubSubShardNumSub(ctx, chunk...)
		} else {
			cmd = node.PubSubNumSub(ctx, chunk...)
		}
		found, err := cmd.Result()
		if err != nil {
			return nil, err
		}
		for _, c := range chunk {
			counts = append(counts, found[c])
		}
	}
	return counts, nil
}

// clusterNumSub sums over all nodes: each of them counts its own connections.
func (b *Bus) clusterNumSub(ctx context.Context, channels []string) ([]int64, error) {
	var mu sync.Mutex
	sums := make([]int64, len(channels))
	err := b.cluster.ForEachShard(ctx, func(ctx context.Context, node *redis.Client) error {
		counts, err := numSub(ctx, node, false, channels)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for i, n := range counts {
			sums[i] += n
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sums, nil
}

// shardNumSub asks for each channel the master that owns it.
func (b *Bus) shardNumSub(ctx context.Context, channels []string) ([]int64, error) {
	byNode := make(map[*redis.Client][]int)
	for i, c := range channels {
		node, err := b.cluster.MasterForKey(ctx, c)
		if err != nil {
			return nil, err
		}
		byNode[node] = append(byNode[node], i)
	}
	counts := make([]int64, len(channels))
	for node, indexes := range byNode {
		own := make([]string, len(indexes))
		for j, i := range indexes {
			own[j] = channels[i]
		}
		found, err := numSub(ctx, node, true, own)
		if err != nil {
			return nil, err
		}
		for j, i := range indexes {
			counts[i] = found[j]
		}
	}
	return counts, nil
}
