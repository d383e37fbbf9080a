package main

import (
	"context"
	"fmt"
	"time"

	"github.com/message-gateway/gateway/bench/internal/devices"
)

// warmConnections pay for what is set up once.
const warmConnections = 100

// memorySide starts a server in a fresh process and takes the growth of its
// resident memory from some connections to all, in KB per connection.
func (b *bench) memorySide(in *install, kind serverKind, n int) side {
	return side{string(kind), func(ctx context.Context, _ time.Duration) (f figures, err error) {
		s, err := b.startServer(ctx, in, kind, reliableProtocol, payloadSize, devices.Options{Ack: true})
		if err != nil {
			return f, err
		}
		defer s.stop()
		at := func(n int) (bytes float64, err error) {
			if err := s.connect(n); err != nil {
				return 0, err
			}
			time.Sleep(time.Second) // so that what a connection starts has ended
			err = s.Do("memory", nil, &bytes)
			return bytes, err
		}
		before, err := at(warmConnections)
		if err != nil {
			return f, err
		}
		spentBefore, err := s.spent()
		if err != nil {
			return f, err
		}
		after, err := at(n)
		if err != nil {
			return f, err
		}
		spentAfter, err := s.spent()
		conns := float64(n - warmConnections)
		return figures{
			Ops: n, Value: (after - before) / 1024 / conns,
			Allocs: float64(spentAfter.Mallocs-spentBefore.Mallocs) / conns,
			CPU:    float64((spentAfter.CPU - spentBefore.CPU).Nanoseconds()) / 1e3 / conns,
		}, err
	}}
}

func memory15000(ctx context.Context, b *bench) ([]line, error) {
	n, rounds := 15_000, 2
	if b.opts.short {
		n, rounds = 3_000, 1
	}
	if l, few := fewFiles(n); few {
		return []line{l}, nil
	}
	in, err := b.newInstall(ctx)
	if err != nil {
		return nil, err
	}
	node, centrifuge := b.memorySide(in, ours, n), b.memorySide(in, peer, n)
	taken := make([][]figures, 2)
	for range rounds { // fresh processes need no warm round
		for i, s := range []side{node, centrifuge} {
			f, err := s.run(ctx, 0)
			if err != nil {
				return nil, err
			}
			taken[i] = append(taken[i], f)
		}
	}
	l := compare(kilobytes, taken[0], centrifuge.name, taken[1], atMost(0.4))
	l.Note = fmt.Sprintf("%d connections with a token, a user each, one group; allocs and CPU are those of one handshake", n)
	return []line{alone(kilobytes, taken[0], below(10, "KB")), l}, nil
}
