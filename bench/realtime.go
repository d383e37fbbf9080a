package main

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway"
)

// realtimeSides are SendRealtime, plain go-redis and centrifuge, and how to
// close them.
func realtimeSides(ctx context.Context, b *bench, n int, l load) (sides []side, end func(), err error) {
	in, err := b.newInstall(ctx)
	if err != nil {
		return nil, nil, err
	}
	client, err := gateway.New(ctx, in.Config)
	if err != nil {
		return nil, nil, err
	}
	plain := redis.NewClient(&redis.Options{Addr: b.redis, ContextTimeoutEnabled: true})
	peer, err := newCentrifuge(b.redis, in.Prefix+"centrifuge", nil)
	if err != nil {
		return nil, nil, err
	}
	channels := prefixed(in.names.RealtimePrefix(), l.names)
	return []side{
			{"SendRealtime", func(ctx context.Context, d time.Duration) (figures, error) {
				return callers(ctx, n, d, func(ctx context.Context, _, i int) error {
					return client.SendRealtime(ctx, l.user(i), l.body)
				})
			}},
			{"plain go-redis PUBLISH", func(ctx context.Context, d time.Duration) (figures, error) {
				return callers(ctx, n, d, func(ctx context.Context, _, i int) error {
					return plain.Publish(ctx, channels[i%len(channels)], []byte(l.body)).Err()
				})
			}},
			{"centrifuge Node.Publish", func(ctx context.Context, d time.Duration) (figures, error) {
				return callers(ctx, n, d, func(_ context.Context, _, i int) error {
					_, err := peer.Publish(channels[i%len(channels)], l.body)
					return err
				})
			}},
		}, func() {
			_ = client.Close()
			_ = plain.Close()
			_ = peer.Shutdown(context.Background())
		}, nil
}

func realtime256(ctx context.Context, b *bench) ([]line, error) {
	sides, end, err := realtimeSides(ctx, b, 256, newLoad(users, payloadSize))
	if err != nil {
		return nil, err
	}
	defer end()
	f, err := interleave(ctx, b.plan(9, 600*time.Millisecond), sides...)
	if err != nil {
		return nil, err
	}
	return []line{
		compare(perSecond, f[0], sides[1].name, f[1], atLeast(3)),
		compare(perSecond, f[0], sides[2].name, f[2], atLeast(1)),
	}, nil
}

func realtime1(ctx context.Context, b *bench) ([]line, error) {
	sides, end, err := realtimeSides(ctx, b, 1, newLoad(users, payloadSize))
	if err != nil {
		return nil, err
	}
	defer end()
	f, err := interleave(ctx, b.plan(21, 200*time.Millisecond), sides...)
	if err != nil {
		return nil, err
	}
	return []line{
		compare(p50, f[0], sides[1].name, f[1], atMost(1.1)),
		compare(p50, f[0], sides[2].name, f[2], noGoal),
	}, nil
}
