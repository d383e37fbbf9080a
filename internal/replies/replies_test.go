package replies

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBroker hands out what Open gave it.
type fakeBroker struct {
	broker.Broker
	deliver   func(broker.Answer)
	reconnect func()
	err       error
}

func (b *fakeBroker) ConsumeReplies(_ context.Context, deliver func(broker.Answer), reconnect func()) (string, error) {
	b.deliver, b.reconnect = deliver, reconnect
	return "queue", b.err
}

// fakeStore counts the looks.
type fakeStore struct {
	store.Store
	mu    sync.Mutex
	rows  map[string]*store.Message
	looks int
	most  int
	err   error
	hang  bool
}

func (s *fakeStore) GetMany(ctx context.Context, ids []string) ([]*store.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	s.most = max(s.most, len(ids))
	if s.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	var found []*store.Message
	for _, id := range ids {
		if row, ok := s.rows[id]; ok {
			found = append(found, row)
		}
	}
	return found, nil
}

func (s *fakeStore) looked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

func (s *fakeStore) set(row *store.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows[row.ID] = row
}

func (s *fakeStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func command(id string, status wire.Status) *store.Message {
	return &store.Message{ID: id, PushType: wire.Command, Status: status}
}

// inBubble runs test with Waiters whose clock is fake.
func inBubble(t *testing.T, test func(t *testing.T, w *Waiters, b *fakeBroker, s *fakeStore)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, s := &fakeBroker{}, &fakeStore{rows: map[string]*store.Message{}}
		metrics, err := telemetry.New(nil)
		require.NoError(t, err)
		w, err := Open(t.Context(), &core.Core{Broker: b, Store: s, Log: slog.New(slog.DiscardHandler), Metrics: metrics})
		require.NoError(t, err)
		test(t, w, b, s)
		w.Close()
	})
}

func add(t *testing.T, w *Waiters, requestID, messageID string) *Waiter {
	t.Helper()
	waiter, err := w.Add(requestID, messageID)
	require.NoError(t, err)
	return waiter
}

func TestAnswerOfTheQueue(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Waiters, b *fakeBroker, s *fakeStore) {
		require.Equal(t, "queue", w.Queue())
		one, two := add(t, w, "r1", "m1"), add(t, w, "r2", "m2")
		body := []byte(`1`)
		b.deliver(broker.Answer{CorrelationID: "r1", Body: body})
		body[0] = '9'
		require.Equal(t, Outcome{Body: json.RawMessage(`1`)}, <-one.C)
		require.Equal(t, 1, w.Waiting())
		b.deliver(broker.Answer{CorrelationID: "r1", Body: []byte(`2`)}) // the second answer
		b.deliver(broker.Answer{CorrelationID: "", Body: []byte(`2`)})
		b.deliver(broker.Answer{CorrelationID: "nobody", Body: []byte(`2`)})
		b.deliver(broker.Answer{CorrelationID: "r2", Body: []byte(`not JSON`)})
		synctest.Wait()
		require.Empty(t, one.C)
		require.Empty(t, two.C)
		w.Remove(two)
		w.Remove(two)
		w.Remove(one)
		b.deliver(broker.Answer{CorrelationID: "r2", Body: []byte(`2`)})
		require.Empty(t, two.C, "a late answer finds nobody")
		require.Zero(t, w.Waiting())
		require.Empty(t, w.byRequest)
		require.Zero(t, s.looked())
	})
}

func TestAnswerOfANodeInThisProcess(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Waiters, _ *fakeBroker, _ *fakeStore) {
		waiter := add(t, w, "r1", "m1")
		require.False(t, w.Answered("another", broker.Answer{CorrelationID: "r1", Body: []byte(`1`)}))
		require.Equal(t, 1, w.Waiting())
		require.True(t, w.Answered("queue", broker.Answer{CorrelationID: "r1", Body: []byte(`2`)}))
		require.Equal(t, Outcome{Body: json.RawMessage(`2`)}, <-waiter.C)
		require.True(t, w.Answered("queue", broker.Answer{CorrelationID: "gone", Body: []byte(`3`)}), "nobody else waits for it")
	})
}

func TestTheDatabaseIsLookedAtSlowly(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Waiters, _ *fakeBroker, s *fakeStore) {
		waiter := add(t, w, "r1", "m1")
		time.Sleep(time.Minute)
		synctest.Wait()
		require.InDelta(t, 30, s.looked(), 5, "the row is not there yet, so it goes on")
		s.set(command("m1", wire.RequestDelivered))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Empty(t, waiter.C)
		row := command("m1", wire.Finished)
		s.set(row)
		began := time.Now()
		require.Equal(t, Outcome{Row: row}, <-waiter.C)
		require.LessOrEqual(t, time.Since(began), slowPoll+slowPoll/8)
		require.Zero(t, w.Waiting())
	})
}

