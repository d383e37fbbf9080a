package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// settler takes state writes, one at a time for each token in slow.
type settler struct {
	store.Store
	slow chan struct{}

	mu              sync.Mutex
	err             error
	batches         [][]store.Settlement
	running, atOnce int
}

func (s *settler) Now() time.Time { return time.Now() }

func (s *settler) Settle(ctx context.Context, batch []store.Settlement) error {
	s.mu.Lock()
	err := s.err
	s.running++
	s.atOnce = max(s.atOnce, s.running)
	s.mu.Unlock()
	if s.slow != nil {
		select {
		case <-s.slow:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if err == nil {
		s.batches = append(s.batches, batch)
	}
	return err
}

func (s *settler) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// written is all that was written, by id.
func (s *settler) written() map[string]store.Settlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]store.Settlement{}
	for _, batch := range s.batches {
		for _, x := range batch {
			all[x.ID] = x
		}
	}
	return all
}

func statesOver(t testing.TB, db *settler) *states {
	t.Helper()
	metrics, err := telemetry.New(nil)
	require.NoError(t, err)
	return newStates(&core.Core{Store: db, Metrics: metrics, Log: slog.New(slog.DiscardHandler)})
}

func inStates(t *testing.T, db *settler, test func(t *testing.T, s *states)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := statesOver(t, db)
		defer s.stop()
		test(t, s)
	})
}

func TestStatesThatOthersMakeSuperfluousAreNotWritten(t *testing.T) {
	db := &settler{}
	inStates(t, db, func(t *testing.T, s *states) {
		sent := time.Now()
		s.delivered("answered", sent)
		s.acknowledge("answered", sent, wire.Command, trace.SpanFromContext(t.Context()))
		s.delivered("acked", sent)
		s.acknowledge("acked", sent, wire.Command, trace.SpanFromContext(t.Context()))
		s.delivered("sent", sent)
		time.Sleep(holdState / 2)
		s.finished("answered")
		require.Empty(t, db.written())
		time.Sleep(holdState)
		synctest.Wait()
		require.Equal(t, map[string]store.Settlement{
			"acked": {ID: "acked", DeliveredAt: sent, AcknowledgedAt: sent}, "sent": {ID: "sent", DeliveredAt: sent},
		}, db.written())
		time.Sleep(time.Second)
		s.acknowledge("sent", sent, wire.Reliable, trace.SpanFromContext(t.Context()))
		synctest.Wait()
		require.False(t, db.written()["sent"].AcknowledgedAt.IsZero(), "an acknowledgement is written at once")
		require.Len(t, db.written(), 2)
	})
}

func TestStatesAreWrittenAgainAfterAFailure(t *testing.T) {
	db := &settler{err: errors.New("down")}
	inStates(t, db, func(t *testing.T, s *states) {
		for i := range 2*stateBatch + 1 {
			s.acknowledge(fmt.Sprint(i), time.Now(), wire.Reliable, trace.SpanFromContext(t.Context()))
		}
		synctest.Wait()
		require.Empty(t, db.written())
		db.fail(nil)
		s.drain(t.Context())
		require.Len(t, db.written(), 2*stateBatch+1)
	})
}

func TestWholeBatchesAreWrittenAtTheSameTime(t *testing.T) {
	db := &settler{}
	inStates(t, db, func(t *testing.T, s *states) {
		db.slow = make(chan struct{}) // it belongs to the bubble
		s.acknowledge("first", time.Now(), wire.Reliable, trace.SpanFromContext(t.Context()))
		synctest.Wait()
		for i := range stateBatch - 1 {
			s.acknowledge(fmt.Sprint(i), time.Now(), wire.Reliable, trace.SpanFromContext(t.Context()))
		}
		synctest.Wait()
		require.Equal(t, 1, db.atOnce, "less than a batch waits for the first one")
		for i := range 10 * stateBatch {
			s.acknowledge(fmt.Sprint("more", i), time.Now(), wire.Reliable, trace.SpanFromContext(t.Context()))
		}
		synctest.Wait()
		require.Equal(t, stateWriters, db.atOnce)
		close(db.slow)
		s.drain(t.Context())
		require.Len(t, db.written(), 11*stateBatch)
	})
}

func BenchmarkAcknowledge(b *testing.B) {
	s := statesOver(b, &settler{})
	defer s.stop()
	at := time.Now()
	ids := make([]string, 1<<12)
	for i := range ids {
		ids[i] = fmt.Sprint("message ", i)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		id := ids[i%len(ids)]
		s.delivered(id, at)
		s.acknowledge(id, at, wire.Reliable, trace.SpanFromContext(context.Background()))
		i++
	}
}
