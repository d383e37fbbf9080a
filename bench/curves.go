package main

import (
	"context"
	"fmt"
	"time"
)

// curves are rows that grow: the cost of a message should stay flat.
func curves() []row {
	return []row{
		{"curve-users", "time for each message, 256 callers, by the number of users", curveUsers},
		{"curve-payload", "time for each message, 256 callers, by the size of the payload", curvePayload},
		{"curve-waiting", "time for each waiting message of a user who returns", curveWaiting},
		{"curve-connections", "time for each delivery to a group, by its connections", curveConnections},
		{"curve-memory", "resident memory of the server for each idle connection, by their number", curveMemory},
	}
}

// perMessage is the time between two completed messages.
var perMessage = kind{"µs/message", func(f figures) float64 { return 1e6 / f.Rate }}

// point is one line of a curve.
func point(curve, what string, ours []figures, name string, theirs []figures) line {
	l := compare(perMessage, ours, name, theirs, noGoal)
	l.Row = curve + " " + what
	return l
}

// sendPoints measures both kinds of sends with one load.
func sendPoints(ctx context.Context, b *bench, curve, what string, load load) ([]line, error) {
	sides, end, err := realtimeSides(ctx, b, 256, load)
	if err != nil {
		return nil, err
	}
	defer end()
	f, err := interleave(ctx, b.plan(3, 500*time.Millisecond), sides[:2]...)
	if err != nil {
		return nil, err
	}
	r, err := newReliableBench(ctx, b, load)
	if err != nil {
		return nil, err
	}
	defer r.close()
	stop, err := takeHints(ctx, b, r.in, load.names)
	if err != nil {
		return nil, err
	}
	defer stop()
	stored := []side{r.ours(256), r.bulkInserts()}
	g, err := interleave(ctx, b.plan(3, time.Second), stored...)
	if err != nil {
		return nil, err
	}
	return []line{
		point(curve, "realtime "+what, f[0], sides[1].name, f[1]),
		point(curve, "reliable "+what, g[0], stored[1].name, g[1]),
	}, nil
}

func curveUsers(ctx context.Context, b *bench) (all []line, err error) {
	for _, n := range []int{100, 1_000, 10_000, 100_000} {
		lines, err := sendPoints(ctx, b, "users", fmt.Sprint(n), newLoad(n, payloadSize))
		if err != nil {
			return all, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

func curvePayload(ctx context.Context, b *bench) (all []line, err error) {
	for _, size := range []int{100, 1 << 10, 8 << 10, 64 << 10} {
		lines, err := sendPoints(ctx, b, "payload", fmt.Sprintf("%d B", size), newLoad(users, size))
		if err != nil {
			return all, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

func curveWaiting(ctx context.Context, b *bench) (all []line, err error) {
	for _, n := range []int{10, 100, 1_000, 10_000, 100_000} {
		ours, bare, end, err := catchUps(ctx, b, n)
		if err != nil {
			return all, err
		}
		f, err := interleave(ctx, b.plan(3, 0), ours, bare)
		end()
		if err != nil {
			return all, err
		}
		all = append(all, point("waiting", fmt.Sprint(n), f[0], bare.name, f[1]))
	}
	return all, nil
}

func curveConnections(ctx context.Context, b *bench) (all []line, err error) {
	for _, n := range []int{100, 1_000, 5_000, 10_000, 15_000} {
		if l, few := fewFiles(n); few {
			all = append(all, l)
			continue
		}
		sides, stop, err := b.groupSides(ctx, n, payloadSize, ours, peer)
		if err != nil {
			return all, err
		}
		f, err := interleave(ctx, b.plan(3, time.Second), sides...)
		stop()
		if err != nil {
			return all, err
		}
		all = append(all, point("connections", fmt.Sprint(n), f[0], "centrifuge", f[1]))
	}
	return all, nil
}

func curveMemory(ctx context.Context, b *bench) (all []line, err error) {
	in, err := b.newInstall(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range []int{1_000, 5_000, 15_000} {
		if l, few := fewFiles(n); few {
			all = append(all, l)
			continue
		}
		node, err := b.memorySide(in, ours, n).run(ctx, 0)
		if err != nil {
			return all, err
		}
		centrifuge, err := b.memorySide(in, peer, n).run(ctx, 0)
		if err != nil {
			return all, err
		}
		l := compare(kilobytes, []figures{node}, string(peer), []figures{centrifuge}, noGoal)
		l.Row = fmt.Sprintf("memory %d", n)
		all = append(all, l)
	}
	return all, nil
}
