package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway"
)

// simulated is an installation with bare connections for its nodes, and a
// client that sends.
type simulated struct {
	b      *bench
	in     *install
	client *gateway.Client
	nodes  []*subscriber
	users  int
	stop   func()
}

// simulate spreads users over nodes: each node has the realtime channels of its
// own and that of the whole hub.
func simulate(ctx context.Context, b *bench, in *install, client *gateway.Client, nodes, users int) (*simulated, error) {
	s := &simulated{b: b, in: in, client: client, users: users}
	var err error
	if s.nodes, s.stop, err = startSubscribers(ctx, b.redis, nodes); err != nil {
		return nil, err
	}
	names := make([][]string, nodes)
	for i := range users {
		names[i%nodes] = append(names[i%nodes], in.names.Realtime(fmt.Sprintf("user_%d", i)))
	}
	for i, n := range s.nodes {
		if err := n.subscribe(append(names[i], in.names.HubAll(gateway.DefaultHub))...); err != nil {
			s.stop()
			return nil, err
		}
	}
	return s, nil
}

func (s *simulated) received() (sum int64) {
	for _, n := range s.nodes {
		sum += n.messages.Load()
	}
	return sum
}

// cost is what a send costs Redis until receivers nodes have it. One send
// follows another, so that each is read and written by itself: Redis writes what
// comes at the same time for one connection together, which is cheaper.
func (s *simulated) cost(ctx context.Context, sends, receivers int, send func(ctx context.Context, i int) error) (float64, error) {
	return redisCost(ctx, []*redis.Client{s.b.rdb}, sends, func(n int) error {
		want := s.received() + int64(n*receivers)
		for i := range n {
			if err := send(ctx, i); err != nil {
				return err
			}
		}
		return s.heard(want)
	})
}

// heard waits until the nodes have so many messages, and fails if they have
// more.
func (s *simulated) heard(want int64) error {
	if err := reach(s.received, want, "messages"); err != nil {
		return err
	}
	if got := s.received(); got != want {
		return fmt.Errorf("%d messages instead of %d", got, want)
	}
	return nil
}

func (s *simulated) sendRealtime(body json.RawMessage) func(ctx context.Context, i int) error {
	return func(ctx context.Context, i int) error {
		return s.client.SendRealtime(ctx, fmt.Sprintf("user_%d", i*7919%s.users), body)
	}
}

func (s *simulated) sendToAll(body json.RawMessage) func(ctx context.Context, i int) error {
	hub := s.client.Hub(gateway.DefaultHub)
	return func(ctx context.Context, _ int) error { return hub.SendToAll(ctx, body) }
}

// sendsPerCost and sendsToAll are how many sends a cost is taken of.
const (
	sendsPerCost = 3000
	sendsToAll   = 1000
)

// scaleNodes sends with the library to simulated nodes.
func scaleNodes(ctx context.Context, b *bench) ([]line, error) {
	in, err := b.newInstall(ctx)
	if err != nil {
		return nil, err
	}
	client, err := gateway.New(ctx, in.Config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }()
	body := payload(payloadSize)
	const users = 16_000
	toUser := series{name: "SendRealtime", unit: "µs Redis CPU"}
	toAll := series{name: "SendToAll", unit: "µs Redis CPU"}
	costs := map[int]float64{}
	for _, n := range b.sizes(1, 4, 8, 16, 32, 64) {
		s, err := simulate(ctx, b, in, client, n, users)
		if err != nil {
			return nil, err
		}
		one, err := s.cost(ctx, sendsPerCost, 1, s.sendRealtime(body))
		if err == nil {
			costs[n], err = s.cost(ctx, sendsToAll, n, s.sendToAll(body))
		}
		s.stop()
		if err != nil {
			return nil, err
		}
		size := fmt.Sprintf("%d nodes", n)
		toUser.flat(size, one)
		if n <= 8 {
			toAll.calibrate(size, costs[n])
			continue
		}
		each := (costs[8] - costs[1]) / 7
		toAll.check(size, costs[n], costs[1]+each*float64(n-1), "one publish + each node")
	}
	byUsers := series{name: "SendToAll, 8 nodes,", unit: "µs Redis CPU"}
	for _, users := range b.sizes(4_000, 16_000, 64_000, 128_000) {
		s, err := simulate(ctx, b, in, client, 8, users)
		if err != nil {
			return nil, err
		}
		cost, err := s.cost(ctx, sendsToAll, 8, s.sendToAll(body))
		s.stop()
		if err != nil {
			return nil, err
		}
		byUsers.flat(fmt.Sprintf("%d users", users), cost)
	}
	return slices.Concat(toUser.lines, toAll.lines, byUsers.lines), nil
}
