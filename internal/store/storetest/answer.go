package storetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

func testAnswer(t *testing.T, open func(t *testing.T) store.Store) {
	run(t, open, "FirstWins", func(b *bench) {
		m := b.command(1, time.Hour)
		b.insert(m)
		at := b.Now().Add(-time.Second)
		require.Equal(b, store.AnswerWon, b.answer(m.ID, `{"ok": true}`, at))
		got := b.get(m.ID)
		require.Equal(b, wire.Finished, got.Status)
		require.JSONEq(b, `{"ok": true}`, string(got.Response))
		for _, set := range []time.Time{got.DeliveringAt, got.RequestDeliveredAt, got.FinishedAt} {
			b.sameTime(at, set)
		}
		require.Equal(b, store.AnswerIgnored, b.answer(m.ID, `{"ok": true}`, at), "not even the same one")
		require.Equal(b, store.AnswerIgnored, b.answer(m.ID, `2`, at))
		require.Equal(b, got, b.get(m.ID))
	})
	run(t, open, "EarlierTimesStay", func(b *bench) {
		m := b.command(1, time.Hour)
		b.insert(m)
		t1 := b.Now().Add(-time.Minute)
		b.settle(m.ID, t1, t1.Add(10*time.Second))
		require.Equal(b, store.AnswerWon, b.answer(m.ID, `1`, t1.Add(20*time.Second)))
		got := b.get(m.ID)
		b.sameTime(t1, got.DeliveringAt)
		b.sameTime(t1.Add(10*time.Second), got.RequestDeliveredAt)
		b.sameTime(t1.Add(20*time.Second), got.FinishedAt)
	})
	run(t, open, "Late", func(b *bench) {
		timedOut, expired := b.command(1, time.Hour), b.command(2, -time.Minute)
		b.insert(timedOut, expired)
		require.NoError(b, b.TimeOut(b.Context(), []string{timedOut.ID}))
		for _, m := range []*store.Message{timedOut, expired} {
			require.Equal(b, store.AnswerLate, b.answer(m.ID, `"late"`, b.Now()))
			require.Equal(b, store.AnswerIgnored, b.answer(m.ID, `"later"`, b.Now()))
			got := b.get(m.ID)
			require.Equal(b, wire.TimedOut, got.Status)
			require.JSONEq(b, `"late"`, string(got.Response))
			require.True(b, got.FinishedAt.IsZero())
		}
	})
	run(t, open, "ArrivedInTimeButWrittenAfter", func(b *bench) {
		m := b.command(1, -10*time.Second)
		b.insert(m)
		require.Equal(b, store.AnswerWon, b.answer(m.ID, `1`, m.ExpiresAt.Add(-5*time.Second)))
	})
	run(t, open, "NoCommandOrGone", func(b *bench) {
		m := b.reliable(1)
		b.insert(m)
		require.Equal(b, store.AnswerIgnored, b.answer(m.ID, `1`, b.Now()))
		require.Equal(b, wire.Pending, b.get(m.ID).Status)
		require.Equal(b, store.AnswerIgnored, b.answer("no such row", `1`, b.Now()))
	})
	run(t, open, "Batch", func(b *bench) {
		var answers []store.Answer
		var want []store.AnswerOutcome
		add := func(m *store.Message, outcome store.AnswerOutcome, response string) {
			answers = append(answers, store.Answer{ID: m.ID, Response: json.RawMessage(response), At: b.Now()})
			want = append(want, outcome)
		}
		for i := range 300 {
			won, late, none := b.command(1, time.Hour), b.command(2, -time.Minute), b.reliable(3)
			b.insert(won, late, none)
			add(won, store.AnswerWon, fmt.Sprintf(`{"n":%d,"text":"%s"}`, i, strings.Repeat("ü", i)))
			add(late, store.AnswerLate, fmt.Sprint(i))
			add(none, store.AnswerIgnored, `0`)
			add(won, store.AnswerIgnored, `"a second one in the same batch"`)
		}
		outcomes, err := b.Answer(b.Context(), answers)
		require.NoError(b, err)
		require.Equal(b, want, outcomes)
		for i, a := range answers {
			if i%37 != 0 || want[i] == store.AnswerIgnored {
				continue
			}
			require.JSONEq(b, string(a.Response), string(b.get(a.ID).Response))
		}
		outcomes, err = b.Answer(b.Context(), nil)
		require.NoError(b, err)
		require.Empty(b, outcomes)
	})
	run(t, open, "RejectedResponse", func(b *bench) {
		one, two := b.command(1, time.Hour), b.command(2, time.Hour)
		b.insert(one, two)
		_, err := b.Answer(b.Context(), []store.Answer{
			{ID: one.ID, Response: json.RawMessage(`1`), At: b.Now()},
			{ID: two.ID, Response: json.RawMessage(`{`), At: b.Now()},
		})
		require.ErrorIs(b, err, store.ErrRejected)
		require.Equal(b, wire.Pending, b.get(one.ID).Status)
	})
	run(t, open, "ConcurrentlyOneWins", func(b *bench) {
		const callers = 12
		var msgs []*store.Message
		for range 10 {
			msgs = append(msgs, b.command(1, time.Hour))
		}
		b.insert(msgs...)
		var won [10]atomic.Int32
		var winner [10]atomic.Value
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				var answers []store.Answer
				for i := range msgs {
					m := msgs[(i+c)%len(msgs)]
					answers = append(answers, store.Answer{ID: m.ID, Response: json.RawMessage(fmt.Sprint(c)), At: b.Now()})
				}
				outcomes, err := b.Answer(b.Context(), answers)
				if err != nil {
					b.Errorf("answer: %v", err)
					return
				}
				for i, o := range outcomes {
					if o == store.AnswerWon {
						won[(i+c)%len(msgs)].Add(1)
						winner[(i+c)%len(msgs)].Store(fmt.Sprint(c))
					}
				}
			})
		}
		wg.Wait()
		for i, m := range msgs {
			require.EqualValues(b, 1, won[i].Load())
			require.Equal(b, winner[i].Load(), string(b.get(m.ID).Response))
		}
	})
	run(t, open, "AgainstTimeOut", func(b *bench) {
		for range 20 {
			m := b.command(1, time.Hour)
			b.insert(m)
			var outcome store.AnswerOutcome
			var wg sync.WaitGroup
			wg.Go(func() {
				outcomes, err := b.Answer(b.Context(), []store.Answer{{ID: m.ID, Response: json.RawMessage(`1`), At: b.Now()}})
				if err != nil {
					b.Errorf("answer: %v", err)
					return
				}
				outcome = outcomes[0]
			})
			wg.Go(func() {
				if err := b.TimeOut(b.Context(), []string{m.ID}); err != nil {
					b.Errorf("time out: %v", err)
				}
			})
			wg.Wait()
			got := b.get(m.ID)
			require.NotNil(b, got.Response)
			if outcome == store.AnswerWon {
				require.Equal(b, wire.Finished, got.Status)
			} else {
				require.Equal(b, store.AnswerLate, outcome)
				require.Equal(b, wire.TimedOut, got.Status)
			}
		}
	})
}
