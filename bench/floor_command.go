package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	gobwas "github.com/gobwas/ws"
	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway/bench/internal/devices"
)

// commandBatch commands are stored, sent and answered together, by
// commandParallel loops: as many are under way as the row has callers.
const (
	commandBatch    = commandUsers / commandParallel
	commandParallel = 4
)

// commandFloor is what commands of 256 callers consist of: numbers, rows, a
// message over Redis to whoever holds the connection, a frame to the device, its
// answer, and that in the row. All but the frames is done for 64 at once.
type commandFloor struct {
	stored  *reliableBench
	node    *writesServer
	devices *fleet
	pubsub  *redis.PubSub
	channel string
	insert  *sql.Stmt
	finish  *sql.Stmt
	// answers are those of the users of a loop.
	answers [commandParallel]chan struct{}
	failed  atomic.Pointer[error]
}

func startCommandFloor(ctx context.Context, stored *reliableBench) (f *commandFloor, err error) {
	f = &commandFloor{stored: stored, channel: stored.in.Prefix + "floor:"}
	for i := range f.answers {
		f.answers[i] = make(chan struct{}, commandBatch)
	}
	defer func() {
		if err != nil {
			f.stop()
		}
	}()
	insert := insertHead + strings.TrimSuffix(strings.Repeat(insertRow+",", commandBatch), ",") //nolint:gosec // constants
	if f.insert, err = stored.bulk.PrepareContext(ctx, insert); err != nil {
		return f, err
	}
	finish := `UPDATE push_messages SET delivering_at = ?, finished_at = ?, updated_at = ?, command_response = ?, status = 'FINISHED' WHERE id IN (` + //nolint:gosec // constants
		strings.TrimSuffix(strings.Repeat("?,", commandBatch), ",") + `)`
	if f.finish, err = stored.bulk.PrepareContext(ctx, finish); err != nil {
		return f, err
	}
	if f.node, err = startWrites(); err != nil {
		return f, err
	}
	if f.devices, err = startFleet(ctx, f.node.addr, devices.Options{Answer: true}); err != nil {
		return f, err
	}
	list, err := f.node.connects(0, commandUsers)
	if err = errors.Join(err, f.devices.open(list), awaitConnections(f.node, commandUsers)); err != nil {
		return f, err
	}
	users := make(map[string]int, commandUsers)
	channels := make([]string, commandUsers)
	for i := range channels {
		channels[i] = f.channel + stored.load.user(i)
		users[channels[i]] = i
		go f.read(i)
	}
	f.pubsub = stored.original.redis.Subscribe(ctx, channels...)
	for range channels {
		if _, err := f.pubsub.Receive(ctx); err != nil {
			return f, err
		}
	}
	go f.deliver(users)
	return f, nil
}

// stop ends what has begun.
func (f *commandFloor) stop() {
	if f.pubsub != nil {
		_ = f.pubsub.Close()
	}
	if f.devices != nil {
		f.devices.Stop()
	}
	if f.node != nil {
		f.node.stop()
	}
}

// deliver writes what comes over Redis to the devices.
func (f *commandFloor) deliver(users map[string]int) {
	for {
		m, err := f.pubsub.ReceiveMessage(context.Background())
		if err != nil {
			return // closed
		}
		if err := gobwas.WriteFrame(f.node.conns[users[m.Channel]], gobwas.NewTextFrame([]byte(m.Payload))); err != nil {
			f.failed.CompareAndSwap(nil, &err)
		}
	}
}

// read counts the answers of a device.
func (f *commandFloor) read(user int) {
	r := bufio.NewReaderSize(f.node.conns[user], 512)
	for {
		h, err := gobwas.ReadHeader(r)
		if err != nil {
			return // closed
		}
		if _, err := io.CopyN(io.Discard, r, h.Length); err != nil {
			return
		}
		f.answers[user/commandBatch] <- struct{}{}
	}
}

func (f *commandFloor) side() side {
	name := fmt.Sprintf("bare INCRs, INSERT, PUBLISHes, frames there and back, UPDATE, of %d commands, %d at a time", commandBatch, commandParallel)
	return side{name, func(ctx context.Context, d time.Duration) (figures, error) {
		return f.stored.slice(ctx, func() (figures, error) {
			all, err := callers(ctx, commandParallel, d, f.batch)
			const n = commandBatch
			all.Ops, all.Rate, all.Allocs, all.CPU = all.Ops*n, all.Rate*n, all.Allocs/n, all.CPU/n
			return all, err
		})
	}}
}

// batch is one command for each user of a loop.
func (f *commandFloor) batch(ctx context.Context, loop, _ int) error {
	rdb, l := f.stored.original.redis, f.stored.load
	user := func(k int) string { return l.user(loop*commandBatch + k) }
	numbers := rdb.Pipeline()
	for k := range commandBatch {
		numbers.Incr(ctx, f.stored.in.names.Seq(user(k)))
	}
	seqs, err := numbers.Exec(ctx)
	if err != nil {
		return err
	}
	rows, now := make([]any, 0, 11*commandBatch), time.Now().UTC().Format(timeFormat)
	ended := append(make([]any, 0, 4+commandBatch), now, now, now, `{"ok":true}`)
	hints := rdb.Pipeline()
	for k, seq := range seqs {
		id := uuid.Must(uuid.NewV7()).String()
		rows = rowArgs(rows, id, user(k), seq.(*redis.IntCmd).Val(), l.body)
		ended = append(ended, id)
		hints.Publish(ctx, f.channel+user(k), fmt.Appendf(nil, `{"type":"message","from":"server","data":{"requestId":"%s","data":%s}}`, id, l.body))
	}
	if _, err := f.insert.ExecContext(ctx, rows...); err != nil {
		return err
	}
	if _, err := hints.Exec(ctx); err != nil {
		return err
	}
	for range commandBatch {
		if err := wait(ctx, f.answers[loop]); err != nil {
			return err
		}
	}
	if err := f.failed.Load(); err != nil {
		return *err
	}
	_, err = f.finish.ExecContext(ctx, ended...)
	return err
}
