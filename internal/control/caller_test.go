package control_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/bus/membus"
	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a bus with a caller and nodes on it.
type cluster struct {
	hub    *membus.Hub
	bus    bus.Bus
	caller *control.Caller
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{hub: membus.NewHub()}
	c.bus = c.hub.Bus()
	c.caller = control.NewCaller(c.bus, wire.Names{})
	t.Cleanup(func() {
		c.caller.Close()
		assert.NoError(t, c.bus.Close())
	})
	return c
}

// node listens on a channel and answers in a goroutine of its own; a nil
// answer is none.
func (c *cluster) node(t *testing.T, channel string, answer func(*control.Call) *control.Reply) {
	t.Helper()
	b := c.hub.Bus()
	var wg sync.WaitGroup
	listener := b.Listen(func(_ string, payload []byte) {
		decoded, err := control.Decode(payload)
		call, ok := decoded.(*control.Call)
		if !assert.NoError(t, err) || !assert.True(t, ok) {
			return
		}
		wg.Go(func() {
			if r := answer(call); r != nil {
				r.ID = call.ID
				c.reply(t, call.ReplyTo, r)
			}
		})
	}, func() {})
	require.NoError(t, listener.Subscribe(t.Context(), true, channel))
	t.Cleanup(func() {
		_ = listener.Close() // its only error is that it is closed already
		wg.Wait()
		assert.NoError(t, b.Close())
	})
}

func (c *cluster) reply(t *testing.T, channel string, r *control.Reply) {
	_, err := c.bus.Publish(context.WithoutCancel(t.Context()), []bus.Publication{{Channel: channel, Payload: r.Encode(), Sharded: true}})
	if !errors.Is(err, bus.ErrClosed) {
		assert.NoError(t, err)
	}
}

func counts(replies []*control.Reply) (list []int) {
	for _, r := range replies {
		list = append(list, r.Count)
	}
	slices.Sort(list)
	return list
}

func TestNobodyIsConcerned(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	start := time.Now()
	replies, err := c.caller.Call(t.Context(), "nobody", control.Call{Op: control.OpCount})
	require.NoError(t, err)
	assert.Empty(t, replies)
	assert.Less(t, time.Since(start), time.Second, "there is nothing to wait for")
}

func TestEveryNodeAnswers(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for i := range 5 {
		c.node(t, "all", func(call *control.Call) *control.Reply {
			assert.Equal(t, control.OpClose, call.Op)
			assert.Equal(t, "bye", call.Reason)
			return &control.Reply{Count: i}
		})
	}
	c.node(t, "other", func(*control.Call) *control.Reply { return &control.Reply{Count: 100} })
	replies, err := c.caller.Call(t.Context(), "all", control.Call{Op: control.OpClose, Reason: "bye"})
	require.NoError(t, err)
	assert.Equal(t, []int{0, 1, 2, 3, 4}, counts(replies))
}

// Answers go to the call that asked, however many run.
func TestCallsDoNotMix(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	for range 2 {
		c.node(t, "all", func(call *control.Call) *control.Reply { return &control.Reply{Count: call.Limit} })
	}
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			replies, err := c.caller.Call(t.Context(), "all", control.Call{Op: control.OpList, Limit: i})
			assert.NoError(t, err)
			assert.Equal(t, []int{i, i}, counts(replies))
		})
	}
	wg.Wait()
}

func TestNodeThatFails(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.node(t, "all", func(*control.Call) *control.Reply { return &control.Reply{Error: "node is overloaded"} })
	_, err := c.caller.Call(t.Context(), "all", control.Call{Op: control.OpCount})
	require.ErrorContains(t, err, "node is overloaded")
	assert.NotErrorIs(t, err, control.ErrUnanswered)
}

// A node that died after it received the call costs five seconds, not more.
func TestNodeThatNeverAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.node(t, "all", func(*control.Call) *control.Reply { return &control.Reply{Count: 1} })
		c.node(t, "all", func(*control.Call) *control.Reply { return nil })
		start := time.Now()
		replies, err := c.caller.Call(t.Context(), "all", control.Call{Op: control.OpCount})
		require.ErrorIs(t, err, control.ErrUnanswered)
		assert.Equal(t, []int{1}, counts(replies), "what came is returned")
		assert.Equal(t, 5*time.Second, time.Since(start))
		assert.ErrorContains(t, err, "1 of 2")
	})
}

func TestCallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.node(t, "all", func(*control.Call) *control.Reply { return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := c.caller.Call(ctx, "all", control.Call{Op: control.OpCount})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(start))
		_, err = c.caller.Call(ctx, "all", control.Call{Op: control.OpCount})
		require.ErrorIs(t, err, context.DeadlineExceeded, "nothing is sent any more")
	})
}

