package main

import (
	"fmt"
	"slices"
	"sort"
	"time"
)

// check compares everything and counts.
func (a *account) check() {
	l := a.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	complain := func(format string, args ...any) { l.wrong = append(l.wrong, fmt.Sprintf(format, args...)) }
	for n, s := range l.sends {
		if s.Op == opRealtime {
			continue
		}
		w, stored := a.rows[n]
		switch {
		case !s.promised && stored:
			a.unknown++
		case !s.promised:
		case !stored:
			complain("LOST: %s %s (%s) to %s returned nil at %s and is not in the database", s.Op, n, s.ID, s.User, clock(s.End))
		case w.id != s.ID || w.user != s.User:
			complain("%s %s was %s for %s, the database has %s for %s", s.Op, n, s.ID, s.User, w.id, w.user)
		}
		if s.promised {
			a.promised++
			a.ops[s.Op]++
		}
		if stored && s.promised {
			a.count(w)
		}
		if s.Op == opTx && stored != a.orders[n] {
			complain("transaction %s is half done: message %v, the caller's own row %v", n, stored, a.orders[n])
		}
	}
	for n, d := range l.doomed {
		a.doomed++
		_, received := l.receipts[n]
		if _, stored := a.rows[n]; stored || a.orders[n] || received {
			complain("message %s (%s) was never committed; stored: %v, received: %v", n, d.ID, stored, received)
		}
	}
	for n, w := range a.rows {
		r, received := l.receipts[n]
		if received {
			a.received++
			a.doubled += r.count - 1
		}
		if l.kind[w.user] == kindOriginal {
			a.originals++
		}
		if w.status == "FINISHED" && !received && !l.inherited[n].untouched {
			complain("message %s (%s) of %s is FINISHED, and no device has received it", n, w.id, w.user)
		}
	}
	for n := range l.receipts {
		if _, stored := a.rows[n]; !stored {
			complain("message %s was received and is not in the database", n)
		}
	}
	a.checkInherited(complain)
	a.checkWaits(complain)
	a.checkSeqs(complain)
}

func (a *account) count(w *row) {
	switch {
	case w.status == "FINISHED":
		a.finished++
	case w.status == "TIMED_OUT":
		a.timedOut++
	default:
		a.unfinished++
	}
}

// checkWaits holds every wait for an answer against the row and the devices.
func (a *account) checkWaits(complain func(string, ...any)) {
	l := a.ledger
	for _, w := range l.waits {
		a.waits++
		a.outcomes[w.Outcome]++
		row := a.rows[w.N]
		if w.Outcome != outAnswer {
			continue
		}
		switch {
		case row == nil:
			complain("LOST: command %s (%s) was answered and is not in the database", w.N, w.ID)
		case !l.answers[w.ID][w.Answer]:
			complain("command %s (%s) returned %s, which no device has answered", w.N, w.ID, w.Answer)
		case row.response != w.Answer:
			complain("command %s (%s) returned %s, the database has %s", w.N, w.ID, w.Answer, row.response)
		}
		if w.Op == opCommand && row != nil {
			a.promised++
			a.count(row)
		}
	}
}

// checkSeqs: no number twice for a user, and what was sent after something had
// returned has a higher number.
func (a *account) checkSeqs(complain func(string, ...any)) {
	taken := map[string]map[int64]*row{}
	for n, w := range a.rows {
		if s := a.ledger.sends[n]; s != nil && s.Op == opOriginal {
			continue // the original does not notice that Redis lost its counters
		}
		if taken[w.user] == nil {
			taken[w.user] = map[int64]*row{}
		}
		if other, ok := taken[w.user][w.seq]; ok {
			complain("seq %d of %s is taken twice: by %s (%s) and %s (%s)", w.seq, w.user, w.n, w.id, other.n, other.id)
		}
		taken[w.user][w.seq] = w
	}
	byUser := map[string][]*send{}
	for n, s := range a.ledger.sends {
		if s.promised && s.calls == 1 && s.Op != opOriginal && s.Op != opInherited && a.rows[n] != nil {
			byUser[s.User] = append(byUser[s.User], s)
		}
	}
	for user, sends := range byUser {
		byStart := slices.Clone(sends)
		sort.Slice(byStart, func(i, j int) bool { return byStart[i].Start < byStart[j].Start })
		sort.Slice(sends, func(i, j int) bool { return sends[i].End < sends[j].End })
		var highest *send
		ended := 0
		for _, s := range byStart {
			for ended < len(sends) && sends[ended].End < s.Start {
				if highest == nil || a.rows[sends[ended].N].seq > a.rows[highest.N].seq {
					highest = sends[ended]
				}
				ended++
			}
			if highest != nil && a.rows[s.N].seq <= a.rows[highest.N].seq {
				complain("seq of %s went back: %s (%s) has %d and began at %s, after %s (%s) with %d had returned at %s", user,
					s.N, s.ID, a.rows[s.N].seq, clock(s.Start), highest.N, highest.ID, a.rows[highest.N].seq, clock(highest.End))
			}
		}
	}
}

func clock(us int64) string { return time.UnixMicro(us).UTC().Format("15:04:05.000") }

// report prints the account and returns the exit code.
func (r *run) report() int {
	a := r.account
	a.check()
	fmt.Printf("\n%-62s %8s %12s\n", "fault", "failed", "full rate")
	for _, f := range r.results {
		after := fmt.Sprintf("%.1f s", f.recovery.Seconds())
		switch {
		case f.timedOut:
			after = "NEVER"
		case f.notRun != "":
			after = "not run"
		}
		fmt.Printf("%-62s %8d %12s\n", f.name, f.failed, after)
	}
	fmt.Printf("\n%d promised = %d finished + %d unfinished + %d timed out", a.promised, a.finished, a.unfinished, a.timedOut)
	fmt.Printf("\n%d received, %d more times than once; %d stored though their send failed; %d never committed, of which none exists",
		a.received, a.doubled, a.unknown, a.doomed)
	fmt.Printf("\n%d waits for answers = %d answered + %d timed out + %d ended by their caller + %d by Close + %d not sent\n", a.waits,
		a.outcomes[outAnswer], a.outcomes[outTimeout], a.outcomes[outCaller], a.outcomes[outClosed], a.outcomes[outError])
	fmt.Printf("of the original SDK: %d from before, %d beside this run; %d messages for users of the original gateway\n",
		a.ops[opInherited], a.ops[opOriginal], a.originals)
	if r.crowded > 0 {
		fmt.Printf("%d of %d faults were beside other programs that took more than half of the machine\n", r.crowded, len(r.results))
	}
	if a.promised != a.finished+a.unfinished+a.timedOut {
		r.ledger.complain("%d promised, but %d finished + %d unfinished + %d timed out", a.promised, a.finished, a.unfinished, a.timedOut)
	}
	if len(r.ledger.wrong) > 0 {
		fmt.Printf("\nchaos: FAILED (seed %d), %d violations in %.0f s:\n", r.opts.seed, len(r.ledger.wrong), time.Since(r.began).Seconds())
		const shown = 50
		for _, text := range r.ledger.wrong[:min(shown, len(r.ledger.wrong))] {
			fmt.Println("  " + text)
		}
		if more := len(r.ledger.wrong) - shown; more > 0 {
			fmt.Printf("  and %d more\n", more)
		}
		return 1
	}
	fmt.Printf("\nchaos: OK (seed %d, %d faults, %.0f s)\n", r.opts.seed, len(r.results), time.Since(r.began).Seconds())
	return 0
}
