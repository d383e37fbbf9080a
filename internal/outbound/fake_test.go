package outbound

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBackend is bus, store and broker in one, which can be made to fail and
// to hang.
type fakeBackend struct {
	bus.Bus
	store.Store
	broker.Broker

	mu        sync.Mutex
	seq       int64
	failing   map[string]error                  // draws of these users fail
	insert    func(msgs []*store.Message) []int // the duplicates
	maxSeqs   func()                            // before the table answers
	draw      func()                            // before numbers are drawn
	reject    map[string]bool                   // rows with these ids are rejected
	failure   error                             // of each insert
	hang      bool                              // inserts end with their ctx
	publish   func(ctx context.Context) error   // before the hints go out
	sending   func(pubs []bus.Publication)      // before anything goes out
	receivers int64                             // of each hint
	notify    func(broker.Notification) error   // instead of the broker
	published []string                          // channels
	noticed   []broker.Notification             // confirmed
	inserted  []string                          // ids
}

// InsertSize takes all that waits.
func (f *fakeBackend) InsertSize(waiting int) int { return waiting }

// Close and Ping are those of all three.
func (f *fakeBackend) Close() error { return nil }

func (f *fakeBackend) Ping(context.Context) error { return nil }

func (f *fakeBackend) Epoch() uint64 { return 1 }

func (f *fakeBackend) Now() time.Time { return time.Now() }

func (f *fakeBackend) NextSeqs(_ context.Context, reqs []bus.SeqRequest) ([]int64, error) {
	if f.draw != nil {
		f.draw()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	seqs, failed := make([]int64, len(reqs)), make([]error, len(reqs))
	var partial error
	for i, r := range reqs {
		if failed[i] = f.failing[r.UserID]; failed[i] != nil {
			partial = &bus.SeqError{Errs: failed}
			continue
		}
		f.seq++
		seqs[i] = f.seq
	}
	return seqs, partial
}

func (f *fakeBackend) MaxSeqs(context.Context, []string) (map[string]int64, error) {
	if f.maxSeqs != nil {
		f.maxSeqs()
	}
	return nil, nil
}

func (f *fakeBackend) Insert(ctx context.Context, msgs []*store.Message) ([]int, error) {
	if f.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	f.mu.Lock()
	insert, failure := f.insert, f.failure
	f.mu.Unlock()
	if failure != nil {
		return nil, failure
	}
	for _, msg := range msgs {
		if f.reject[msg.ID] {
			return nil, fmt.Errorf("%w: %s", store.ErrRejected, msg.ID)
		}
	}
	var duplicates []int
	if insert != nil {
		duplicates = insert(msgs)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, msg := range msgs {
		f.inserted = append(f.inserted, msg.ID)
	}
	return duplicates, nil
}

func (f *fakeBackend) Publish(ctx context.Context, pubs []bus.Publication) ([]int64, error) {
	if f.sending != nil {
		f.sending(pubs)
	}
	if f.publish != nil {
		if err := f.publish(ctx); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	receivers := make([]int64, len(pubs))
	for i, pub := range pubs {
		f.published = append(f.published, pub.Channel)
		receivers[i] = f.receivers
	}
	return receivers, nil
}

func (f *fakeBackend) Notify(_ context.Context, n broker.Notification) error {
	if f.notify != nil {
		if err := f.notify(n); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noticed = append(f.noticed, n)
	return nil
}

func newCore(t testing.TB, f *fakeBackend) *core.Core {
	t.Helper()
	metrics, err := telemetry.New(nil)
	require.NoError(t, err)
	return &core.Core{
		Bus: f, Store: f, Broker: f, Metrics: metrics, Log: slog.New(slog.DiscardHandler),
		BusName: "redis at r:1", StoreName: "mysql at m:1", BrokerName: "rabbitmq at q:1",
	}
}

func message(id, userID string) *store.Message {
	return &store.Message{ID: id, UserID: userID, PushType: wire.Reliable, Payload: []byte(`1`)}
}

func newCommitter(t testing.TB, f *fakeBackend) (*Committer, *Hinter) {
	t.Helper()
	c := newCore(t, f)
	h := NewHinter(c)
	k := NewCommitter(c, h)
	t.Cleanup(func() {
		k.Close(time.Minute)
		h.Close(time.Minute)
	})
	return k, h
}
