package seq

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/message-gateway/gateway/internal/bus"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBus is the counters of a Redis that can lose them.
type fakeBus struct {
	bus.Bus
	counters map[string]int64
	epoch    uint64
	calls    int
	before   func(reqs []bus.SeqRequest) error // runs within NextSeqs, before the numbers are drawn
	after    func()                            // and after that
	failing  map[string]error
	leaps    bool // as Redis does; without it numbers are easier to read
}

func newFakeBus() *fakeBus { return &fakeBus{counters: map[string]int64{}, epoch: 1} }

func (b *fakeBus) Epoch() uint64 { return b.epoch }

func (b *fakeBus) NextSeqs(ctx context.Context, reqs []bus.SeqRequest) ([]int64, error) {
	b.calls++
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if b.before != nil {
		if err := b.before(reqs); err != nil {
			return nil, err
		}
	}
	seqs, failed, partial := make([]int64, len(reqs)), make([]error, len(reqs)), false
	for i, r := range reqs {
		if err := b.failing[r.UserID]; err != nil {
			failed[i], partial = err, true
			continue
		}
		if b.leaps && b.counters[r.UserID] <= r.Floor {
			r.Floor += r.Leap
		}
		b.counters[r.UserID] = max(b.counters[r.UserID], r.Floor) + 1
		seqs[i] = b.counters[r.UserID]
	}
	if b.after != nil {
		b.after()
	}
	if partial {
		return seqs, &bus.SeqError{Errs: failed}
	}
	return seqs, nil
}

// lose empties the counters, as seen by a Redis that was restarted.
func (b *fakeBus) lose() {
	clear(b.counters)
	b.epoch++
}

type fakeTable struct {
	taken map[string]int64
	reads int
	err   error
	now   time.Time
}

func (t *fakeTable) Now() time.Time { return t.now }

func (t *fakeTable) MaxSeqs(_ context.Context, users []string) (map[string]int64, error) {
	t.reads++
	if t.err != nil {
		return nil, t.err
	}
	found := map[string]int64{}
	for _, id := range users {
		if n, ok := t.taken[id]; ok {
			found[id] = n
		}
	}
	return found, nil
}

func newTest() (*Allocator, *fakeBus, *fakeTable) {
	b, table := newFakeBus(), &fakeTable{taken: map[string]int64{}}
	return New(b, table), b, table
}

func TestTheTableIsAskedOncePerUser(t *testing.T) {
	t.Parallel()
	a, b, table := newTest()
	for i := range int64(3) {
		seqs, err := a.Next(t.Context(), []string{"x", "y", "x"})
		require.NoError(t, err)
		require.Equal(t, []int64{2*i + 1, i + 1, 2*i + 2}, seqs)
	}
	require.Equal(t, 1, table.reads)
	require.Equal(t, 3, b.calls)
}

func TestCounterBehindTheTableIsLifted(t *testing.T) {
	t.Parallel()
	a, b, table := newTest()
	table.taken = map[string]int64{"x": 41}
	seqs, err := a.Next(t.Context(), []string{"x", "y", "x"})
	require.NoError(t, err)
	require.Equal(t, []int64{42, 1, 43}, seqs)
	require.Equal(t, int64(43), b.counters["x"])
	table.taken["x"] = 43
	seqs, err = a.Next(t.Context(), []string{"x"})
	require.NoError(t, err)
	require.Equal(t, []int64{44}, seqs)
}

func TestCounterThatWentBack(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(*fakeBus){
		"with a sign":    (*fakeBus).lose,
		"without a sign": func(b *fakeBus) { clear(b.counters) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b, table := newTest()
			for range 5 {
				_, err := a.Next(t.Context(), []string{"x"})
				require.NoError(t, err)
			}
			lose(b)
			// None of the five is in the table yet.
			seqs, err := a.Next(t.Context(), []string{"x"})
			require.NoError(t, err)
			require.Greater(t, seqs[0], int64(5))
			require.Equal(t, 2, table.reads)
		})
	}
}

