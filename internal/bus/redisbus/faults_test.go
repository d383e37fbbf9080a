package redisbus

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// The server dies and comes back empty on the same address.
func TestServerRestart(t *testing.T) {
	s := startServer(t)
	b := open(t, s.addr, wire.Names{})
	in := listenTo(b)
	names := channelNames(5000)
	require.NoError(t, in.Subscribe(t.Context(), true, names...))
	draw := func() int64 {
		seqs, err := b.NextSeqs(t.Context(), []bus.SeqRequest{{UserID: "u"}})
		require.NoError(t, err)
		return seqs[0]
	}
	require.EqualValues(t, 1, draw())
	require.EqualValues(t, 2, draw())
	epoch := b.Epoch()

	s.kill(t)
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err := in.Subscribe(short, true, "given up", names[0])
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, s.addr)
	waiting := make(chan error, 1)
	go func() { waiting <- in.Subscribe(t.Context(), true, "patient") }()
	in.Unsubscribe(true, names[4999])
	s.start(t)

	await(t, in.gaps, "the gap after the restart")
	require.NoError(t, await(t, waiting, "the call that waited"))
	requireAllReached(t, b, append(names[:4999:4999], "patient"))
	counts, err := b.Subscribers(t.Context(), true, []string{"given up", names[4999]})
	require.NoError(t, err)
	require.Equal(t, []int64{0, 0}, counts)
	require.EqualValues(t, 1, draw(), "the counter is gone")
	require.NotEqual(t, epoch, b.Epoch(), "and the epoch says so by the time of the draw")
	require.Empty(t, in.gaps, "one gap, one call")
}

// A client that was handed over cannot be asked about its connections, only
// watched.
func TestServerRestartFromClient(t *testing.T) {
	s := startServer(t)
	client := redis.NewClient(&redis.Options{Addr: s.addr})
	defer func() { require.NoError(t, client.Close()) }()
	require.NoError(t, client.Ping(t.Context()).Err())
	b, err := FromClient(t.Context(), client, testNames(), nil)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	users := []bus.SeqRequest{{UserID: "u"}, {UserID: "v"}}
	_, err = b.NextSeqs(t.Context(), users)
	require.NoError(t, err)
	epoch := b.Epoch()
	s.kill(t)
	s.start(t)
	_, err = b.NextSeqs(t.Context(), users)
	require.NoError(t, err)
	require.NotEqual(t, epoch, b.Epoch())
}

// Where INFO is forbidden, new connections are taken for another process.
func TestEpochWithoutInfo(t *testing.T) {
	s := startServer(t)
	require.NoError(t, s.client(t).Do(t.Context(), "acl", "setuser", "default", "-info").Err())
	b := open(t, s.addr, wire.Names{})
	draw := func() {
		_, err := b.NextSeqs(t.Context(), []bus.SeqRequest{{UserID: "u"}})
		require.NoError(t, err, "INFO's error is not the caller's")
	}
	draw()
	epoch := b.Epoch()
	draw()
	require.Equal(t, epoch, b.Epoch())
	require.NoError(t, s.client(t).Do(t.Context(), "client", "kill", "type", "normal").Err())
	draw()
	require.NotEqual(t, epoch, b.Epoch())
}

// A Redis that accepts connections and says nothing holds no caller past ctx.
func TestStoppedServer(t *testing.T) {
	for _, handedOver := range []bool{false, true} {
		t.Run(fmt.Sprintf("handedOver=%v", handedOver), func(t *testing.T) {
			s := startServer(t)
			var b *Bus
			if handedOver {
				client := redis.NewClient(&redis.Options{Addr: s.addr, ReadTimeout: 2 * time.Second})
				defer func() { _ = client.Close() }()
				var err error
				b, err = FromClient(t.Context(), client, wire.Names{}, nil)
				require.NoError(t, err)
				defer func() { require.NoError(t, b.Close()) }()
			} else {
				b = open(t, s.addr, wire.Names{})
			}
			in := listenTo(b)
			require.NoError(t, in.Subscribe(t.Context(), true, "before"))
			s.signal(t, syscall.SIGSTOP)
			calls := map[string]func(context.Context) error{
				"publish": func(ctx context.Context) error {
					_, err := b.Publish(ctx, []bus.Publication{{Channel: "c"}})
					return err
				},
				"publish many": func(ctx context.Context) error {
					_, err := b.Publish(ctx, make([]bus.Publication, 100))
					return err
				},
				"seq": func(ctx context.Context) error {
					_, err := b.NextSeqs(ctx, []bus.SeqRequest{{UserID: "u"}})
					return err
				},
				"subscribers": func(ctx context.Context) error {
					_, err := b.Subscribers(ctx, false, []string{"c"})
					return err
				},
				"lock":      func(ctx context.Context) error { _, err := b.TryLock(ctx, "l", "me", time.Second); return err },
				"unlock":    func(ctx context.Context) error { return b.Unlock(ctx, "l", "me") },
				"ping":      b.Ping,
				"subscribe": func(ctx context.Context) error { return in.Subscribe(ctx, true, "during") },
			}
			for name, fn := range calls {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				require.ErrorIs(t, fn(ctx), context.DeadlineExceeded, name)
				cancel()
				ctx, cancel = context.WithCancel(t.Context())
				time.AfterFunc(50*time.Millisecond, cancel)
				require.ErrorIs(t, fn(ctx), context.Canceled, name)
				require.Less(t, time.Since(began), time.Second, name)
			}
			s.signal(t, syscall.SIGCONT)
			require.Eventually(t, func() bool { return b.Ping(t.Context()) == nil }, patience, 10*time.Millisecond)
			require.Eventually(t, func() bool {
				counts, err := b.Subscribers(t.Context(), true, []string{"before", "during"})
				return err == nil && counts[0] == 1 && counts[1] == 0
			}, patience, 10*time.Millisecond)
		})
	}
}

