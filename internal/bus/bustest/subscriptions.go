package bustest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
)

// tick is the pace of questions that have no event to wait for.
const tick = 2 * time.Millisecond

func subscribeTwiceIsOne(t *testing.T, f *fixture) {
	c := f.name("twice")
	in := listen(t, f.a)
	require.NoError(t, in.Subscribe(f.ctx, true, c, c))
	require.NoError(t, in.Subscribe(f.ctx, true, c))
	require.EqualValues(t, 1, f.publish(t, f.b, c, []byte("1")))
	require.Equal(t, []message{{c, "1"}}, in.flush(t, f, f.b, c+"end{"+c+"}"))
	in.Unsubscribe(true, c) // removes it, however often it was asked for
	require.Eventually(t, func() bool { return f.publish(t, f.b, c, nil) == 0 }, patience, tick)
}

// subscribeThenPublishArrives is the promise that nothing is lost between a
// subscription and what follows it.
func subscribeThenPublishArrives(t *testing.T, f *fixture) {
	in := listen(t, f.a)
	together(50, func(i int) {
		for j := range 20 {
			c := f.name("%d/%d", i, j)
			if !assert.NoError(t, in.Subscribe(f.ctx, true, c)) {
				return
			}
			n, err := f.b.Publish(f.ctx, []bus.Publication{{Channel: c, Payload: []byte("x"), Sharded: true}})
			assert.NoError(t, err)
			assert.Equal(t, []int64{1}, n)
		}
	})
	for range 50 * 20 {
		in.next(t)
	}
}

func unsubscribeStops(t *testing.T, f *fixture) {
	c, other := f.name("stop"), f.name("other")
	in := listen(t, f.a)
	in.Unsubscribe(true, c) // nothing to drop
	require.NoError(t, in.Subscribe(f.ctx, true, c, other))
	in.Unsubscribe(true, c)
	require.Eventually(t, func() bool { return f.publish(t, f.b, c, []byte("late")) == 0 }, patience, tick)
	require.EqualValues(t, 1, f.publish(t, f.b, other, []byte("o")))
}

// resubscribeRace drops and asks for the same channels again without a pause:
// every Subscribe that succeeded last must hold.
func resubscribeRace(t *testing.T, f *fixture) {
	in := listen(t, f.a)
	together(16, func(i int) {
		c := f.name("race%d", i)
		for range 100 {
			if !assert.NoError(t, in.Subscribe(f.ctx, true, c)) {
				return
			}
			n, err := f.b.Publish(f.ctx, []bus.Publication{{Channel: c, Sharded: true}})
			assert.NoError(t, err)
			assert.Equal(t, []int64{1}, n)
			in.Unsubscribe(true, c)
		}
		assert.NoError(t, in.Subscribe(f.ctx, true, c))
	})
	for i := range 16 {
		require.EqualValues(t, 1, f.publish(t, f.b, f.name("race%d", i), nil))
	}
	// The same channel from all sides: whoever is told "subscribed" last is.
	c := f.name("shared")
	together(16, func(int) {
		for range 50 {
			if err := in.Subscribe(f.ctx, true, c); err != nil {
				// Another's Unsubscribe came in between.
				assert.NotErrorIs(t, err, bus.ErrClosed)
				assert.NoError(t, f.ctx.Err())
			}
			in.Unsubscribe(true, c)
		}
	})
	require.NoError(t, in.Subscribe(f.ctx, true, c))
	require.EqualValues(t, 1, f.publish(t, f.b, c, nil))
}

func manyChannels(t *testing.T, f *fixture) {
	const goroutines, each = 200, 100
	in := listen(t, f.a)
	together(goroutines, func(i int) {
		for j := 0; j < each; j += 10 {
			names := make([]string, 10)
			for k := range names {
				names[k] = f.name("%d", i*each+j+k)
			}
			assert.NoError(t, in.Subscribe(f.ctx, true, names...))
		}
	})
	names := make([]string, goroutines*each)
	pubs := make([]bus.Publication, len(names))
	for i := range names {
		names[i] = f.name("%d", i)
		pubs[i] = bus.Publication{Channel: names[i], Payload: []byte("m"), Sharded: true}
	}
	counts, err := f.b.Subscribers(f.ctx, true, names)
	require.NoError(t, err)
	n, err := f.b.Publish(f.ctx, pubs)
	require.NoError(t, err)
	for i := range names {
		require.EqualValues(t, 1, counts[i])
		require.EqualValues(t, 1, n[i])
	}
	seen := make(map[string]bool, len(names))
	for range names {
		seen[in.next(t).channel] = true
	}
	require.Len(t, seen, len(names))
	in.Unsubscribe(true, names...)
	require.Eventually(t, func() bool {
		counts, err := f.b.Subscribers(f.ctx, true, names)
		require.NoError(t, err)
		for _, n := range counts {
			if n != 0 {
				return false
			}
		}
		return true
	}, patience, 20*tick)
}