// Another process drew 2 to 9, and then a replica without these took over while
// this one draws: 2 has grown past 1, and is taken all the same.
// The counters are lost twice before anything that was drawn between is in the
// table: the second process must not draw what the first has drawn.
func TestTwoLossesWithinAnInsert(t *testing.T) {
	t.Parallel()
	b, table := newFakeBus(), &fakeTable{taken: map[string]int64{"x": 7}, now: time.Now()}
	b.leaps = true
	one, two := New(b, table), New(b, table)
	first, err := one.Next(t.Context(), []string{"x", "x"})
	require.NoError(t, err)
	require.Greater(t, first[0], int64(7+leap))
	b.lose()
	table.now = table.now.Add(time.Millisecond)
	second, err := two.Next(t.Context(), []string{"x"})
	require.NoError(t, err)
	require.Greater(t, second[0], first[1])
	// The numbers of someone else are above the time: it leaps all the same.
	table.taken["x"] = 1 << 52
	b.lose()
	third, err := one.Next(t.Context(), []string{"x"})
	require.NoError(t, err)
	require.Greater(t, third[0], int64(1<<52+leap))
	require.Less(t, third[0], int64(1<<53), "JavaScript is exact")
}

// A replica that took over and lags is behind what was drawn, but not behind the
// table: what is still on its way there is drawn again by another process, and
// not by the one that drew it.
func TestReplicaThatLags(t *testing.T) {
	t.Parallel()
	b, table := newFakeBus(), &fakeTable{taken: map[string]int64{"x": 7}, now: time.Now()}
	b.leaps, b.counters["x"] = true, 7
	one, two := New(b, table), New(b, table)
	first, err := one.Next(t.Context(), []string{"x", "x"})
	require.NoError(t, err)
	require.Equal(t, []int64{8, 9}, first)
	b.counters["x"] = 7
	b.epoch++
	second, err := two.Next(t.Context(), []string{"x"})
	require.NoError(t, err)
	require.Equal(t, int64(8), second[0])
	b.counters["x"] = 7
	b.epoch++
	third, err := one.Next(t.Context(), []string{"x"})
	require.NoError(t, err)
	require.Greater(t, third[0], int64(9+leap))
}

func TestEpochThatChangesDuringTheDraw(t *testing.T) {
	t.Parallel()
	a, b, table := newTest()
	_, err := a.Next(t.Context(), []string{"x"})
	require.NoError(t, err)
	table.taken["x"] = 9
	b.before = func([]bus.SeqRequest) error { b.before = nil; b.epoch++; return nil }
	seqs, err := a.Next(t.Context(), []string{"x"})
	require.NoError(t, err)
	require.Equal(t, []int64{10}, seqs)
}

// The numbers are from before the change: they must not vouch for the counter
// after it.
func TestEpochThatChangesAfterTheDraw(t *testing.T) {
	t.Parallel()
	a, b, table := newTest()
	b.after = func() { b.after = nil; b.epoch++ }
	seqs, err := a.Next(t.Context(), []string{"x"})
	require.NoError(t, err)
	require.Equal(t, []int64{1}, seqs)
	table.taken["x"], b.counters["x"] = 9, 5
	seqs, err = a.Next(t.Context(), []string{"x"})
	require.NoError(t, err)
	require.Equal(t, []int64{10}, seqs)
}

func TestPartialFailure(t *testing.T) {
	t.Parallel()
	a, b, table := newTest()
	failure := errors.New("WRONGTYPE")
	b.failing = map[string]error{"bad": failure}
	table.taken["x"] = 7
	seqs, err := a.Next(t.Context(), []string{"x", "bad", "y"})
	var partial *bus.SeqError
	require.ErrorAs(t, err, &partial)
	require.ErrorIs(t, err, failure)
	require.Len(t, partial.Errs, 3)
	require.NoError(t, partial.Errs[0])
	require.ErrorIs(t, partial.Errs[1], failure)
	require.NoError(t, partial.Errs[2])
	require.Equal(t, int64(8), seqs[0])
	require.Equal(t, int64(1), seqs[2])
}

// All counters are behind, and of the second draw a part fails: the failures
// must be parallel to the users, and the other numbers there.
func TestPartialFailureOfALift(t *testing.T) {
	t.Parallel()
	a, b, table := newTest()
	failure := errors.New("shard is down")
	table.taken = map[string]int64{"x": 7, "bad": 7}
	b.before = func(reqs []bus.SeqRequest) error {
		if reqs[0].Floor > 0 {
			b.failing = map[string]error{"bad": failure}
		}
		return nil
	}
	seqs, err := a.Next(t.Context(), []string{"bad", "x"})
	var partial *bus.SeqError
	require.ErrorAs(t, err, &partial)
	require.Len(t, partial.Errs, 2)
	require.ErrorIs(t, partial.Errs[0], failure)
	require.NoError(t, partial.Errs[1])
	require.Equal(t, int64(8), seqs[1])
	b.failing, b.before = nil, nil
	seqs, err = a.Next(t.Context(), []string{"bad"})
	require.NoError(t, err)
	require.Equal(t, int64(8), seqs[0], "the number that was behind was not remembered")
}