// Close returns while Redis says nothing, and fails who waits.
func TestCloseOnStoppedServer(t *testing.T) {
	s := startServer(t)
	b := open(t, s.addr, wire.Names{})
	in := listenTo(b)
	require.NoError(t, in.Subscribe(t.Context(), true, "c"))
	s.signal(t, syscall.SIGSTOP)
	errs := make(chan error, 2)
	go func() { errs <- b.Ping(t.Context()) }()
	go func() { errs <- in.Subscribe(t.Context(), true, "d") }()
	require.Eventually(t, func() bool {
		in.plain.mu.Lock()
		defer in.plain.mu.Unlock()
		return len(in.plain.waiting) > 0
	}, patience, time.Millisecond)
	began := time.Now()
	require.NoError(t, b.Close())
	require.Less(t, time.Since(began), 2*time.Second)
	require.ErrorIs(t, await(t, errs, "a call"), bus.ErrClosed)
	require.ErrorIs(t, await(t, errs, "a call"), bus.ErrClosed)
}

// proxied opens a bus whose way to Redis leads through a proxy.
func proxied(t *testing.T) (*Bus, *toxiproxy.Proxy) {
	t.Helper()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(api, t.Name(), "127.0.0.1:0", testenv.Redis(t))
	require.NoError(t, p.Start())
	t.Cleanup(p.Stop)
	return open(t, p.Listen, testNames()), p
}

func toxic(t *testing.T, p *toxiproxy.Proxy, format string, args ...any) string {
	t.Helper()
	added, err := p.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(format, args...)))
	require.NoError(t, err)
	return added.Name
}

// quicken makes silence show sooner; the tests that use it are not parallel.
func quicken(t *testing.T) {
	t.Helper()
	idle, timeout := pingIdle, pingTimeout
	pingIdle, pingTimeout = 100*time.Millisecond, 200*time.Millisecond
	t.Cleanup(func() { pingIdle, pingTimeout = idle, timeout })
}

func TestConnectionCut(t *testing.T) {
	b, p := proxied(t)
	in := listenTo(b)
	names := channelNames(3000)
	require.NoError(t, in.Subscribe(t.Context(), true, names...))
	for range 3 {
		p.Stop()
		_, err := b.Publish(t.Context(), publications(names[:1]))
		require.Error(t, err)
		require.NoError(t, p.Start())
		await(t, in.gaps, "the gap after the cut")
		require.Eventually(t, func() bool { return b.Ping(t.Context()) == nil }, patience, 10*time.Millisecond)
		requireAllReached(t, b, names)
	}
}

// A connection that is open and carries nothing is given up.
func TestConnectionHalfOpen(t *testing.T) {
	quicken(t)
	b, p := proxied(t)
	in := listenTo(b)
	names := channelNames(100)
	require.NoError(t, in.Subscribe(t.Context(), true, names...))
	up := toxic(t, p, `{"name":"up","type":"timeout","stream":"upstream","attributes":{"timeout":0}}`)
	down := toxic(t, p, `{"name":"down","type":"timeout","stream":"downstream","attributes":{"timeout":0}}`)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, in.Subscribe(ctx, true, "never"), context.DeadlineExceeded)
	require.Eventually(t, func() bool {
		in.plain.mu.Lock()
		defer in.plain.mu.Unlock()
		return in.plain.lost == len(names)
	}, patience, time.Millisecond, "the silence is not noticed")
	require.NoError(t, p.Toxics.RemoveToxic(t.Context(), up))
	require.NoError(t, p.Toxics.RemoveToxic(t.Context(), down))
	await(t, in.gaps, "the gap after the silence")
	require.Eventually(t, func() bool { return b.Ping(t.Context()) == nil }, patience, 10*time.Millisecond)
	// The proxy may hold the old connection to Redis open for a while.
	require.NoError(t, in.Subscribe(t.Context(), true, names...))
	_, err := b.Publish(t.Context(), publications(names[:1]))
	require.NoError(t, err)
	require.Equal(t, names[0]+"=m", await(t, in.messages, "a message"))
}

// A slow way delays, and breaks nothing.
func TestConnectionSlow(t *testing.T) {
	b, p := proxied(t)
	in := listenTo(b)
	toxic(t, p, `{"type":"latency","stream":"downstream","attributes":{"latency":100,"jitter":20}}`)
	toxic(t, p, `{"type":"slicer","stream":"upstream","attributes":{"average_size":50,"size_variation":20,"delay":100}}`)
	names := channelNames(500)
	require.NoError(t, in.Subscribe(t.Context(), true, names...))
	requireAllReached(t, b, names)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := b.NextSeqs(ctx, []bus.SeqRequest{{UserID: "u"}})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 90*time.Millisecond)
	require.Empty(t, in.gaps)
}