// An answer that comes after its call was given up is nobody's.
func TestLateAnswersAreIgnored(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		release := make(chan struct{})
		c.node(t, "slow", func(*control.Call) *control.Reply {
			<-release
			return &control.Reply{Count: 1000}
		})
		c.node(t, "fast", func(*control.Call) *control.Reply { return &control.Reply{Count: 1} })
		_, err := c.caller.Call(t.Context(), "slow", control.Call{Op: control.OpCount})
		require.ErrorIs(t, err, control.ErrUnanswered)
		close(release)
		synctest.Wait()
		replies, err := c.caller.Call(t.Context(), "fast", control.Call{Op: control.OpCount})
		require.NoError(t, err)
		assert.Equal(t, []int{1}, counts(replies))
	})
}

// What comes on the channel of answers and is none harms nobody.
func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.node(t, "all", func(call *control.Call) *control.Reply {
		for _, raw := range [][]byte{nil, []byte("nonsense"), (&control.Message{ID: call.ID}).Encode(), (&control.Call{ID: call.ID}).Encode()} {
			_, err := c.bus.Publish(t.Context(), []bus.Publication{{Channel: call.ReplyTo, Payload: raw, Sharded: true}})
			assert.NoError(t, err)
		}
		c.reply(t, call.ReplyTo, &control.Reply{ID: call.ID + 1, Count: 1000})
		return &control.Reply{Count: 1}
	})
	replies, err := c.caller.Call(t.Context(), "all", control.Call{Op: control.OpCount})
	require.NoError(t, err)
	assert.Equal(t, []int{1}, counts(replies))
}

func TestCloseDuringCalls(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	var asked sync.WaitGroup
	asked.Add(3)
	c.node(t, "all", func(*control.Call) *control.Reply {
		asked.Done()
		return nil
	})
	errs := make(chan error, 3)
	for range 3 {
		go func() {
			_, err := c.caller.Call(t.Context(), "all", control.Call{Op: control.OpCount})
			errs <- err
		}()
	}
	asked.Wait()
	start := time.Now()
	c.caller.Close()
	c.caller.Close()
	for range 3 {
		require.ErrorIs(t, <-errs, bus.ErrClosed)
	}
	assert.Less(t, time.Since(start), time.Second)
	_, err := c.caller.Call(t.Context(), "all", control.Call{Op: control.OpCount})
	require.ErrorIs(t, err, bus.ErrClosed)
}

// After Close no node is asked to do anything.
func TestNothingIsSentAfterClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		asked := 0
		c.node(t, "all", func(*control.Call) *control.Reply {
			asked++
			return &control.Reply{}
		})
		_, err := c.caller.Call(t.Context(), "all", control.Call{Op: control.OpCount})
		require.NoError(t, err)
		c.caller.Close()
		_, err = c.caller.Call(t.Context(), "all", control.Call{Op: control.OpClose})
		require.ErrorIs(t, err, bus.ErrClosed)
		_, err = c.caller.Call(t.Context(), "nobody", control.Call{})
		require.ErrorIs(t, err, bus.ErrClosed)
		synctest.Wait()
		assert.Equal(t, 1, asked)
	})
}

// A caller can get its answers from a listener of its owner.
func TestCallerOnAnotherListener(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.node(t, "all", func(*control.Call) *control.Reply { return &control.Reply{Count: 3} })
	caller := control.NewCallerOn(c.bus, wire.Names{})
	listener := c.bus.Listen(func(channel string, payload []byte) {
		assert.Equal(t, caller.Channel(), channel)
		caller.Receive(payload)
	}, func() {})
	require.NoError(t, listener.Subscribe(t.Context(), true, caller.Channel()))
	replies, err := caller.Call(t.Context(), "all", control.Call{Op: control.OpCount})
	require.NoError(t, err)
	assert.Equal(t, []int{3}, counts(replies))
	caller.Close()
	_, err = caller.Call(t.Context(), "all", control.Call{Op: control.OpCount})
	require.ErrorIs(t, err, bus.ErrClosed)
	require.NoError(t, listener.Close(), "it is the owner's")
}

func TestCloseBeforeTheFirstCall(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.caller.Close()
	_, err := c.caller.Call(t.Context(), "nobody", control.Call{})
	require.ErrorIs(t, err, bus.ErrClosed)
}

// Closing while first calls begin to listen leaves nothing behind; goleak
// looks.
func TestCloseWhileCallsBegin(t *testing.T) {
	t.Parallel()
	for i := range 100 {
		b := membus.NewHub().Bus()
		caller := control.NewCaller(b, wire.Names{})
		var wg sync.WaitGroup
		for j := range 3 {
			wg.Go(func() {
				_, err := caller.Call(t.Context(), fmt.Sprint(i, j), control.Call{Op: control.OpCount})
				if err != nil {
					assert.ErrorIs(t, err, bus.ErrClosed)
				}
			})
		}
		caller.Close()
		wg.Wait()
		assert.NoError(t, b.Close())
	}
}

// A bus that fails is the error of the call.
func TestBusFails(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	_, err := c.caller.Call(t.Context(), "nobody", control.Call{})
	require.NoError(t, err)
	require.NoError(t, c.bus.Close())
	_, err = c.caller.Call(t.Context(), "nobody", control.Call{})
	require.ErrorIs(t, err, bus.ErrClosed)
}
