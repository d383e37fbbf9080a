package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/uuid"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/store/sqlstore"
	"github.com/message-gateway/gateway/internal/wire"
)

const (
	// measuredRows is how many rows a figure is taken of, and rowBatch how many
	// go into one statement: as many as the group commit puts there.
	measuredRows = 8192
	rowBatch     = 256
	// rowsPerUser is how many rows of a table belong to one user, on average.
	rowsPerUser = 30
)

// rowTable is a table that grows.
type rowTable struct {
	store *sqlstore.Store
	in    *install
	rows  int
	seq   int64
}

func openRowTable(ctx context.Context, b *bench) (*rowTable, error) {
	in, err := b.newInstall(ctx)
	if err != nil {
		return nil, err
	}
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.DBName = "tcp", in.Config.MySQL.Addr, in.Config.MySQL.DB
	cfg.User, cfg.Passwd = in.Config.MySQL.User, in.Config.MySQL.Password
	s, err := sqlstore.OpenMySQL(ctx, sqlstore.MySQLOptions{Config: cfg, MaxOpenConns: bulkParallel})
	return &rowTable{store: s, in: in}, err
}

// batch are messages to users at random.
func (t *rowTable) batch(n int, users int, status wire.Status) []*store.Message {
	list := make([]*store.Message, n)
	for i := range list {
		t.seq++
		now := t.store.Now()
		list[i] = &store.Message{
			ID: uuid.Must(uuid.NewV7()).String(), UserID: fmt.Sprintf("user_%d", t.seq*7919%int64(users)),
			SenderType: "server", SenderID: "backend_1", PushType: wire.Reliable, Seq: t.seq,
			Payload: payload(payloadSize), Status: status, CreatedAt: now, UpdatedAt: now,
		}
		if status == wire.Finished {
			list[i].DeliveringAt, list[i].FinishedAt = now, now
		}
	}
	return list
}

// fill inserts finished rows up to a number.
func (t *rowTable) fill(ctx context.Context, to int) error {
	todo := make(chan []*store.Message)
	errs := make(chan error, bulkParallel)
	for range bulkParallel {
		go func() {
			var err error
			for list := range todo {
				if err == nil {
					_, err = t.store.Insert(ctx, list)
				}
			}
			errs <- err
		}()
	}
	for ; t.rows < to; t.rows += rowBatch {
		todo <- t.batch(rowBatch, max(to/rowsPerUser, 1), wire.Finished)
	}
	close(todo)
	var err error
	for range bulkParallel {
		if failed := <-errs; failed != nil {
			err = failed
		}
	}
	return err
}

// rowCosts are the times of one row or one user, in µs, and the bytes of a row
// on disk.
type rowCosts struct{ insert, settle, purge, read, round, bytes float64 }

// measure takes the costs at the size that the table has, one statement at a
// time.
func (t *rowTable) measure(ctx context.Context, reads int) (c rowCosts, err error) {
	users := max(t.rows/rowsPerUser, 1)
	var inserts, settles, read []float64
	for range measuredRows / rowBatch {
		list := t.batch(rowBatch, users, wire.Pending)
		began := time.Now()
		if _, err = t.store.Insert(ctx, list); err != nil {
			return c, err
		}
		inserts = append(inserts, perRow(began))
		t.rows += len(list)
		var acks []store.Settlement
		for _, m := range list {
			acks = append(acks, store.Settlement{ID: m.ID, DeliveredAt: m.CreatedAt, AcknowledgedAt: t.store.Now()})
		}
		began = time.Now()
		if err = t.store.Settle(ctx, acks); err != nil {
			return c, err
		}
		settles = append(settles, perRow(began))
	}
	for i := range reads {
		began := time.Now()
		page, err := t.store.Unfinished(ctx, fmt.Sprintf("user_%d", i*7919%users), store.Cursor{}, rowBatch)
		if err != nil {
			return c, err
		}
		if len(page) != 0 {
			return c, fmt.Errorf("%d rows are unfinished that were settled", len(page))
		}
		read = append(read, float64(time.Since(began).Nanoseconds())/1e3)
	}
	c = rowCosts{insert: quartile(inserts), settle: quartile(settles), read: quartile(read)}
	if c.round, err = t.round(ctx, users); err != nil {
		return c, err
	}
	if c.bytes, err = t.bytes(ctx); err != nil {
		return c, err
	}
	c.purge, err = t.purge(ctx)
	return c, err
}

