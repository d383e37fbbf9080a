package main

import (
	"context"
	"fmt"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/bench/internal/devices"
	"github.com/message-gateway/gateway/node" //nolint:depguard // as in servers.go
)

// catchUps returns how long a user who returns to n waiting messages takes from
// the dial to the last message, and beside it a bare SELECT of those rows.
func catchUps(ctx context.Context, b *bench, n int) (ours, bare side, end func(), err error) {
	in, err := b.newInstall(ctx)
	if err != nil {
		return ours, bare, nil, err
	}
	server, err := startGateway(ctx, in.Config, reliableProtocol, node.Options{})
	if err != nil {
		return ours, bare, nil, err
	}
	f, err := startFleet(ctx, server.addr, devices.Options{Ack: true})
	if err != nil {
		server.stop()
		return ours, bare, nil, err
	}
	end = func() {
		f.Stop()
		server.stop()
	}
	next := 0
	var lastUser string
	ours = side{"catch-up", func(ctx context.Context, _ time.Duration) (figures, error) {
		next++
		lastUser = fmt.Sprintf("user_%d", next)
		for left := n; left > 0; left -= gateway.MaxBatch {
			batch := make([]gateway.Outgoing, min(left, gateway.MaxBatch))
			for i := range batch {
				batch[i] = gateway.Outgoing{UserID: lastUser, Payload: stamped(payloadSize)}
			}
			if _, err := server.client.SendReliableBatch(ctx, batch); err != nil {
				return figures{}, err
			}
		}
		// The notifications of a user who is away, each of which the node looks up.
		if err := untilQuiet(ctx); err != nil {
			return figures{}, err
		}
		how, err := server.connects(next, 1)
		if err != nil {
			return figures{}, err
		}
		m := startMeter()
		took, err := f.returns(how[0], n)
		all := m.stop(n)
		if err == nil {
			err = f.closeAll()
		}
		all.Value = float64(took.Nanoseconds()) / 1e6
		return all, err
	}}
	bare = side{"bare SELECT of the rows", func(ctx context.Context, _ time.Duration) (figures, error) {
		m, began, got := startMeter(), time.Now(), 0
		rows, err := in.db.QueryContext(ctx, "SELECT id, seq, payload, created_at FROM push_messages WHERE target_user_id = ? ORDER BY seq", lastUser)
		if err != nil {
			return figures{}, err
		}
		defer func() { _ = rows.Close() }()
		for ; rows.Next(); got++ {
			var id, created string
			var seq int64
			var body []byte
			if err := rows.Scan(&id, &seq, &body, &created); err != nil {
				return figures{}, err
			}
		}
		took := time.Since(began)
		all := m.stop(got)
		all.Value = float64(took.Nanoseconds()) / 1e6
		return all, rows.Err()
	}}
	return ours, bare, end, nil
}

func catchup1000(ctx context.Context, b *bench) ([]line, error) {
	ours, bare, end, err := catchUps(ctx, b, 1000)
	if err != nil {
		return nil, err
	}
	defer end()
	f, err := interleave(ctx, b.plan(11, 0), ours, bare)
	if err != nil {
		return nil, err
	}
	return []line{alone(millis, f[0], below(50, "ms")), compare(millis, f[0], bare.name, f[1], noGoal)}, nil
}
