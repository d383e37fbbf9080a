package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/message-gateway/gateway"
)

// The orders to a sender.
const (
	orderStop      = "stop"       // send no more, wait for what runs
	orderClose     = "close"      // close the client under whatever runs
	orderDieBefore = "die-before" // die in a transaction right before its commit
	orderDieAfter  = "die-after"  // die right after a commit
	orderClock     = "clock"      // set the clock so many seconds off; nodes know it, too
)

// sendDeadline is what the callers give a send; commands get a timeout of
// their own within waitDeadline.
const (
	sendDeadline = 5 * time.Second
	waitDeadline = 12 * time.Second
)

// sender sends at a steady rate, whatever happens to its sends, and prints what
// became of each of them once that is certain.
type sender struct {
	cfg    procConfig
	client *gateway.Client
	db     *sql.DB
	log    *slog.Logger
	out    *recorder
	pulse  *pulse

	count   atomic.Int64
	running sync.WaitGroup
	ctx     context.Context
}

func runSender(c procConfig, client *gateway.Client, log *slog.Logger, out *recorder) error {
	db, err := openDB(c.MySQL, dbUser)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s := &sender{cfg: c, client: client, db: db, log: log, out: out, pulse: startPulse(), ctx: ctx}
	orders := make(chan string)
	go func() {
		defer close(orders)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			orders <- lines.Text()
		}
	}()
	out.put(record{Kind: kindUp, From: c.Name})
	return s.serve(orders)
}

// serve starts sends in step with the clock and follows orders.
func (s *sender) serve(orders <-chan string) error {
	rng := rand.New(rand.NewPCG(s.cfg.Seed, 1))
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	began, sent := time.Now(), 0
	for {
		select {
		case order, ok := <-orders:
			switch {
			case !ok:
				return errors.New("parent is gone")
			case order == orderDieBefore || order == orderDieAfter:
				s.die(order, s.user(rng))
			case order == orderClose:
				return s.close()
			case takeClockOrder(order):
			case order == orderStop:
				s.running.Wait()
				s.out.put(record{Kind: kindIdle, From: s.cfg.Name})
				return s.close()
			}
		case <-tick.C:
			for due := int(time.Since(began).Seconds() * float64(s.cfg.Rate)); sent < due; sent++ {
				// Drawn here, in order, so that a seed repeats the load.
				op, user, extra := pickOp(rng), s.user(rng), rng.Uint64()
				s.running.Go(func() { s.do(op, user, extra) })
			}
		}
	}
}

func pickOp(rng *rand.Rand) string {
	switch n := rng.IntN(100); {
	case n < 48:
		return opReliable
	case n < 56:
		return opRetry
	case n < 64:
		return opTx
	case n < 68:
		return opBatch
	case n < 86:
		return opCommand
	case n < 90:
		return opNoWait
	default:
		return opRealtime
	}
}

// user draws one; a few are those of the original gateway.
func (s *sender) user(rng *rand.Rand) string {
	i := rng.IntN(s.cfg.Users + originalUsers)
	if i >= s.cfg.Users {
		return originalUser(i - s.cfg.Users)
	}
	return userName(i)
}

func userName(i int) string { return fmt.Sprintf("user-%d", i) }

// next is a payload that no other message has.
func (s *sender) next(user string) payload {
	return payload{User: user, N: fmt.Sprintf("%s.%d", s.cfg.Name, s.count.Add(1))}
}

func (s *sender) do(op, user string, extra uint64) {
	switch op {
	case opCommand, opNoWait:
		s.command(op, user, extra)
	case opTx:
		s.tx(user, extra%8 == 0)
	case opBatch:
		s.batch(user, extra)
	case opRetry:
		s.retry(user)
	case opRealtime:
		s.once(op, user, func(ctx context.Context, p payload) (string, error) {
			return "", s.client.SendRealtime(ctx, user, p)
		})
	default:
		s.once(op, user, func(ctx context.Context, p payload) (string, error) {
			return s.client.SendReliable(ctx, user, p)
		})
	}
}

// once makes one call and says what became of it.
func (s *sender) once(op, user string, send func(context.Context, payload) (string, error)) {
	p := s.next(user)
	began := time.Now()
	ctx, cancel := context.WithDeadline(s.ctx, began.Add(sendDeadline))
	defer cancel()
	id, err := send(ctx, p)
	s.returned(op, id, p, began, began.Add(sendDeadline), err)
}

func (s *sender) returned(op, id string, p payload, began, deadline time.Time, err error) {
	now := time.Now()
	r := record{
		Kind: kindSend, From: s.cfg.Name, Op: op, ID: id, N: p.N, User: p.User, Start: micros(began), End: micros(now),
		Late: s.pulse.late(deadline, now).Microseconds(),
	}
	if err != nil {
		r.Error = err.Error()
	}
	s.out.put(r)
}

// retry does what a careful caller does: the same id again until it is certain.
func (s *sender) retry(user string) {
	p := s.next(user)
	began := time.Now()
	for range 5 {
		start := time.Now()
		ctx, cancel := context.WithDeadline(s.ctx, start.Add(sendDeadline))
		id, err := s.client.SendReliable(ctx, user, p, gateway.WithMessageID(p.N))
		cancel()
		if err == nil {
			s.returned(opRetry, id, p, began, start.Add(sendDeadline), nil)
			return
		}
		s.returned(opRetry, p.N, p, began, start.Add(sendDeadline), err)
		time.Sleep(200 * time.Millisecond)
	}
}

