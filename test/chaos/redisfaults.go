package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
)

// withRedis runs f with a connection of its own to the server itself.
func withRedis(addr string, f func(*redis.Client) error) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return err
	}
	client := redis.NewClient(&redis.Options{Addr: addr, PoolSize: 1, MaxRetries: -1})
	defer func() { _ = client.Close() }()
	return f(client)
}

// flush empties Redis.
func flush() fault {
	return fault{"FLUSHALL", 0, func(ctx context.Context, r *run) (string, error) {
		return "", withRedis(r.addrs[redisService], func(c *redis.Client) error { return c.FlushAll(ctx).Err() })
	}}
}

// redisState puts Redis into a state in which it answers and does not serve, and
// out of it again. The commands of each are run in their order.
func redisState(name string, d time.Duration, into, out [][]any) fault {
	return fault{name, d, func(ctx context.Context, r *run) (string, error) {
		err := withRedis(r.addrs[redisService], func(c *redis.Client) error {
			for _, args := range into {
				if err := c.Do(ctx, args...).Err(); err != nil {
					return fmt.Errorf("%v: %w", args, err)
				}
			}
			err := sleep(ctx, d)
			ctx := context.WithoutCancel(ctx)
			for _, args := range out {
				if failed := c.Do(ctx, args...).Err(); failed != nil {
					return errors.Join(err, fmt.Errorf("%v: %w", args, failed))
				}
			}
			return err
		})
		return seconds(d), err
	}}
}

// redisStates are what an operator or a failover does to a Redis that runs on.
func redisStates(span func(time.Duration) time.Duration) []fault {
	kill := []any{"client", "kill", "type", "normal", "skipme", "yes"}
	killSubscribers := []any{"client", "kill", "type", "pubsub"}
	return []fault{
		redisState("redis out of memory", span(stateTime),
			[][]any{{"config", "set", "maxmemory", "1"}, {"config", "set", "maxmemory-policy", "noeviction"}},
			[][]any{{"config", "set", "maxmemory", "0"}}),
		// Its master is where nobody is: as after a failover that left the clients
		// with the old one. READONLY, and later another replication history.
		redisState("redis becomes a read-only replica", span(stateTime),
			[][]any{{"replicaof", "127.0.0.1", "1"}}, [][]any{{"replicaof", "no", "one"}}),
		redisState("redis becomes a replica that has no data to serve", span(stateTime),
			[][]any{{"config", "set", "replica-serve-stale-data", "no"}, {"replicaof", "127.0.0.1", "1"}},
			[][]any{{"replicaof", "no", "one"}, {"config", "set", "replica-serve-stale-data", "yes"}}),
		redisState("redis wants a password that nobody has", span(stateTime),
			[][]any{{"config", "set", "requirepass", "changed"}, kill, killSubscribers},
			[][]any{{"auth", "changed"}, {"config", "set", "requirepass", ""}}),
		redisState("redis lets in no clients", span(stateTime),
			[][]any{{"config", "set", "maxclients", "1"}, kill, killSubscribers}, [][]any{{"config", "set", "maxclients", "10000"}}),
		redisState("CLIENT KILL of everyone", 0, [][]any{kill, killSubscribers}, nil),
		redisState("redis cuts subscribers off", span(stateTime),
			[][]any{{"config", "set", "client-output-buffer-limit", "pubsub 1 1 1"}},
			[][]any{{"config", "set", "client-output-buffer-limit", "pubsub 33554432 8388608 60"}}),
		redisState("redis closes idle connections", span(stateTime),
			[][]any{{"config", "set", "timeout", "1"}}, [][]any{{"config", "set", "timeout", "0"}}),
		staleRedis(span(stateTime)),
		busyRedis(span(2 * time.Second)),
	}
}

// staleRedis has Redis come back with what it had some time before: its counters
// are there, and behind.
func staleRedis(d time.Duration) fault {
	return fault{"redis comes back with what it had before", d, func(ctx context.Context, r *run) (string, error) {
		var dir, file string
		err := withRedis(r.addrs[redisService], func(c *redis.Client) error {
			settings, err := c.ConfigGet(ctx, "d*").Result()
			dir, file = settings["dir"], settings["dbfilename"]
			return errors.Join(err, c.Save(ctx).Err())
		})
		if err != nil {
			return "", err
		}
		err = sleep(ctx, d)
		server := r.servers[redisService]
		server.Kill()
		err = errors.Join(err, server.Start(), server.Await(ctx))
		// The next one that is killed comes back empty again.
		return seconds(d) + " before", errors.Join(err, os.Remove(filepath.Join(dir, file)))
	}}
}

// busyRedis has Redis run a script that does not end: it answers BUSY.
func busyRedis(d time.Duration) fault {
	return fault{"redis is busy with a script", d, func(ctx context.Context, r *run) (string, error) {
		script := make(chan error, 1)
		err := withRedis(r.addrs[redisService], func(c *redis.Client) error {
			if err := c.ConfigSet(ctx, "lua-time-limit", "50").Err(); err != nil {
				return err
			}
			go func() {
				script <- withRedis(r.addrs[redisService], func(c *redis.Client) error {
					return c.WithTimeout(time.Minute).Eval(ctx, "while true do end", nil).Err()
				})
			}()
			err := sleep(ctx, d)
			ctx := context.WithoutCancel(ctx)
			var killed error
			for range 100 { // it may not have begun, and does not end at once
				killed = c.ScriptKill(ctx).Err()
				select {
				case ended := <-script:
					if ended == nil {
						err = errors.Join(err, errors.New("the script ended by itself"))
					}
					return errors.Join(err, c.ConfigSet(ctx, "lua-time-limit", "5000").Err())
				case <-time.After(100 * time.Millisecond):
				}
			}
			return errors.Join(err, fmt.Errorf("the script does not end: %w", killed))
		})
		return seconds(d), err
	}}
}