func TestWithoutTheQueueLooksStartFast(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Waiters, _ *fakeBroker, s *fakeStore) {
		s.set(command("m1", wire.Pending))
		one, two := add(t, w, "", "m1"), add(t, w, "", "m1")
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		require.GreaterOrEqual(t, s.looked(), 3)
		time.Sleep(time.Minute)
		synctest.Wait()
		looks := s.looked()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.InDelta(t, 20, s.looked()-looks, 6, "two waiters, each about every second")
		row := command("m1", wire.TimedOut)
		s.set(row)
		began := time.Now()
		require.Equal(t, Outcome{Row: row}, <-one.C)
		require.Equal(t, Outcome{Row: row}, <-two.C)
		require.LessOrEqual(t, time.Since(began), longestPoll+longestPoll/8)
	})
}

func TestRowsThatEndAWait(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Waiters, _ *fakeBroker, s *fakeStore) {
		reliable := &store.Message{ID: "m2", PushType: wire.Reliable, Status: wire.Pending}
		s.set(reliable)
		gone, other := add(t, w, "", "m1"), add(t, w, "", "m2")
		require.ErrorIs(t, (<-gone.C).Err, store.ErrNotFound)
		require.Equal(t, Outcome{Row: reliable}, <-other.C)
	})
}

func TestReconnectLooksAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Waiters, b *fakeBroker, s *fakeStore) {
		waiter := add(t, w, "r1", "m1")
		s.set(command("m1", wire.Finished))
		began := time.Now()
		b.reconnect()
		require.NotNil(t, (<-waiter.C).Row)
		require.Zero(t, time.Since(began))
		b.reconnect() // with nobody there
	})
}

func TestDatabaseThatIsDown(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Waiters, _ *fakeBroker, s *fakeStore) {
		s.set(command("m1", wire.Finished))
		s.fail(errors.New("down"))
		waiter := add(t, w, "", "m1")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Empty(t, waiter.C)
		require.Less(t, s.looked(), 40)
		s.fail(nil)
		require.NotNil(t, (<-waiter.C).Row)
	})
}

func TestManyWaiters(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Waiters, b *fakeBroker, s *fakeStore) {
		const n = 3 * pollAtOnce
		waiters := make([]*Waiter, n)
		for i := range n {
			id := fmt.Sprint(i)
			waiters[i] = add(t, w, "r"+id, "m"+id)
			s.set(command("m"+id, wire.Finished))
		}
		for i := 0; i < n; i += 3 {
			w.Remove(waiters[i])
		}
		for i := 1; i < n; i += 3 {
			b.deliver(broker.Answer{CorrelationID: fmt.Sprint("r", i), Body: []byte(fmt.Sprint(i))})
		}
		b.reconnect()
		for i := range n {
			switch i % 3 {
			case 0:
				require.Empty(t, waiters[i].C)
			case 1:
				require.Equal(t, fmt.Sprint(i), string((<-waiters[i].C).Body))
			default:
				require.Equal(t, fmt.Sprint("m", i), (<-waiters[i].C).Row.ID)
			}
		}
		require.LessOrEqual(t, s.most, pollAtOnce)
		require.Zero(t, w.Waiting())
	})
}

func TestWaitersAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Waiters, _ *fakeBroker, _ *fakeStore) {
		for range maxWaiters {
			add(t, w, "", "m")
		}
		_, err := w.Add("r", "m")
		require.ErrorIs(t, err, ErrFull)
		require.Empty(t, w.byRequest)
	})
}

func TestCloseFailsEveryWait(t *testing.T) {
	inBubble(t, func(t *testing.T, w *Waiters, b *fakeBroker, s *fakeStore) {
		waiters := []*Waiter{add(t, w, "r1", "m1"), add(t, w, "", "m2")}
		s.hang = true
		b.reconnect()
		synctest.Wait() // the look hangs
		w.Close()
		for _, waiter := range waiters {
			require.Equal(t, Outcome{Err: ErrClosed}, <-waiter.C)
			w.Remove(waiter)
		}
		_, err := w.Add("r3", "m3")
		require.ErrorIs(t, err, ErrClosed)
		b.deliver(broker.Answer{CorrelationID: "r1", Body: []byte(`1`)})
		b.reconnect()
		w.Close()
	})
}

func TestOpenFails(t *testing.T) {
	t.Parallel()
	down := errors.New("down")
	_, err := Open(t.Context(), &core.Core{Broker: &fakeBroker{err: down}})
	require.ErrorIs(t, err, down)
}
