package main

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/wire"
)

// reliableBench is an installation with both sides open.
type reliableBench struct {
	in       *install
	client   *gateway.Client
	original *original
	bulk     *sql.DB
	// drain waits until what the last slice left behind is out.
	drain func()
	load  load
}

func newReliableBench(ctx context.Context, b *bench, l load) (*reliableBench, error) {
	r := &reliableBench{drain: func() {}, load: l}
	var err error
	if r.in, err = b.newInstall(ctx); err != nil {
		return nil, err
	}
	if r.client, err = gateway.New(ctx, r.in.Config); err != nil {
		return nil, err
	}
	if r.bulk, err = r.in.openDB(bulkParallel); err != nil {
		return nil, err
	}
	r.original, err = newOriginal(b, r.in)
	return r, err
}

func (r *reliableBench) close() {
	_ = r.client.Close()
	r.original.close()
	_ = r.bulk.Close()
}

// slice runs one side on an empty table.
func (r *reliableBench) slice(ctx context.Context, run func() (figures, error)) (figures, error) {
	if err := r.in.empty(ctx); err != nil {
		return figures{}, err
	}
	f, err := run()
	r.drain()
	return f, err
}

func (r *reliableBench) ours(callersN int) side {
	return side{"SendReliable", func(ctx context.Context, d time.Duration) (figures, error) {
		return r.slice(ctx, func() (figures, error) {
			return callers(ctx, callersN, d, func(ctx context.Context, _, i int) error {
				_, err := r.client.SendReliable(ctx, r.load.user(i), r.load.body, gateway.WithSender("server", "backend_1"))
				return err
			})
		})
	}}
}

func (r *reliableBench) originals(callersN int) side {
	return side{"the original's algorithm", func(ctx context.Context, d time.Duration) (figures, error) {
		return r.slice(ctx, func() (figures, error) {
			return callers(ctx, callersN, d, func(ctx context.Context, _, i int) error {
				return r.original.send(ctx, r.load.user(i), r.load.body)
			})
		})
	}}
}

const (
	// maxBulkRows is the size of a bare INSERT, and maxBulkBytes where that
	// would be more than the server takes.
	maxBulkRows  = 256
	maxBulkBytes = 4 << 20
	// bulkParallel INSERTs run at the same time: as many as the group commit
	// runs.
	bulkParallel = 4
)

// bulkInserts are bare INSERTs of 256 rows, counted in rows.
func (r *reliableBench) bulkInserts() side {
	bulkRows := min(maxBulkRows, max(maxBulkBytes/len(r.load.body), 1))
	query := insertHead + strings.TrimSuffix(strings.Repeat(insertRow+",", bulkRows), ",") //nolint:gosec // constants
	return side{fmt.Sprintf("bare INSERTs of %d rows, %d at a time", bulkRows, bulkParallel), func(ctx context.Context, d time.Duration) (figures, error) {
		return r.slice(ctx, func() (figures, error) {
			f, err := callers(ctx, bulkParallel, d, func(ctx context.Context, _, i int) error {
				args := make([]any, 0, 11*bulkRows)
				for k := range bulkRows {
					args = rowArgs(args, uuid.Must(uuid.NewV7()).String(), r.load.user(i*bulkRows+k), int64(i), r.load.body)
				}
				_, err := r.bulk.ExecContext(ctx, query, args...)
				return err
			})
			rows := float64(bulkRows)
			f.Ops, f.Rate, f.Allocs, f.CPU = f.Ops*bulkRows, f.Rate*rows, f.Allocs/rows, f.CPU/rows
			return f, err
		})
	}}
}

// bareStore is INCR followed by INSERT.
func (r *reliableBench) bareStore() side {
	return side{"bare INCR, then bare INSERT", func(ctx context.Context, d time.Duration) (figures, error) {
		return r.slice(ctx, func() (figures, error) {
			return callers(ctx, 1, d, func(ctx context.Context, _, i int) error {
				_, err := r.original.store(ctx, r.load.user(i), r.load.body)
				return err
			})
		})
	}}
}