func subscribeOnEndedContext(t *testing.T, f *fixture) {
	in := listen(t, f.a)
	c, kept := f.name("never"), f.name("kept")
	require.NoError(t, in.Subscribe(f.ctx, true, kept))
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	require.ErrorIs(t, in.Subscribe(ctx, true, c, kept), context.Canceled)
	require.Zero(t, f.publish(t, f.b, c, nil))
	require.EqualValues(t, 1, f.publish(t, f.b, kept, nil), "it was subscribed before")
}

func subscribers(t *testing.T, f *fixture) {
	for _, sharded := range []bool{true, false} {
		names := []string{f.name("two%v", sharded), f.name("none%v", sharded), f.name("one%v", sharded)}
		x, y := listen(t, f.a), listen(t, f.b)
		require.NoError(t, x.Subscribe(f.ctx, sharded, names[0], names[2]))
		require.NoError(t, y.Subscribe(f.ctx, sharded, names[0]))
		counts, err := f.a.Subscribers(f.ctx, sharded, names)
		require.NoError(t, err)
		require.Equal(t, []int64{2, 0, 1}, counts)
	}
}

func closeListener(t *testing.T, f *fixture) {
	c := f.name("close")
	in := listen(t, f.a)
	require.NoError(t, in.Subscribe(f.ctx, true, c))
	require.NoError(t, in.Close())
	require.NoError(t, in.Close(), "twice is fine")
	require.ErrorIs(t, in.Subscribe(f.ctx, true, c), bus.ErrClosed)
	in.Unsubscribe(true, c)
	require.Eventually(t, func() bool { return f.publish(t, f.a, c, nil) == 0 }, patience, tick)
}

func closeBus(t *testing.T, f *fixture) {
	c := f.name("closed")
	in := listen(t, f.a)
	require.NoError(t, in.Subscribe(f.ctx, true, c))
	require.NoError(t, f.a.Close())
	require.NoError(t, f.a.Close(), "twice is fine")
	require.ErrorIs(t, in.Subscribe(f.ctx, true, c), bus.ErrClosed)
	require.ErrorIs(t, listen(t, f.a).Subscribe(f.ctx, true, c), bus.ErrClosed)
	_, err := f.a.Publish(f.ctx, []bus.Publication{{Channel: c}})
	require.ErrorIs(t, err, bus.ErrClosed)
	_, err = f.a.NextSeqs(f.ctx, []bus.SeqRequest{{UserID: c}})
	require.ErrorIs(t, err, bus.ErrClosed)
	require.ErrorIs(t, f.a.Ping(f.ctx), bus.ErrClosed)
	require.NoError(t, f.b.Ping(f.ctx), "the other bus goes on")
	require.Eventually(t, func() bool { return f.publish(t, f.b, c, nil) == 0 }, patience, tick)
}

func closeWaitsForHandler(t *testing.T, f *fixture) {
	c := f.name("wait")
	entered, leave := make(chan struct{}), make(chan struct{})
	l := f.a.Listen(func(string, []byte) {
		close(entered)
		<-leave
	}, func() {})
	require.NoError(t, l.Subscribe(f.ctx, true, c))
	f.publish(t, f.b, c, nil)
	<-entered
	closed := make(chan struct{})
	go func() {
		assert.NoError(t, l.Close())
		close(closed)
	}()
	select {
	case <-closed:
		require.FailNow(t, "Close returned while the handler ran")
	case <-time.After(50 * time.Millisecond):
	}
	close(leave)
	select {
	case <-closed:
	case <-f.ctx.Done():
		require.FailNow(t, "Close did not return")
	}
}

func closeWhileSubscribing(t *testing.T, f *fixture) {
	in := listen(t, f.a)
	first := make(chan struct{}, 1)
	together(20, func(i int) {
		if i == 0 {
			<-first
			assert.NoError(t, f.a.Close())
			return
		}
		for j := range 1000 {
			err := in.Subscribe(f.ctx, true, f.name("%d/%d", i, j))
			select {
			case first <- struct{}{}:
			default:
			}
			if errors.Is(err, bus.ErrClosed) {
				return
			}
			if !assert.NoError(t, err) {
				return
			}
		}
	})
}