func (s *sender) batch(user string, extra uint64) {
	var out []gateway.Outgoing
	var payloads []payload
	for i := range 3 {
		other := userName(int((extra >> (8 * i)) % uint64(s.cfg.Users)))
		if i == 0 {
			other = user
		}
		p := s.next(other)
		payloads = append(payloads, p)
		out = append(out, gateway.Outgoing{UserID: other, Payload: p})
	}
	began := time.Now()
	ctx, cancel := context.WithDeadline(s.ctx, began.Add(sendDeadline))
	defer cancel()
	ids, err := s.client.SendReliableBatch(ctx, out)
	for i, p := range payloads {
		id := ""
		if err == nil {
			id = ids[i]
		}
		s.returned(opBatch, id, p, began, began.Add(sendDeadline), err)
	}
}

// command sends a command and waits for its answer, in one call or in two.
func (s *sender) command(op, user string, extra uint64) {
	p := s.next(user)
	timeout := 2*time.Second + time.Duration(extra%4000)*time.Millisecond
	began := time.Now()
	deadline := began.Add(timeout)
	ctx, cancel := context.WithDeadline(s.ctx, began.Add(waitDeadline))
	defer cancel()
	options := []gateway.SendOption{gateway.WithTimeout(timeout)}
	if op == opNoWait {
		options = append(options, gateway.NoWait())
	}
	res, err := s.client.SendCommand(ctx, user, "CHAOS", p, options...)
	if op == opNoWait {
		id := ""
		if res != nil {
			id = res.MessageID
		}
		s.returned(op, id, p, began, deadline, err)
		if err != nil {
			return
		}
		// The row says when it expires: within the timeout after the send.
		deadline = time.Now().Add(timeout)
		res, err = s.client.AwaitCommand(ctx, id)
		// Who could not read the row does not know that, and waits for its ctx.
		if res == nil || began.Add(waitDeadline).Before(deadline) {
			deadline = began.Add(waitDeadline)
		}
	}
	now := time.Now()
	r := record{
		Kind: kindWait, From: s.cfg.Name, Op: op, N: p.N, User: user, Start: micros(began), End: micros(now),
		Late: s.pulse.late(deadline, now).Microseconds(), Outcome: outAnswer,
	}
	if res != nil {
		r.ID, r.Answer = res.MessageID, string(res.Response)
	}
	if err != nil {
		r.Error = err.Error()
		switch {
		case errors.Is(err, gateway.ErrClosed):
			r.Outcome = outClosed
		case errors.Is(err, context.DeadlineExceeded):
			r.Outcome = outCaller
		case errors.Is(err, gateway.ErrCommandTimeout):
			r.Outcome, r.Early = outTimeout, max(0, began.Add(timeout).Sub(now).Microseconds())
		default:
			r.Outcome = outError
		}
	}
	s.out.put(r)
}

// tx writes a message and a row of the caller's own in one transaction.
func (s *sender) tx(user string, rollback bool) {
	p := s.next(user)
	began := time.Now()
	ctx, cancel := context.WithDeadline(s.ctx, began.Add(sendDeadline))
	defer cancel()
	if rollback {
		s.out.put(record{Kind: kindDoomed, From: s.cfg.Name, Op: opTx, N: p.N, User: user})
	}
	id := ""
	tx, err := s.begin(ctx, p)
	if err == nil {
		defer func() { _ = tx.Rollback() }()
		id, err = s.client.SendReliableTx(ctx, tx, user, p)
	}
	if rollback {
		return
	}
	deadline := began.Add(sendDeadline)
	if err == nil && time.Now().Before(deadline.Add(grace)) {
		// The library's part is over. Commit is the caller's, and database/sql
		// has no deadline for it.
		deadline = time.Now().Add(time.Hour)
		err = tx.Commit()
	}
	s.returned(opTx, id, p, began, deadline, err)
}

func (s *sender) begin(ctx context.Context, p payload) (*sql.Tx, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (n) VALUES (?)", p.N); err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	return tx, nil
}

// die ends this process right before or right after the commit of a
// transaction with a message in it.
func (s *sender) die(order, user string) {
	p := s.next(user)
	began := time.Now()
	ctx, cancel := context.WithDeadline(s.ctx, began.Add(sendDeadline))
	defer cancel()
	tx, err := s.begin(ctx, p)
	if err != nil {
		s.log.Error("cannot die in a transaction", "error", err)
		return
	}
	id, err := s.client.SendReliableTx(ctx, tx, user, p)
	switch {
	case err != nil:
		s.log.Error("cannot die in a transaction", "error", err)
		_ = tx.Rollback()
		return
	case order == orderDieBefore:
		s.out.put(record{Kind: kindDoomed, From: s.cfg.Name, Op: opTx, ID: id, N: p.N, User: user})
	default:
		if err := tx.Commit(); err != nil {
			s.log.Error("cannot die after a commit", "error", err)
			return
		}
		s.returned(opTx, id, p, began, began.Add(sendDeadline), nil)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // no further
}

// close ends the client; what still waits must end with it.
func (s *sender) close() error {
	began := time.Now()
	err := s.client.Close()
	s.running.Wait()
	r := record{Kind: kindClosed, From: s.cfg.Name, Start: micros(began), End: micros(time.Now())}
	if err != nil {
		r.Error = err.Error()
	}
	s.out.put(r)
	return nil
}

type silent struct{}

func (silent) Print(...any) {}

// openDB opens a pool on the suite's database.
func openDB(addr, user string) (*sql.DB, error) {
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.DBName = "tcp", addr, user, database
	cfg.ParseTime, cfg.Loc = true, time.UTC
	cfg.Timeout, cfg.Logger = 3*time.Second, silent{}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}
