package bustest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
)

func publishReachesSubscriber(t *testing.T, f *fixture) {
	for _, from := range []bus.Bus{f.a, f.b} {
		in := listen(t, f.a)
		c := f.name("reach")
		require.NoError(t, in.Subscribe(f.ctx, true, c))
		require.EqualValues(t, 1, f.publish(t, from, c, []byte("hello")))
		require.Equal(t, message{c, "hello"}, in.next(t))
		require.NoError(t, in.Close())
	}
}

func publishCountsReceivers(t *testing.T, f *fixture) {
	shared, own, nobody := f.name("shared"), f.name("own"), f.name("nobody")
	x, y, z := listen(t, f.a), listen(t, f.a), listen(t, f.b)
	for _, in := range []*inbox{x, y, z} {
		require.NoError(t, in.Subscribe(f.ctx, true, shared))
	}
	require.NoError(t, y.Subscribe(f.ctx, true, own))
	n, err := f.b.Publish(f.ctx, []bus.Publication{
		{Channel: shared, Payload: []byte("1"), Sharded: true},
		{Channel: nobody, Payload: []byte("2"), Sharded: true},
		{Channel: own, Payload: []byte("3"), Sharded: true},
		{Channel: shared, Payload: []byte("4"), Sharded: true},
	})
	require.NoError(t, err)
	require.Equal(t, []int64{3, 0, 1, 3}, n)
	for _, in := range []*inbox{x, z} {
		require.Equal(t, message{shared, "1"}, in.next(t))
		require.Equal(t, message{shared, "4"}, in.next(t))
	}
	got := []message{y.next(t), y.next(t), y.next(t)}
	require.ElementsMatch(t, []message{{shared, "1"}, {own, "3"}, {shared, "4"}}, got)
}

func publishNothing(t *testing.T, f *fixture) {
	n, err := f.a.Publish(f.ctx, nil)
	require.NoError(t, err)
	require.Empty(t, n)
	seqs, err := f.a.NextSeqs(f.ctx, nil)
	require.NoError(t, err)
	require.Empty(t, seqs)
	counts, err := f.a.Subscribers(f.ctx, false, nil)
	require.NoError(t, err)
	require.Empty(t, counts)
	in := listen(t, f.a)
	require.NoError(t, in.Subscribe(f.ctx, false))
	in.Unsubscribe(false)
	require.NoError(t, f.a.Ping(f.ctx))
}

func orderHolds(t *testing.T, f *fixture) {
	const batches, size = 50, 64
	c := f.name("order")
	in := listen(t, f.b)
	require.NoError(t, in.Subscribe(f.ctx, true, c))
	for i := range batches {
		pubs := make([]bus.Publication, size)
		for j := range pubs {
			pubs[j] = bus.Publication{Channel: c, Payload: fmt.Appendf(nil, "%d", i*size+j), Sharded: true}
		}
		_, err := f.a.Publish(f.ctx, pubs)
		require.NoError(t, err)
	}
	for i := range batches * size {
		require.Equal(t, message{c, fmt.Sprint(i)}, in.next(t))
	}
}

func handlerCallsFollowEachOther(t *testing.T, f *fixture) {
	const channels, each = 20, 100
	var busy, overlaps atomic.Int32
	done := make(chan struct{}, channels*each)
	l := f.a.Listen(func(string, []byte) {
		if busy.Add(1) > 1 {
			overlaps.Add(1)
		}
		busy.Add(-1)
		done <- struct{}{}
	}, func() {})
	names := make([]string, channels)
	for i := range names {
		names[i] = f.name("h%d", i)
		require.NoError(t, l.Subscribe(f.ctx, i%2 == 0, names[i]))
	}
	together(channels, func(i int) {
		for range each {
			_, err := f.b.Publish(f.ctx, []bus.Publication{{Channel: names[i], Payload: []byte("x"), Sharded: i%2 == 0}})
			assert.NoError(t, err)
		}
	})
	for range channels * each {
		select {
		case <-done:
		case <-f.ctx.Done():
			require.FailNow(t, "a message is missing")
		}
	}
	require.Zero(t, overlaps.Load())
}

func payloadIsUntouched(t *testing.T, f *fixture) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	large := make([]byte, 1<<20)
	_, _ = rand.Read(large)
	c := f.name("payload")
	in := listen(t, f.b)
	require.NoError(t, in.Subscribe(f.ctx, true, c))
	for _, payload := range [][]byte{nil, {0}, []byte("\r\n$5\r\n"), all, large, []byte("after")} {
		want := string(payload)
		sent := bytes.Clone(payload)
		f.publish(t, f.a, c, sent)
		clear(sent)                                 // Publish has returned: the buffer is ours again
		if got := in.next(t).payload; got != want { // no assertion that prints 1 MiB
			require.FailNow(t, "the payload changed", "%d bytes became %d", len(want), len(got))
		}
	}
}

func hostileChannels(t *testing.T, f *fixture) {
	names := []string{
		f.name(""), f.name(" "), f.name("a b"), f.name("line\r\nSUBSCRIBE x\r\n"), f.name("\x00nul\x00"),
		f.name("*"), f.name("?[a-z]"), f.name("\\"), f.name("ünïcödé 世界 🚀"), f.name("\xff\xfe not utf-8"),
		f.name("{tag}x"), f.name("{}"), f.name("{"), f.name("}{"), f.name("{{a}}"), f.name("'\"`$()"),
		f.name("%s", strings.Repeat("long", 1024)),
	}
	in := listen(t, f.b)
	require.NoError(t, in.Subscribe(f.ctx, true, names...))
	require.NoError(t, in.Subscribe(f.ctx, false, names...))
	for _, sharded := range []bool{true, false} {
		for _, c := range names {
			_, err := f.a.Publish(f.ctx, []bus.Publication{{Channel: c, Payload: []byte("p"), Sharded: sharded}})
			require.NoError(t, err)
			require.Equal(t, message{c, "p"}, in.next(t))
		}
	}
	require.Zero(t, f.publish(t, f.a, f.name("anything"), nil), "a name must not work as a pattern")
	for _, c := range names {
		_, err := f.a.NextSeqs(f.ctx, []bus.SeqRequest{{UserID: c}, {UserID: c, Floor: 10}})
		require.NoError(t, err)
	}
	in.Unsubscribe(true, names...)
}

func listenersAreIndependent(t *testing.T, f *fixture) {
	c := f.name("indep")
	x, y := listen(t, f.a), listen(t, f.a)
	require.NoError(t, x.Subscribe(f.ctx, true, c))
	require.NoError(t, y.Subscribe(f.ctx, true, c))
	require.NoError(t, x.Close())
	require.Eventually(t, func() bool { return f.publish(t, f.b, c, []byte("y")) == 1 }, patience, tick)
	require.Equal(t, message{c, "y"}, y.next(t))
}

func endedContext(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(f.ctx)
	cancel()
	_, err := f.a.Publish(ctx, []bus.Publication{{Channel: f.name("x")}})
	require.ErrorIs(t, err, context.Canceled)
	_, err = f.a.Publish(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	_, err = f.a.NextSeqs(ctx, []bus.SeqRequest{{UserID: f.name("x")}})
	require.ErrorIs(t, err, context.Canceled)
	_, err = f.a.Subscribers(ctx, true, []string{f.name("x")})
	require.ErrorIs(t, err, context.Canceled)
	_, err = f.a.TryLock(ctx, f.name("x"), "me", patience)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, f.a.Unlock(ctx, f.name("x"), "me"), context.Canceled)
	require.ErrorIs(t, f.a.Ping(ctx), context.Canceled)
}
