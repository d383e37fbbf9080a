package main

import (
	"context"
	"errors"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/message-gateway/gateway/bench/internal/devices"
	"github.com/message-gateway/gateway/node" //nolint:depguard // as in servers.go
)

// delivery1000 is from the send to the acknowledgement in the database, with
// 1,000 users online. Sends and node are in our process, devices in another.
func delivery1000(ctx context.Context, b *bench) ([]line, error) {
	in, err := b.newInstall(ctx)
	if err != nil {
		return nil, err
	}
	ours, endOurs, err := deliverySide(ctx, in)
	if err != nil {
		return nil, err
	}
	defer endOurs()
	theirs, endTheirs, err := centrifugeHistorySide(ctx, b, in)
	if err != nil {
		return nil, err
	}
	defer endTheirs()
	bare, err := newReliableBench(ctx, b, newLoad(users, payloadSize))
	if err != nil {
		return nil, err
	}
	defer bare.close()
	floor := bare.storedFloor()
	f, err := interleave(ctx, b.plan(7, 1500*time.Millisecond), ours, theirs, floor)
	if err != nil {
		return nil, err
	}
	last := compare(p99, f[0], theirs.name, f[1], atMost(1))
	last.Note = "p99: ours until another connection reads the row as FINISHED, sampled, with 256 callers sending as fast as they can; centrifuge's until its client has the message"
	return []line{
		compare(perSecond, f[0], theirs.name, f[1], atLeast(1)),
		compare(perSecond, f[0], floor.name, f[2], noGoal), last,
		compare(p99, f[0], floor.name, f[2], noGoal),
	}, nil
}

func deliverySide(ctx context.Context, in *install) (s side, end func(), err error) {
	server, err := startGateway(ctx, in.Config, reliableProtocol, node.Options{})
	if err != nil {
		return side{}, nil, err
	}
	f, err := startFleet(ctx, server.addr, devices.Options{Ack: true})
	if err != nil {
		server.stop()
		return side{}, nil, err
	}
	end = func() {
		f.Stop()
		server.stop()
	}
	list, err := server.connects(0, users)
	if err == nil {
		err = errors.Join(f.open(list), awaitConnections(server, users))
	}
	if err != nil {
		end()
		return side{}, nil, err
	}
	l := newLoad(users, payloadSize)
	return side{"SendReliable to FINISHED", func(ctx context.Context, d time.Duration) (figures, error) {
		if err := errors.Join(in.empty(ctx), f.reset()); err != nil {
			return figures{}, err
		}
		probing, stop := context.WithCancel(ctx)
		probed := make(chan []time.Duration, 1)
		go func() { probed <- probe(probing, in, server, l) }()
		m := startMeter()
		sent, err := callers(ctx, 256, d, func(ctx context.Context, _, i int) error {
			_, err := server.client.SendReliable(ctx, l.user(i), stamped(payloadSize))
			return err
		})
		stop()
		took := <-probed
		if err != nil {
			return figures{}, err
		}
		n := sent.Ops + len(took)
		if err := finished(ctx, in, n); err != nil {
			return figures{}, err
		}
		all := m.stop(n)
		all.P50, all.P99 = percentiles(took)
		return all, nil
	}}, end, nil
}

// probe sends one message after another and waits until it is FINISHED in the
// database. It ends with the message that it has begun.
func probe(ctx context.Context, in *install, s *gatewayServer, l load) (took []time.Duration) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	for i := 0; ctx.Err() == nil; i++ {
		began := time.Now()
		id, err := s.client.SendReliable(bounded, l.user(i*7), stamped(payloadSize))
		if err != nil {
			return took
		}
		for status := ""; status != "FINISHED"; time.Sleep(500 * time.Microsecond) {
			if err := in.db.QueryRowContext(bounded, "SELECT status FROM push_messages WHERE id = ?", id).Scan(&status); err != nil {
				return took
			}
		}
		took = append(took, time.Since(began))
	}
	return took
}

// finished waits until n rows are acknowledged.
func finished(ctx context.Context, in *install, n int) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		var done int
		if err := in.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM push_messages WHERE status = 'FINISHED'").Scan(&done); err != nil {
			return err
		}
		if done >= n {
			return nil
		}
		if time.Now().After(end) {
			return errors.New("not all messages were acknowledged within a minute")
		}
	}
}

// centrifugeHistorySide publishes with history to a channel of each user, until
// the client has the message. Nothing is stored on disk.
func centrifugeHistorySide(ctx context.Context, b *bench, in *install) (s side, end func(), err error) {
	server, err := startCentrifuge(b.redis, in.Prefix+"centrifuge", func(user string) map[string]centrifuge.SubscribeOptions {
		return map[string]centrifuge.SubscribeOptions{"history:" + user: {EnableRecovery: true}}
	})
	if err != nil {
		return side{}, nil, err
	}
	f, err := startFleet(ctx, server.addr, devices.Options{})
	if err != nil {
		server.stop()
		return side{}, nil, err
	}
	end = func() {
		f.Stop()
		server.stop()
	}
	list, err := server.connects(0, users)
	if err == nil {
		err = errors.Join(f.open(list), awaitConnections(server, users))
	}
	if err != nil {
		end()
		return side{}, nil, err
	}
	channels := prefixed("history:", newLoad(users, 0).names)
	return side{"centrifuge publish with history, received", func(ctx context.Context, d time.Duration) (figures, error) {
		if err := f.reset(); err != nil {
			return figures{}, err
		}
		m := startMeter()
		sent, err := callers(ctx, 256, d, func(_ context.Context, _, i int) error {
			_, err := server.node.Publish(channels[i%users], stamped(payloadSize), centrifuge.WithHistory(100, time.Minute))
			return err
		})
		if err != nil {
			return figures{}, err
		}
		got, err := f.wait(sent.Ops)
		all := m.stop(sent.Ops)
		all.P50, all.P99 = got.P50, got.P99
		return all, err
	}}, end, nil
}
