package main

import (
	"context"
	"fmt"
	"time"

	"github.com/message-gateway/gateway/bench/internal/devices"
)

// groupSide sends to a group of all connections of a server process, the next
// message when every device has this one. An operation is one delivery.
func (s *serverProcess) groupSide(name string) side {
	return side{name, func(_ context.Context, d time.Duration) (figures, error) {
		if err := s.fleet.reset(); err != nil {
			return figures{}, err
		}
		before, err := s.spent()
		if err != nil {
			return figures{}, err
		}
		began, n := time.Now(), 0
		var got devices.Result
		for n == 0 || time.Since(began) < d {
			n++
			if err := s.Do("publish", nil, nil); err != nil {
				return figures{}, err
			}
			if got, err = s.fleet.wait(n * s.open); err != nil {
				return figures{}, err
			}
		}
		elapsed := time.Since(began)
		after, err := s.spent()
		ops := float64(n * s.open)
		return figures{
			Ops: n * s.open, Rate: ops / elapsed.Seconds(), P50: got.P50, P99: got.P99,
			Allocs: float64(after.Mallocs-before.Mallocs) / ops, CPU: float64((after.CPU - before.CPU).Nanoseconds()) / 1e3 / ops,
		}, err
	}}
}

// groupSides starts servers with n connections each.
func (b *bench) groupSides(ctx context.Context, n, size int, kinds ...serverKind) (sides []side, stop func(), err error) {
	in, err := b.newInstall(ctx)
	if err != nil {
		return nil, nil, err
	}
	var servers []*serverProcess
	stop = func() {
		for _, s := range servers {
			s.stop()
		}
	}
	for _, kind := range kinds {
		s, err := b.startServer(ctx, in, kind, plainProtocol, size, devices.Options{})
		if err == nil {
			servers = append(servers, s)
			err = s.connect(n)
		}
		if err != nil {
			stop()
			return nil, nil, err
		}
		sides = append(sides, s.groupSide(string(kind)))
	}
	return sides, stop, nil
}

func group10000(ctx context.Context, b *bench) ([]line, error) {
	n := 10_000
	if b.opts.short {
		n = 2_000
	}
	if l, few := fewFiles(n); few {
		return []line{l}, nil
	}
	sides, stop, err := b.groupSides(ctx, n, payloadSize, ours, peer, writes)
	if err != nil {
		return nil, err
	}
	defer stop()
	f, err := interleave(ctx, b.plan(9, time.Second), sides...)
	if err != nil {
		return nil, err
	}
	cpu := compare(cpuPerOp, f[0], "centrifuge", f[1], noGoal)
	cpu.Note = fmt.Sprintf("%d connections; deliveries/s share the two cores with the clients of both sides, CPU/op is the server's alone", n)
	return []line{
		compare(perSecond, f[0], "centrifuge", f[1], atLeast(1.5)),
		compare(perSecond, f[0], "bare writes to the sockets, a loop for each core", f[2], noGoal),
		compare(p99, f[0], "centrifuge", f[1], noGoal), cpu,
	}, nil
}
