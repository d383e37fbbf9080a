package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// account is the comparison of what was promised, received and stored.
type account struct {
	ledger *ledger
	rows   map[string]*row // by nonce
	orders map[string]bool

	promised, finished, unfinished, timedOut int
	unknown, doomed                          int
	received, doubled, waits, originals      int
	ops                                      map[string]int // of what was promised
	outcomes                                 map[string]int // of the waits
}

// row is a message in the table.
type row struct {
	id, user, status, response string
	kind                       int
	seq                        int64
	n                          string
	expired                    bool
}

func (w *row) over() bool { return w.status == "FINISHED" || w.status == "TIMED_OUT" }

const typeCommand = 2

func newAccount(l *ledger) *account {
	return &account{ledger: l, ops: map[string]int{}, outcomes: map[string]int{}}
}

// calmTime bounds how long it takes until all that was stored is delivered.
const calmTime = 45 * time.Second

// wait waits until everything that can end has ended, and leaves the rows.
func (a *account) wait(ctx context.Context, db *sql.DB) error {
	for began := sampleLoad(); ; {
		if err := a.read(ctx, db); err != nil {
			return err
		}
		open := a.open()
		if len(open) == 0 {
			return nil
		}
		if began.over(calmTime) {
			for _, text := range open {
				a.ledger.complain("%s", text)
			}
			return nil
		}
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

// open lists what is not where it has to be in the end.
func (a *account) open() []string {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	var open []string
	for n, w := range a.rows {
		_, received := a.ledger.receipts[n]
		kind, known := a.ledger.kind[w.user]
		switch {
		case !known || w.over() || a.ledger.inherited[n].untouched:
		case kind == kindNever && w.kind != typeCommand && received:
		case w.kind == typeCommand:
			open = append(open, fmt.Sprintf("command %s (%s) of %s (%s) is still %s, expired: %v", n, w.id, w.user, kind, w.status, w.expired))
		default:
			open = append(open, fmt.Sprintf("message %s (%s) of %s (%s) is still %s, received: %v", n, w.id, w.user, kind, w.status, received))
		}
	}
	return open
}

func (a *account) read(ctx context.Context, db *sql.DB) error {
	a.rows, a.orders = map[string]*row{}, map[string]bool{}
	rows, err := db.QueryContext(ctx, `SELECT id, target_user_id, push_type, IFNULL(seq, 0), status, payload,
		IFNULL(command_response, ''), IFNULL(expired_at < UTC_TIMESTAMP(6), 0) FROM push_messages WHERE target_user_id NOT LIKE 'flood-%'`)
	if err != nil {
		return fmt.Errorf("account: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var w row
		var body string
		if err := rows.Scan(&w.id, &w.user, &w.kind, &w.seq, &w.status, &body, &w.response, &w.expired); err != nil {
			return fmt.Errorf("account: %w", err)
		}
		var p struct {
			payload
			Data payload `json:"data"`
		}
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			return fmt.Errorf("account: payload of %s: %w", w.id, err)
		}
		w.n = p.N + p.Data.N
		if other, ok := a.rows[w.n]; ok {
			a.ledger.complain("message %s is stored twice: %s and %s", w.n, other.id, w.id)
		}
		a.rows[w.n] = &w
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("account: %w", err)
	}
	own, err := db.QueryContext(ctx, "SELECT n FROM orders")
	if err != nil {
		return fmt.Errorf("account: %w", err)
	}
	defer func() { _ = own.Close() }()
	for own.Next() {
		var n string
		if err := own.Scan(&n); err != nil {
			return fmt.Errorf("account: %w", err)
		}
		a.orders[n] = true
	}
	return own.Err()
}

// checkFlood accounts for a flood and returns what to print of it. What its
// callers were told, and when, is judged only where they had half of the machine
// at least: with less they hardly run when their deadlines pass.
func (r *run) checkFlood(ctx context.Context, name string, others float64) string {
	r.ledger.mu.Lock()
	var f *floodSums
	if n := len(r.ledger.floods); n > 0 {
		f = r.ledger.floods[n-1]
	}
	r.ledger.mu.Unlock()
	if f == nil {
		r.ledger.complain("flood: it ended without its sums")
		return "no sums"
	}
	var stored int64
	if err := r.root.QueryRowContext(ctx, "SELECT COUNT(*) FROM push_messages WHERE sender_id = ?", name).Scan(&stored); err != nil {
		r.ledger.complain("flood: %v", err)
	}
	if stored < f.OK || stored > f.OK+f.Failed {
		r.ledger.complain("flood: %d sends returned nil and %d failed, but %d are stored", f.OK, f.Failed, stored)
	}
	if f.Heap > floodHeap {
		r.ledger.complain("flood: the heap grew to %d MB, the bound is %d MB", f.Heap>>20, floodHeap>>20)
	}
	judged := ""
	if others > 0.5 {
		judged = "; NOT JUDGED: what the errors name, and when they came"
	}
	// Who gives up in the moment in which numbers are drawn waits for Redis.
	if f.Unnamed > f.Failed/100 && judged == "" {
		r.ledger.complain("flood: %d errors do not name what is down, such as: %s", f.Unnamed, f.Sample)
	}
	if f.HeapAfter > floodRest {
		r.ledger.complain("flood: the heap holds %d MB when all is over, the bound is %d MB", f.HeapAfter>>20, floodRest>>20)
	}
	if f.LateMS > grace.Milliseconds() && judged == "" {
		r.ledger.complain("flood: a send returned %d ms after its deadline", f.LateMS)
	}
	return fmt.Sprintf("%d sends: %d stored, %d overloaded, %d failed; heap %d MB at most, %d MB after; drained in %.1f s, closed in %.1f s%s",
		f.Sent, f.OK, f.Overloaded, f.Failed, f.Heap>>20, f.HeapAfter>>20, float64(f.DrainMS)/1000, float64(f.CloseMS)/1000, judged)
}
