package node_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"shutdown/tellsDevices":    testShutdownTells,
	"shutdown/drains":          testShutdownDrains,
	"shutdown/blockedHandler":  testShutdownBlockedHandler,
	"shutdown/duringHandshake": testShutdownDuringHandshakes,
})

func testShutdownTells(t *testing.T, w *world) {
	log := newHooks()
	h := w.node(t, log.options(node.Options{RecoveryWindow: time.Minute}))
	u := user()
	var devices []*devicetest.Device
	for _, subprotocol := range []string{devicetest.None, devicetest.JSON, devicetest.Reliable, devicetest.Protobuf} {
		devices = append(devices, h.connect(t, u, subprotocol))
	}
	detached := h.connect(t, u, devicetest.Reliable)
	detached.Drop()
	ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
	defer cancel()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { assert.NoError(t, h.Shutdown(ctx), "a second call waits for the first") })
	}
	for _, d := range devices {
		assert.EqualValues(t, 1001, d.Ended(t), d.Subprotocol())
		if d.Subprotocol() != "" {
			f := d.Next(t)
			assert.Equal(t, devicetest.TypeDisconnected, f.Type)
			assert.NotEmpty(t, f.Message)
		}
	}
	wg.Wait()
	require.NoError(t, h.Shutdown(ctx))
	assert.Zero(t, h.Connections())
	for _, d := range append(devices[1:], detached) {
		assert.Equal(t, 1, log.count("disconnected "+d.Connected.ConnectionID))
	}
	assert.Equal(t, 503, dialStatus(t, devicetest.Options{URL: h.url(t, u), Subprotocol: devicetest.JSON}))
	online, err := w.client.Online(t.Context(), u)
	require.NoError(t, err)
	assert.False(t, online[u])
}

// testShutdownDrains: what devices have acknowledged is written before Shutdown
// returns.
func testShutdownDrains(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	u := user()
	const n = 200
	ids := w.store(t, u, n, "x")
	d := h.connect(t, u, devicetest.Reliable)
	for range n {
		d.Envelope(t)
	}
	d.SequenceAck(t, d.LastSequenceID())
	d.Ping(t)
	require.Equal(t, devicetest.TypePong, d.Next(t).Type, "the acknowledgement has arrived")
	ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
	defer cancel()
	require.NoError(t, h.Shutdown(ctx))
	for _, id := range ids {
		require.Equal(t, gateway.StatusFinished, w.message(t, id).Status)
	}
}

// TestShutdownSaysWhatIsNotWritten: Shutdown returns nil only if the
// acknowledgements are written.
func TestShutdownSaysWhatIsNotWritten(t *testing.T) {
	t.Parallel()
	w := newEmbedded(t)
	h := w.node(t, node.Options{})
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	id := w.reliable(t, u, 1)
	d.Envelope(t)
	locked, err := w.db.Conn(t.Context())
	require.NoError(t, err)
	_, err = locked.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	require.NoError(t, err)
	d.SequenceAck(t, 1)
	d.Ping(t)
	require.Equal(t, devicetest.TypePong, d.Next(t).Type, "the acknowledgement has arrived")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, h.Shutdown(ctx), context.DeadlineExceeded)
	_, err = locked.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, locked.Close())
	require.NotEqual(t, gateway.StatusFinished, w.message(t, id).Status)
	for range 20 {
		require.ErrorIs(t, h.Shutdown(t.Context()), context.DeadlineExceeded, "a second call returns the same")
	}
}

// testShutdownBlockedHandler: a handler that does not end is not waited for
// beyond ctx.
func testShutdownBlockedHandler(t *testing.T, w *world) {
	running, ended := make(chan struct{}), make(chan struct{})
	h := w.node(t, node.Options{OnEvent: func(ctx context.Context, _ node.Connection, _ node.Event) (*node.Reply, error) {
		close(running)
		defer close(ended)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	d := h.connect(t, user(), devicetest.JSON)
	d.SendEvent(t, "block", 1)
	<-running
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	require.ErrorIs(t, h.Shutdown(ctx), context.DeadlineExceeded)
	require.Less(t, time.Since(start), 5*time.Second)
	select {
	case <-ended:
	case <-time.After(devicetest.Patience):
		t.Fatal("the handler was not told")
	}
}

// testShutdownDuringHandshakes: devices that connect while the node stops are
// told, or refused, and each OnConnected has its OnDisconnected.
func testShutdownDuringHandshakes(t *testing.T, w *world) {
	var mu sync.Mutex
	balance := map[string][]string{}
	note := func(id, what string) {
		mu.Lock()
		defer mu.Unlock()
		balance[id] = append(balance[id], what)
	}
	h := w.node(t, node.Options{
		OnConnected:    func(_ context.Context, c node.Connection) { note(c.ID, "connected") },
		OnDisconnected: func(_ context.Context, c node.Connection, _ string) { note(c.ID, "disconnected") },
	})
	url := h.url(t, user())
	stop := make(chan struct{})
	some := make(chan struct{}, 1000)
	var wg sync.WaitGroup
	for i := range 8 {
		subprotocol := []string{devicetest.JSON, devicetest.Reliable}[i%2]
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(context.Background(), devicetest.Patience)
				d, _, err := devicetest.Dial(ctx, devicetest.Options{URL: url, Subprotocol: subprotocol})
				cancel()
				if err == nil {
					some <- struct{}{}
					d.Drop()
				}
			}
		})
	}
	for range 10 {
		<-some
	}
	ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
	defer cancel()
	require.NoError(t, h.Shutdown(ctx))
	close(stop)
	wg.Wait()
	require.Zero(t, h.Connections())
	mu.Lock()
	defer mu.Unlock()
	for id, log := range balance {
		require.Equal(t, []string{"connected", "disconnected"}, log, id)
	}
}

func TestCloseWithoutShutdown(t *testing.T) {
	t.Parallel()
	// The client under a node closes first, against the documentation: nothing
	// may hang.
	w := newEmbedded(t)
	client, err := gateway.New(t.Context(), w.cfg)
	require.NoError(t, err)
	h := w.nodeOn(t, client, node.Options{})
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	require.NoError(t, client.Close())
	d.SequenceAck(t, 1)
	assert.NotNil(t, d)
	ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
	defer cancel()
	_ = h.Shutdown(ctx)
	require.NoError(t, ctx.Err())
}
