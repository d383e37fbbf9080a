package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"
)

// ledger keeps what the senders were promised and what the devices received.
type ledger struct {
	kind map[string]string // of each user

	mu       sync.Mutex
	sends    map[string]*send // by nonce
	order    []*send          // by the time of their record
	doomed   map[string]record
	waits    []record
	closes   []record
	floods   []*floodSums
	idle     map[string]bool
	receipts map[string]*receipt        // by nonce
	answers  map[string]map[string]bool // by message id: what devices answered
	// inherited are the rows that were there before this run, by nonce.
	inherited map[string]inherited
	// wrong are violations that were seen as they happened.
	wrong []string
}

// send is what became of one message, in all calls for it.
type send struct {
	record
	promised bool // a call returned nil
	calls    int
}

type receipt struct {
	first int64
	count int
}

func newLedger(users int) *ledger {
	l := &ledger{
		kind: map[string]string{}, sends: map[string]*send{}, doomed: map[string]record{},
		idle: map[string]bool{}, receipts: map[string]*receipt{}, answers: map[string]map[string]bool{}, inherited: map[string]inherited{},
	}
	for i := range users {
		l.kind[userName(i)] = kindOfUser(i)
	}
	for i := range originalUsers {
		l.kind[originalUser(i)] = kindOriginal
	}
	return l
}

// note takes what a process printed.
func (l *ledger) note(r record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch r.Kind {
	case kindSend:
		s, ok := l.sends[r.N]
		if !ok {
			s = &send{}
			l.sends[r.N] = s
			l.order = append(l.order, s)
		}
		if !s.promised {
			s.record, s.promised = r, r.Error == ""
		}
		s.calls++
		l.checkLate(r)
	case kindDoomed:
		l.doomed[r.N] = r
	case kindWait:
		l.waits = append(l.waits, r)
		l.checkLate(r)
		if early := time.Duration(r.Early) * time.Microsecond; early > grace {
			l.wrong = append(l.wrong, fmt.Sprintf("%s %s (%s) to %s timed out %v before its time", r.Op, r.N, r.ID, r.User, early.Round(time.Millisecond)))
		}
	case kindClosed:
		l.closes = append(l.closes, r)
	case kindFlood:
		l.floods = append(l.floods, r.Flood)
	case kindGot:
		l.receive(r.N, r.End)
		if r.Answer != "" {
			l.answer(r.ID, r.Answer)
		}
	case kindIdle:
		l.idle[r.From] = true
	case kindDied:
		l.wrong = append(l.wrong, fmt.Sprintf("%s ended by itself: %s; see its log", r.From, r.Error))
	}
}

// grace is how late a call may return.
const grace = time.Second

func (l *ledger) checkLate(r record) {
	if late := time.Duration(r.Late) * time.Microsecond; late > grace {
		l.wrong = append(l.wrong, fmt.Sprintf("%s %s (%s) to %s returned %v after its deadline: %s %s",
			r.Op, r.N, r.ID, r.User, late.Round(time.Millisecond), r.Outcome, r.Error))
	}
}

// received notes what a device of the user got.
func (l *ledger) received(user string, body []byte, id string, stored bool) {
	var p payload
	err := json.Unmarshal(body, &p)
	now := micros(time.Now())
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil || p.N == "":
		l.wrong = append(l.wrong, fmt.Sprintf("a device of %s received something that nobody sent: %.200q", user, body))
		return
	case p.User != user:
		l.wrong = append(l.wrong, fmt.Sprintf("a device of %s received message %s (%s) of %s", user, p.N, id, p.User))
		return
	case !stored:
		return
	}
	l.receive(p.N, now)
}

func (l *ledger) receive(n string, at int64) {
	r, ok := l.receipts[n]
	if !ok {
		r = &receipt{first: at}
		l.receipts[n] = r
	}
	r.count++
}

// answered notes what a device is about to answer.
func (l *ledger) answered(id, answer string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer(id, answer)
}

func (l *ledger) answer(id, answer string) {
	if l.answers[id] == nil {
		l.answers[id] = map[string]bool{}
	}
	l.answers[id][answer] = true
}

// second is one, in the unit of records.
const second = int64(time.Second / time.Microsecond)

// rate is what the plain sends that began within a span came to: how many were
// done within a second, and which part of those for prompt users arrived within
// another.
func (l *ledger) rate(from time.Time, span time.Duration) (good int, arrived float64) {
	first, last := micros(from), micros(from.Add(span))
	l.mu.Lock()
	defer l.mu.Unlock()
	due, got := 0, 0
	for _, s := range slices.Backward(l.order) {
		if s.End < first {
			break
		}
		if s.Start < first || s.Start >= last || !s.promised || s.Op != opReliable && s.Op != opRetry || s.End-s.Start > second {
			continue
		}
		good++
		if !prompt(l.kind[s.User]) {
			continue
		}
		due++
		if r, ok := l.receipts[s.N]; ok && r.first-s.End < second {
			got++
		}
	}
	if due == 0 {
		return good, 0
	}
	return good, float64(got) / float64(due)
}

// isIdle says whether a process has told that nothing of it waits any more.
func (l *ledger) isIdle(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.idle[name]
}

// failures counts calls that failed and began in this time.
func (l *ledger) failures(from, to time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range slices.Backward(l.order) {
		if s.End < micros(from) {
			break
		}
		if s.Error != "" && s.Start >= micros(from) && s.Start < micros(to) {
			n++
		}
	}
	return n
}
