package main

import (
	"context"

	"github.com/centrifugal/centrifuge"
)

// newCentrifuge starts a centrifuge node on the Redis broker, set up as its
// documentation does. subscribe gives the channels of a user who connects; the
// token of the connection is the name of the user.
func newCentrifuge(redisAddr, prefix string, subscribe func(userID string) map[string]centrifuge.SubscribeOptions) (*centrifuge.Node, error) {
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		return nil, err
	}
	shard, err := centrifuge.NewRedisShard(node, centrifuge.RedisShardConfig{Address: "redis://" + redisAddr})
	if err != nil {
		return nil, err
	}
	broker, err := centrifuge.NewRedisBroker(node, centrifuge.RedisBrokerConfig{Prefix: prefix, Shards: []*centrifuge.RedisShard{shard}})
	if err != nil {
		return nil, err
	}
	node.SetBroker(broker)
	node.OnConnecting(func(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		if e.Token == "" || subscribe == nil {
			return centrifuge.ConnectReply{}, centrifuge.DisconnectInvalidToken
		}
		return centrifuge.ConnectReply{
			Credentials: &centrifuge.Credentials{UserID: e.Token}, Subscriptions: subscribe(e.Token),
		}, nil
	})
	return node, node.Run()
}