// round looks for unfinished rows of many users, as a node's slow round does.
func (t *rowTable) round(ctx context.Context, users int) (float64, error) {
	const chunk, limit = 500, 1000 // those of the node
	n := min(chunk, users)
	var took []float64
	for i := range 16 {
		ids := make([]string, n)
		for k := range ids {
			ids[k] = fmt.Sprintf("user_%d", (i*chunk+k)*7919%users)
		}
		began := time.Now()
		refs, err := t.store.UnfinishedRefs(ctx, ids, store.Ref{}, limit)
		if err != nil {
			return 0, err
		}
		if len(refs) != 0 {
			return 0, fmt.Errorf("%d rows are unfinished that were settled", len(refs))
		}
		took = append(took, float64(time.Since(began).Nanoseconds())/1e3/float64(n))
	}
	return quartile(took), nil
}

// purge deletes finished rows, as the janitor does.
func (t *rowTable) purge(ctx context.Context) (float64, error) {
	const batch = 500
	var took []float64
	for range 4 {
		began := time.Now()
		n, err := t.store.Purge(ctx, t.store.Now().Add(time.Hour), batch)
		if err != nil {
			return 0, err
		}
		if n != batch {
			return 0, fmt.Errorf("%d of %d finished rows were deleted", n, batch)
		}
		took = append(took, float64(time.Since(began).Nanoseconds())/1e3/batch)
		t.rows -= n
	}
	return quartile(took), nil
}

// quartile is the value that a quarter of them is below. What else this machine
// does makes statements slower, never faster.
func quartile(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/4]
}

func perRow(began time.Time) float64 {
	return float64(time.Since(began).Nanoseconds()) / 1e3 / rowBatch
}

// bytes is what the table and its indexes take, for each row.
func (t *rowTable) bytes(ctx context.Context) (size float64, err error) {
	if _, err := t.in.db.ExecContext(ctx, "ANALYZE TABLE push_messages"); err != nil {
		return 0, err
	}
	err = t.in.db.QueryRowContext(ctx, `SELECT data_length + index_length FROM information_schema.tables
WHERE table_schema = DATABASE() AND table_name = 'push_messages'`).Scan(&size)
	return size / float64(t.rows), err
}

// scaleRows grows a table and takes the costs of one row on the way.
func scaleRows(ctx context.Context, b *bench) ([]line, error) {
	t, err := openRowTable(ctx, b)
	if err != nil {
		return nil, err
	}
	defer func() { _ = t.store.Close() }()
	all := []series{
		{name: "INSERT", unit: "µs/row"}, {name: "to FINISHED", unit: "µs/row"},
		{name: "deleted", unit: "µs/row"}, {name: "catch-up without rows", unit: "µs/user"},
		{name: "slow round", unit: "µs/user"}, {name: "on disk", unit: "bytes/row"},
	}
	if _, err := t.measure(ctx, 100); err != nil { // warm
		return nil, err
	}
	for _, n := range b.sizes(10_000, 30_000, 100_000, 300_000) {
		if err := t.fill(ctx, n); err != nil {
			return nil, err
		}
		c, err := t.measure(ctx, 500)
		if err != nil {
			return nil, err
		}
		for i, v := range []float64{c.insert, c.settle, c.purge, c.read, c.round, c.bytes} {
			all[i].flat(fmt.Sprintf("%d rows", n), v)
		}
	}
	var lines []line
	for _, s := range all {
		lines = slices.Concat(lines, s.lines)
	}
	return lines, nil
}
