package outbound

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/batch"
	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// The flush goes on after its caller has left, and finds a duplicate then.
func TestCallerThatLeavesDuringTheFlush(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	f := &fakeBackend{insert: func(msgs []*store.Message) []int {
		close(entered)
		<-leave
		return []int{0}
	}}
	k, _ := newCommitter(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		duplicate, err := k.Commit(ctx, message("a", "u"))
		assert.False(t, duplicate)
		done <- err
	}()
	<-entered
	cancel()
	err := <-done
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "mysql at m:1")
	require.ErrorContains(t, err, "may or may not be stored")
	close(leave)
}

// A flush that ends with its callers may notice that a moment before them.
func TestFlushThatEndsBeforeItsCallers(t *testing.T) {
	t.Parallel()
	k, _ := newCommitter(t, &fakeBackend{failure: fmt.Errorf("insert: %w", context.DeadlineExceeded)})
	ctx, cancel := context.WithTimeout(t.Context(), flushTimeout/2)
	defer cancel()
	_, err := k.Commit(ctx, message("a", "x"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "mysql at m:1; the message may or may not be stored")
}

// Whoever waits behind others learns which server those wait for.
func TestQueuedCallersLearnWhatIsDown(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	inserting := &fakeBackend{insert: func([]*store.Message) []int {
		<-hang
		return nil
	}}
	looking := &fakeBackend{maxSeqs: func() { <-hang }}
	committers := map[string]*Committer{}
	committers["insert"], _ = newCommitter(t, inserting)
	committers["compare the counter"], _ = newCommitter(t, looking)
	t.Cleanup(func() { close(hang) }) // before they are closed
	for name, k := range committers {
		var wg sync.WaitGroup
		errs := make([]error, 4*commitParallel)
		for i := range errs {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				_, errs[i] = k.Commit(ctx, message(fmt.Sprint(i), "u"))
			})
		}
		wg.Wait()
		for _, err := range errs {
			require.ErrorIs(t, err, context.DeadlineExceeded, name)
			require.ErrorContains(t, err, "mysql at m:1", name)
			require.NotContains(t, err.Error(), "redis", name)
		}
	}
}

// Whoever has waited behind a server that hangs, and has no time left when the
// turn comes, does not blame the server that is asked first.
func TestLateTurnBlamesWhatItWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, late := make(chan struct{}), make(chan struct{})
		var hung atomic.Bool
		k, _ := newCommitter(t, &fakeBackend{
			insert: func([]*store.Message) []int { <-hang; return nil },
			draw: func() {
				if hung.Load() {
					<-late
				}
			},
		})
		for i := range commitParallel {
			go func() { _, _ = k.Commit(t.Context(), message(fmt.Sprint("first", i), "u")) }()
			synctest.Wait() // each in a batch of its own
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := k.Commit(ctx, message("behind", "u"))
			done <- err
		}()
		time.Sleep(4 * time.Second)
		hung.Store(true)
		close(hang)
		synctest.Wait() // its turn has come, and Redis does not answer
		cancel()
		err := <-done
		close(late)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "mysql at m:1")
		require.NotContains(t, err.Error(), "redis")
	})
}

// It is not blamed either by those who come behind one that had no time left.
func TestBlameIsHandedOn(t *testing.T) {
	t.Parallel()
	table, counters := "mysql", "redis"
	began := time.Now()
	late := &taken{at: began, behind: &table}
	require.Equal(t, &table, late.blame(began.Add(-time.Hour), &counters))
	require.Equal(t, &counters, late.blame(began, &counters), "it was not long in the queue")
	require.Equal(t, &counters, (&taken{at: began}).blame(began.Add(-time.Hour), &counters), "nothing has ended before it")
	require.Equal(t, &counters, (*taken)(nil).blame(began, &counters), "it is in the queue")
}

func TestOneBadMessageDoesNotSpoilTheOthers(t *testing.T) {
	t.Parallel()
	f := &fakeBackend{reject: map[string]bool{"bad": true}, failing: map[string]error{"broken": errors.New("WRONGTYPE")}}
	k, _ := newCommitter(t, f)
	hold := make(chan struct{})
	first := make(chan struct{}, commitParallel)
	f.insert = func([]*store.Message) []int { first <- struct{}{}; <-hold; return nil }
	var wg sync.WaitGroup
	for i := range commitParallel { // so that what follows goes together
		wg.Go(func() {
			_, err := k.Commit(t.Context(), message(fmt.Sprint("first", i), "u"))
			assert.NoError(t, err)
		})
		<-first
	}
	f.mu.Lock()
	f.insert = nil
	f.mu.Unlock()
	errs := make([]error, 6)
	for i, msg := range []*store.Message{
		message("1", "u"), message("bad", "u"), message("2", "broken"), message("3", "v"), message("4", "broken"), message("5", "u"),
	} {
		wg.Go(func() { _, errs[i] = k.Commit(t.Context(), msg) })
	}
	require.Eventually(t, func() bool { return k.group.Waiting() == 6 }, 10*time.Second, time.Millisecond)
	close(hold)
	wg.Wait()
	for _, i := range []int{0, 3, 5} {
		require.NoError(t, errs[i])
	}
	require.ErrorIs(t, errs[1], store.ErrRejected)
	for _, i := range []int{2, 4} {
		require.ErrorContains(t, errs[i], "redis at r:1")
		require.ErrorContains(t, errs[i], "WRONGTYPE")
	}
	require.ElementsMatch(t, []string{"first0", "first1", "first2", "first3", "1", "3", "5"}, f.inserted)
}

