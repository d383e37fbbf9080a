package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sound is an account of a message that was sent, received and acknowledged,
// and of a command that was answered.
func sound() *account {
	l := newLedger(len(kinds))
	l.note(record{Kind: kindSend, Op: opReliable, ID: "id-1", N: "n-1", User: "user-0", Start: 10, End: 20})
	l.note(record{Kind: kindSend, Op: opReliable, ID: "id-2", N: "n-2", User: "user-0", Start: 30, End: 40})
	l.note(record{Kind: kindWait, Op: opCommand, ID: "id-3", N: "n-3", User: "user-1", Outcome: outAnswer, Answer: `"a"`})
	l.note(record{Kind: kindDoomed, Op: opTx, N: "n-4", User: "user-0"})
	for n, user := range map[string]string{"n-1": "user-0", "n-2": "user-0", "n-3": "user-1"} {
		l.received(user, []byte(`{"u":"`+user+`","n":"`+n+`"}`), "id", true)
	}
	l.answered("id-3", `"a"`)
	a := newAccount(l)
	a.orders = map[string]bool{}
	a.rows = map[string]*row{
		"n-1": {id: "id-1", n: "n-1", user: "user-0", kind: 1, seq: 1, status: "FINISHED"},
		"n-2": {id: "id-2", n: "n-2", user: "user-0", kind: 1, seq: 2, status: "FINISHED"},
		"n-3": {id: "id-3", n: "n-3", user: "user-1", kind: typeCommand, seq: 1, status: "FINISHED", response: `"a"`},
	}
	return a
}

func TestASoundAccountHasNoComplaint(t *testing.T) {
	t.Parallel()
	a := sound()
	a.check()
	require.Empty(t, a.ledger.wrong)
	require.Empty(t, a.open())
	require.Equal(t, []int{3, 3, 0, 0}, []int{a.promised, a.finished, a.unfinished, a.timedOut})
}

// Every violation that a run can have is seen.
func TestAccountComplains(t *testing.T) {
	t.Parallel()
	for want, spoil := range map[string]func(a *account){
		"LOST: reliable n-1":             func(a *account) { delete(a.rows, "n-1"); delete(a.ledger.receipts, "n-1") },
		"LOST: command n-3":              func(a *account) { delete(a.rows, "n-3") },
		"the database has id-9":          func(a *account) { a.rows["n-1"].id = "id-9" },
		"FINISHED, and no device":        func(a *account) { delete(a.ledger.receipts, "n-2") },
		"received and is not in":         func(a *account) { a.ledger.receipts["n-9"] = &receipt{count: 1} },
		"seq 2 of user-0 is taken twice": func(a *account) { a.rows["n-1"].seq = 2 },
		"seq of user-0 went back":        func(a *account) { a.rows["n-1"].seq = 3 },
		"was never committed; stored":    func(a *account) { a.orders["n-4"] = true },
		"which no device has answered":   func(a *account) { delete(a.ledger.answers, "id-3") },
		`the database has "b"`:           func(a *account) { a.rows["n-3"].response = `"b"` },
		"message n-1 (id-1) of user-0":   func(a *account) { a.rows["n-1"].status = "DELIVERING"; complainOpen(a) },
		"command n-3 (id-3) of user-1":   func(a *account) { a.rows["n-3"].status = "REQUEST_DELIVERED"; complainOpen(a) },
		"received message n-1 (id) of":   func(a *account) { a.ledger.received("user-5", []byte(`{"u":"user-0","n":"n-1"}`), "id", true) },
		"received something that nobody": func(a *account) { a.ledger.received("user-5", []byte(`"?"`), "", false) },
		"returned 2s after its deadline": func(a *account) { a.ledger.note(record{Kind: kindSend, Op: opRealtime, N: "n-8", Late: 2 * second}) },
		"transaction n-7 is half done":   func(a *account) { halfTransaction(a) },
		"timed out 2s before its time": func(a *account) {
			a.ledger.note(record{Kind: kindWait, Op: opCommand, N: "n-8", Outcome: outTimeout, Early: 2 * second})
		},
		"n-1 (id-1) of user-0 was over": func(a *account) {
			a.ledger.inherit("n-1", inherited{id: "id-1", user: "user-0", untouched: true, status: "FINISHED"})
		},
		"TIMED_OUT; it is FINISHED now": func(a *account) { touched(a) },
		"LOST: original n-9 (id-9)": func(a *account) {
			a.ledger.note(record{Kind: kindSend, Op: opOriginal, ID: "id-9", N: "n-9", User: "user-0"})
		},
		"LOST: inherited n-9 (id-9)": func(a *account) {
			a.ledger.note(record{Kind: kindSend, Op: opInherited, ID: "id-9", N: "n-9", User: "user-0"})
		},
		"received and is not in the":       func(a *account) { a.ledger.note(record{Kind: kindGot, ID: "id-9", N: "n-9"}) },
		"message n-5 (id-5) of original-0": func(a *account) { unseen(a) },
		"sender-a1 ended by itself: panic": func(a *account) { a.ledger.note(record{Kind: kindDied, From: "sender-a1", Error: "panic"}) },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			a := sound()
			spoil(a)
			a.check()
			require.Contains(t, strings.Join(a.ledger.wrong, "\n"), want)
		})
	}
}

func complainOpen(a *account) {
	for _, text := range a.open() {
		a.ledger.complain("%s", text)
	}
}

func halfTransaction(a *account) {
	a.ledger.note(record{Kind: kindSend, Op: opTx, ID: "id-7", N: "n-7", User: "user-0", Error: "no answer"})
	a.orders["n-7"] = true
}

// touched is a row that was over before the run, and changed.
func touched(a *account) {
	delete(a.ledger.receipts, "n-1")
	a.ledger.inherit("n-1", inherited{id: "id-1", user: "user-0", untouched: true, status: "TIMED_OUT"})
}

// unseen is a row for a user of the original gateway, which finds it too late.
func unseen(a *account) {
	a.rows["n-5"] = &row{id: "id-5", n: "n-5", user: originalUser(0), kind: 1, seq: 1, status: "PENDING"}
	complainOpen(a)
}

// A seed decides the schedule, and nothing else does.
func TestScheduleIsDecidedByTheSeed(t *testing.T) {
	t.Parallel()
	schedule := func(o options) (all []string) {
		for n := 1; n <= 3; n++ {
			for _, f := range roundOf(o, n) {
				all = append(all, f.String())
			}
		}
		return all
	}
	short := options{seed: 7, duration: time.Minute}
	first, again := schedule(short), schedule(short)
	require.Equal(t, first, again)
	require.NotEqual(t, first, schedule(options{seed: 8, duration: time.Minute}))
	require.NotEqual(t, first, schedule(options{seed: 7, duration: longRun}), "a long run has longer faults")
	one := roundOf(short, 1)
	for _, want := range []string{
		"kill -9 redis", "kill -9 mysql", "kill -9 rabbitmq", " and ", "SIGSTOP redis", "SIGSTOP mysql", "SIGSTOP rabbitmq", "SIGSTOP node", "cut links", "slow links",
		"half-open links", "deaf links", "reset links", "links of devices", "kill -9 node", "restart node", "kill -9 sender", "die-before", "die-after", "close",
		"FLUSHALL", "read-only", "full disk", "rolling restart", "during", "more sends/s",
	} {
		require.True(t, slices.ContainsFunc(one, func(f fault) bool { return strings.Contains(f.name, want) }), "every round has %s", want)
	}
}