func TestErrorsOfTheWhole(t *testing.T) {
	t.Parallel()
	a, b, table := newTest()
	down := errors.New("down")
	b.before = func([]bus.SeqRequest) error { return down }
	_, err := a.Next(t.Context(), []string{"x"})
	require.ErrorIs(t, err, down)
	b.before, table.err, table.taken["x"] = nil, down, 9
	_, err = a.Next(t.Context(), []string{"x"})
	require.ErrorIs(t, err, down)
	table.err = nil
	// A lift that fails with a partial error of as many users must not pass for one of Next.
	b.before = func(reqs []bus.SeqRequest) error {
		if reqs[0].Floor > 0 {
			return down
		}
		return nil
	}
	seqs, err := a.Next(t.Context(), []string{"x"})
	require.ErrorIs(t, err, down)
	require.Nil(t, seqs)
	b.before = nil
	seqs, err = a.Next(t.Context(), []string{"x"})
	require.NoError(t, err)
	require.Equal(t, []int64{10}, seqs)
}

func TestNextEndsWithItsContext(t *testing.T) {
	t.Parallel()
	a, b, _ := newTest()
	entered, leave := make(chan struct{}), make(chan struct{})
	b.before = func([]bus.SeqRequest) error { close(entered); <-leave; return nil }
	done := make(chan error, 1)
	go func() {
		_, err := a.Next(context.Background(), []string{"x"})
		done <- err
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := a.Next(ctx, []string{"y"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(leave)
	require.NoError(t, <-done)
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	a, _, table := newTest()
	users := make([]string, 1000)
	for round := range 3 * rememberUsers / len(users) {
		for i := range users {
			users[i] = fmt.Sprint(round, "/", i)
		}
		_, err := a.Next(t.Context(), users)
		require.NoError(t, err)
		require.LessOrEqual(t, len(a.young), rememberUsers)
		require.LessOrEqual(t, len(a.old), rememberUsers)
	}
	reads := table.reads
	_, err := a.Next(t.Context(), []string{users[0]})
	require.NoError(t, err)
	require.Equal(t, reads, table.reads, "the last ones are remembered")
}

// Whatever happens to the counters, with a sign or without, a number is above
// all in the table at that moment and above all that this process drew.
func TestNumbersNeverGoBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a, b, table := newTest()
		drawn := map[string]int64{}
		user := rapid.SampledFrom([]string{"x", "y", "z"})
		event := func(b *fakeBus) {
			switch rapid.IntRange(0, 4).Draw(t, "event") {
			case 0:
				b.lose()
			case 1: // a replica that lags takes over
				id := user.Draw(t, "lags")
				b.counters[id] -= min(b.counters[id], int64(rapid.IntRange(0, 5).Draw(t, "by")))
				b.epoch++
			case 2: // another process draws and stores
				id := user.Draw(t, "other")
				b.counters[id] = max(b.counters[id], table.taken[id], drawn[id]) + 1
				table.taken[id] = max(table.taken[id], b.counters[id])
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"event": func(*rapid.T) { event(b) },
			"down": func(t *rapid.T) {
				table.err = errors.New("down")
				_, _ = a.Next(context.Background(), []string{user.Draw(t, "user")})
				table.err = nil
			},
			"draw": func(t *rapid.T) {
				users := rapid.SliceOfN(user, 1, 5).Draw(t, "users")
				b.before, b.after = nil, nil
				if rapid.Bool().Draw(t, "during") {
					b.before = func([]bus.SeqRequest) error { b.before = nil; event(b); return nil }
				}
				if rapid.Bool().Draw(t, "after") {
					b.after = func() { b.after = nil; b.epoch++ }
				}
				if rapid.Bool().Draw(t, "failing") {
					b.failing = map[string]error{user.Draw(t, "bad"): errors.New("bad")}
				}
				before := map[string]int64{}
				for id, n := range table.taken {
					before[id] = n
				}
				seqs, err := a.Next(context.Background(), users)
				var partial *bus.SeqError
				if err != nil {
					require.ErrorAs(t, err, &partial)
				}
				for i, id := range users {
					if partial != nil && partial.Errs[i] != nil {
						continue
					}
					require.Greater(t, seqs[i], before[id])
					require.Greater(t, seqs[i], drawn[id])
					drawn[id] = seqs[i]
					if rapid.Bool().Draw(t, "stored") {
						table.taken[id] = max(table.taken[id], seqs[i])
					}
				}
				b.failing = nil
			},
		})
	})
}
