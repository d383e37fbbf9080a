// Package bustest is the suite that every bus must pass. Each case takes one
// sentence of the comments in package bus at its word.
package bustest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/testenv"
)

// patience bounds every wait of the suite; a correct bus never needs it.
const patience = 20 * time.Second

// Open returns two buses on the same backend, which are closed by the suite. It
// is called once for each case.
type Open func(t *testing.T) (a, b bus.Bus)

// Run runs the suite.
func Run(t *testing.T, open Open) {
	cases := map[string]func(*testing.T, *fixture){
		"PublishReachesSubscriber":        publishReachesSubscriber,
		"PublishCountsReceivers":          publishCountsReceivers,
		"PublishNothing":                  publishNothing,
		"OrderHolds":                      orderHolds,
		"HandlerCallsFollowEachOther":     handlerCallsFollowEachOther,
		"PayloadIsUntouched":              payloadIsUntouched,
		"HostileChannels":                 hostileChannels,
		"SubscribeTwiceIsOne":             subscribeTwiceIsOne,
		"SubscribeThenPublishArrives":     subscribeThenPublishArrives,
		"UnsubscribeStops":                unsubscribeStops,
		"ResubscribeRace":                 resubscribeRace,
		"ManyChannels":                    manyChannels,
		"SubscribeOnEndedContext":         subscribeOnEndedContext,
		"Subscribers":                     subscribers,
		"SeqsAreUniqueAndRise":            seqsAreUniqueAndRise,
		"SeqsInOneBatch":                  seqsInOneBatch,
		"SeqFloor":                        seqFloor,
		"SeqFailsAlone":                   seqFailsAlone,
		"EpochIsStable":                   epochIsStable,
		"LockExcludes":                    lockExcludes,
		"LockExpires":                     lockExpires,
		"LockNeedsTTL":                    lockNeedsTTL,
		"EndedContext":                    endedContext,
		"CloseListener":                   closeListener,
		"CloseBus":                        closeBus,
		"CloseWaitsForHandler":            closeWaitsForHandler,
		"CloseWhileSubscribing":           closeWhileSubscribing,
		"ListenersOfOneBusAreIndependent": listenersAreIndependent,
	}
	for name, run := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			t.Cleanup(cancel)
			a, b := open(t)
			t.Cleanup(func() {
				require.NoError(t, a.Close())
				require.NoError(t, b.Close())
			})
			run(t, &fixture{a: a, b: b, ctx: ctx, prefix: "ch" + testenv.Unique() + ":"})
		})
	}
}

// fixture is what a case works on: two buses, and names that no other case has.
type fixture struct {
	a, b   bus.Bus
	ctx    context.Context
	prefix string
}

func (f *fixture) name(format string, args ...any) string {
	return f.prefix + fmt.Sprintf(format, args...)
}

// publish sends one message and returns its receivers.
func (f *fixture) publish(t *testing.T, b bus.Bus, channel string, payload []byte) int64 {
	t.Helper()
	n, err := b.Publish(f.ctx, []bus.Publication{{Channel: channel, Payload: payload, Sharded: true}})
	require.NoError(t, err)
	require.Len(t, n, 1)
	return n[0]
}

// message is one call of a handler.
type message struct {
	channel, payload string
}

// inbox collects what a listener receives.
type inbox struct {
	bus.Listener
	messages chan message
	gaps     chan struct{}
}

func listen(t *testing.T, b bus.Bus) *inbox {
	t.Helper()
	in := &inbox{messages: make(chan message, 100_000), gaps: make(chan struct{}, 1000)}
	in.Listener = b.Listen(
		func(channel string, payload []byte) { in.messages <- message{channel, string(payload)} },
		func() { in.gaps <- struct{}{} },
	)
	return in
}

// next waits for the next message.
func (in *inbox) next(t *testing.T) message {
	t.Helper()
	select {
	case m := <-in.messages:
		return m
	case <-time.After(patience):
		require.FailNow(t, "no message arrived")
		return message{}
	}
}

// flush publishes a last message to a channel of its own and returns what came
// before it. Publications to one listener keep their order on one server; on a
// cluster it fences only the channel's own node.
func (in *inbox) flush(t *testing.T, f *fixture, b bus.Bus, sentinel string) []message {
	t.Helper()
	require.NoError(t, in.Subscribe(f.ctx, true, sentinel))
	require.Positive(t, f.publish(t, b, sentinel, []byte("sentinel")))
	var before []message
	for {
		m := in.next(t)
		if m.channel == sentinel {
			return before
		}
		before = append(before, m)
	}
}

// together runs fn n times at the same time and waits for all.
func together(n int, fn func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	wg.Wait()
}