// takeHints subscribes to the users' delivery channels, as a node that holds
// them does, over a bare socket that throws away what comes.
func takeHints(ctx context.Context, b *bench, in *install, names []string) (stop func(), err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", b.redis)
	if err != nil {
		return nil, err
	}
	var cmd strings.Builder
	fmt.Fprintf(&cmd, "*%d\r\n$9\r\nSUBSCRIBE\r\n", len(names)+1)
	for _, name := range prefixed(in.names.DeliverPrefix(), names) {
		fmt.Fprintf(&cmd, "$%d\r\n%s\r\n", len(name), name)
	}
	if _, err := conn.Write([]byte(cmd.String())); err != nil {
		return nil, err
	}
	go func() {
		buf := make([]byte, 256<<10)
		for {
			if _, err := conn.Read(buf); err != nil {
				return
			}
		}
	}()
	channel := in.names.Deliver(names[len(names)-1])
	for range 1000 {
		if n, err := b.rdb.PubSubNumSub(ctx, channel).Result(); err != nil {
			return nil, err
		} else if n[channel] > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return func() { _ = conn.Close() }, nil
}

// takeNotifications consumes the RabbitMQ notifications, as the gateways of
// offline users do, and returns how many came so far.
func takeNotifications(b *bench, in *install) (count *atomic.Int64, stop func(), err error) {
	conn, err := amqp.Dial(b.rabbit)
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, nil, err
	}
	if err := ch.ExchangeDeclare(in.names.Exchange(), amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
		return nil, nil, err
	}
	q, err := ch.QueueDeclare(in.names.NotificationQueue(), true, false, false, false, nil)
	if err != nil {
		return nil, nil, err
	}
	if err := ch.QueueBind(q.Name, wire.RoutingKey, in.names.Exchange(), false, nil); err != nil {
		return nil, nil, err
	}
	deliveries, err := ch.Consume(q.Name, "", true, false, false, false, nil)
	if err != nil {
		return nil, nil, err
	}
	count = new(atomic.Int64)
	go func() {
		for range deliveries {
			count.Add(1)
		}
	}()
	return count, func() { _ = conn.Close() }, nil
}

// settled waits until the counter stands still.
func settled(count *atomic.Int64) {
	for still, last := 0, count.Load(); still < 20; time.Sleep(10 * time.Millisecond) {
		if now := count.Load(); now == last {
			still++
		} else {
			still, last = 0, now
		}
	}
}

func reliable256(ctx context.Context, b *bench) ([]line, error) {
	r, err := newReliableBench(ctx, b, newLoad(users, payloadSize))
	if err != nil {
		return nil, err
	}
	defer r.close()
	stop, err := takeHints(ctx, b, r.in, r.load.names)
	if err != nil {
		return nil, err
	}
	defer stop()
	return r.throughput(ctx, b)
}

func (r *reliableBench) throughput(ctx context.Context, b *bench) ([]line, error) {
	sides := []side{r.ours(256), r.originals(256), r.bulkInserts()}
	goals := []goal{noGoal, atLeast(7), atLeast(0.55)}
	if b.nats != "" {
		peer, end, err := jetstreamSide(ctx, b, r, 256)
		switch {
		case err == nil:
			defer end()
			sides, goals = append(sides, peer), append(goals, noGoal)
		case !noJetStream(err):
			return nil, err
		}
	}
	f, err := interleave(ctx, b.plan(7, time.Second), sides...)
	if err != nil {
		return nil, err
	}
	var lines []line
	for i := 1; i < len(sides); i++ {
		lines = append(lines, compare(perSecond, f[0], sides[i].name, f[i], goals[i]))
	}
	return lines, nil
}

func reliable256Offline(ctx context.Context, b *bench) ([]line, error) {
	r, err := newReliableBench(ctx, b, newLoad(users, payloadSize))
	if err != nil {
		return nil, err
	}
	defer r.close()
	count, stop, err := takeNotifications(b, r.in)
	if err != nil {
		return nil, err
	}
	defer stop()
	r.drain = func() { settled(count) }
	ours, theirs := r.ours(256), r.originals(256)
	var sent, came int64
	counted := ours
	counted.run = func(ctx context.Context, d time.Duration) (figures, error) {
		from := count.Load()
		f, err := ours.run(ctx, d)
		sent, came = sent+int64(f.Ops), came+count.Load()-from
		return f, err
	}
	f, err := interleave(ctx, b.plan(5, time.Second), counted, theirs)
	if err != nil {
		return nil, err
	}
	l := compare(perSecond, f[0], theirs.name, f[1], atLeast(7))
	l.Note = fmt.Sprintf("%d of %d messages of ours were notified over RabbitMQ; the others are left to the nodes' slow round", came, sent)
	return []line{l}, nil
}

func reliable1(ctx context.Context, b *bench) ([]line, error) {
	r, err := newReliableBench(ctx, b, newLoad(users, payloadSize))
	if err != nil {
		return nil, err
	}
	defer r.close()
	stop, err := takeHints(ctx, b, r.in, r.load.names)
	if err != nil {
		return nil, err
	}
	defer stop()
	sides := []side{r.ours(1), r.bareStore()}
	f, err := interleave(ctx, b.plan(21, 300*time.Millisecond), sides...)
	if err != nil {
		return nil, err
	}
	return []line{compare(p50, f[0], sides[1].name, f[1], atMost(1.25))}, nil
}