func TestCloseWaitsForHintsOnTheirWay(t *testing.T) {
	t.Parallel()
	publishing, release := make(chan struct{}), make(chan struct{})
	notifying := make(chan struct{})
	f := &fakeBackend{}
	f.publish = func(ctx context.Context) error {
		close(publishing)
		<-release
		return ctx.Err()
	}
	f.notify = func(broker.Notification) error { close(notifying); <-release; return nil }
	h := NewHinter(newCore(t, f))
	h.Tell(message("a", "u"))
	<-publishing
	closed := make(chan struct{})
	go func() { h.Close(time.Minute); close(closed) }()
	release <- struct{}{}
	select {
	case <-notifying:
	case <-time.After(20 * time.Second):
		t.Fatal("the notification was given up")
	}
	select {
	case <-closed:
		t.Fatal("closed before the notification was out")
	default:
	}
	release <- struct{}{}
	<-closed
	require.Equal(t, []string{"deliver:user:u"}, f.published)
	require.Equal(t, []broker.Notification{{MessageID: "a"}}, f.noticed)
	h.Tell(message("b", "u"))
	require.Empty(t, h.queue, "nothing is taken after Close")
}

func TestCloseOfTheHinterIsBounded(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	f := &fakeBackend{publish: func(ctx context.Context) error { <-ctx.Done(); close(release); return ctx.Err() }}
	h := NewHinter(newCore(t, f))
	h.Tell(message("a", "u"))
	began := time.Now()
	h.Close(50 * time.Millisecond)
	<-release
	require.Less(t, time.Since(began), 4*time.Second)
}

func TestNotificationOnlyWhereNobodyWasReached(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		receivers int64
		err       error
		want      int
	}{
		"reached": {1, nil, 0}, "nobody": {0, nil, 1}, "unknown": {-1, nil, 1}, "bus down": {0, errors.New("down"), 1},
	} {
		f := &fakeBackend{receivers: c.receivers, publish: func(context.Context) error { return c.err }}
		h := NewHinter(newCore(t, f))
		msg := message("a", "u")
		msg.PushType, msg.RequestID, msg.ResponseQueue = wire.Command, "r", "q"
		msg.Payload = []byte(`{"type":"T","data":1}`)
		h.Tell(msg)
		h.Close(time.Minute)
		require.Len(t, f.noticed, c.want, name)
		if c.want > 0 {
			require.Equal(t, broker.Notification{MessageID: "a", ReplyTo: "q", CorrelationID: "r"}, f.noticed[0], name)
		}
	}
}

func TestAMessageThatCannotBeEncodedDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	f := &fakeBackend{receivers: 1}
	h := NewHinter(newCore(t, f))
	bad := message("bad", "u")
	bad.Payload = []byte(`not JSON`)
	h.Tell(bad)
	h.Tell(message("good", "v"))
	h.Close(time.Minute)
	require.Equal(t, []string{"deliver:user:v"}, f.published)
}

// TestPublisherKeepsACopy: what is on its way does not change with the caller's
// buffer, nor with later messages, also when the caller has given up.
func TestPublisherKeepsACopy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var mu sync.Mutex
		var sent []string
		f := &fakeBackend{sending: func(pubs []bus.Publication) {
			<-release // whatever becomes of the callers
			mu.Lock()
			defer mu.Unlock()
			for _, pub := range pubs {
				sent = append(sent, string(pub.Payload))
			}
		}}
		p := NewPublisher(newCore(t, f))
		defer p.Close(time.Minute)
		var callers sync.WaitGroup
		publish := func(text string) {
			callers.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				payload := []byte(text)
				_ = p.Publish(ctx, bus.Publication{Channel: "c", Payload: payload})
				copy(payload, "changed")
			})
			synctest.Wait()
		}
		publish("the caller sends it") // by itself
		publish("a flush sends it")
		time.Sleep(2 * time.Second)
		for i := range 10 {
			publish(fmt.Sprintf("it waits, message %d", i))
			time.Sleep(2 * time.Second)
		}
		close(release)
		callers.Wait()
		synctest.Wait() // for the flush, whose caller is gone
		mu.Lock()
		defer mu.Unlock()
		require.ElementsMatch(t, []string{"the caller sends it", "a flush sends it"}, sent)
	})
}

func TestPublisherSaysWhatItWaitedFor(t *testing.T) {
	t.Parallel()
	f := &fakeBackend{publish: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
	p := NewPublisher(newCore(t, f))
	defer p.Close(time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := p.Publish(ctx, bus.Publication{Channel: "c"})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	// The flush, whose deadline it is too, may be the first to end.
	if ctx.Err() != nil {
		require.ErrorContains(t, err, "redis at r:1")
	}
}

// A caller whose ctx goes on is told that the server did not answer, and that the
// message may be stored.
func TestServerThatHangsLongerThanACommitMay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k, _ := newCommitter(t, &fakeBackend{hang: true})
		_, err := k.Commit(t.Context(), message("a", "user"))
		require.ErrorIs(t, err, batch.ErrTimeout)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, "may or may not be stored")
	})
}
