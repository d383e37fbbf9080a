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

// proxied is a world whose processes reach a server through a proxy.
func proxied(t *testing.T, addr func(*gateway.Config) *string) (*world, *proxy, gateway.Config) {
	t.Helper()
	w := newReal(t)
	cfg := w.cfg
	cfg.Redis.Addrs = []string{cfg.Redis.Addrs[0]}
	cfg.RabbitMQ.Addrs = []string{cfg.RabbitMQ.Addrs[0]}
	p := newProxy(t, *addr(&cfg))
	*addr(&cfg) = p.addr
	return w, p, cfg
}

// TestRabbitMQDown: without RabbitMQ sends go on and arrive, and answers reach
// who waits.
func TestRabbitMQDown(t *testing.T) {
	t.Parallel()
	w, p, cfg := proxied(t, func(c *gateway.Config) *string { return &c.RabbitMQ.Addrs[0] })
	h := w.nodeOn(t, openClient(t, cfg), node.Options{})
	client := openClient(t, cfg)
	u, away := user(), user()
	d := h.connect(t, u, devicetest.Reliable)
	running := sendCommand(t, client, u, "before")
	before := d.Envelope(t)

	p.cut()
	id, err := client.SendReliable(t.Context(), u, 1)
	require.NoError(t, err)
	require.Equal(t, id, d.Envelope(t).ID)
	missed, err := client.SendReliable(t.Context(), away, 1)
	require.NoError(t, err)
	require.NoError(t, client.SendRealtime(t.Context(), u, 2))
	require.Equal(t, "2", string(d.Message(t).Data))
	// The answer to a command that was sent before, and to one sent now.
	require.True(t, d.Respond(t, before.RequestID, "answer").Success)
	res, err := running.wait(t)
	require.NoError(t, err)
	assert.JSONEq(t, `"answer"`, string(res.Response))
	running = sendCommand(t, client, u, "during")
	during := d.Envelope(t)
	require.True(t, d.Respond(t, during.RequestID, "again").Success)
	res, err = running.wait(t)
	require.NoError(t, err)
	assert.JSONEq(t, `"again"`, string(res.Response))
	assert.Equal(t, missed, h.connect(t, away, devicetest.JSON).Envelope(t).ID)

	p.heal()
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return client.Ping(ctx) == nil
	}, 2*devicetest.Patience, 50*time.Millisecond)
	// The node consumes the notifications of other SDKs again.
	o := newOriginalSDK(t, w)
	rowID, requestID := o.commandRow(t, u)
	o.notify(t, rowID, requestID)
	assert.Equal(t, rowID, d.Envelope(t).ID)
	require.True(t, d.Respond(t, requestID, 3).Success)
	o.answer(t, rowID, requestID, "3")
}

// TestRedisDown: without Redis devices keep their connections, and everything
// that was stored arrives afterwards.
func TestRedisDown(t *testing.T) {
	t.Parallel()
	w, p, cfg := proxied(t, func(c *gateway.Config) *string { return &c.Redis.Addrs[0] })
	h := w.nodeOn(t, openClient(t, cfg), node.Options{})
	u := user()
	d, plain := h.connect(t, u, devicetest.Reliable), h.connect(t, u, devicetest.JSON)
	w.nothingStored(t, u, d, plain)

	p.cut()
	d.Ping(t)
	plain.Ping(t)
	require.Equal(t, devicetest.TypePong, plain.Next(t).Type)
	require.Equal(t, devicetest.TypePong, d.Next(t).Type)
	// These are sent by a process that reaches Redis. The node does not hear
	// its hints, but may hear the notifications over RabbitMQ.
	var ids []string
	for i := range 20 {
		ids = append(ids, w.reliable(t, u, i))
	}
	c := w.command(t, u, "during")
	// A device that comes now is refused for the moment.
	require.Equal(t, 503, dialStatus(t, devicetest.Options{URL: h.url(t, user()), Subprotocol: devicetest.JSON}))

	p.heal()
	seen := map[string]int{}
	var asked devicetest.Envelope
	for len(seen) < len(ids)+1 {
		e := d.Envelope(t)
		seen[e.ID]++
		if e.Kind == "command" {
			asked = e
		}
		d.SequenceAck(t, e.SequenceID)
	}
	for _, id := range ids {
		require.Equal(t, 1, seen[id])
		w.finished(t, id)
	}
	require.True(t, d.Respond(t, asked.RequestID, "after").Success)
	res, err := c.wait(t)
	require.NoError(t, err)
	assert.JSONEq(t, `"after"`, string(res.Response))
	last := w.reliable(t, u, "last")
	require.Equal(t, last, d.Envelope(t).ID, "and nothing came twice")
	require.Equal(t, 2, h.Connections())
}

// TestBusGaps: the node's connection to Redis breaks again and again while
// messages flow; each arrives, though the slow round is far away.
func TestBusGaps(t *testing.T) {
	t.Parallel()
	w, p, cfg := proxied(t, func(c *gateway.Config) *string { return &c.Redis.Addrs[0] })
	h := w.nodeOn(t, openClient(t, cfg), node.Options{SweepInterval: time.Hour, RetryInterval: time.Hour})
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	const n = 300
	var wg sync.WaitGroup
	ids := make([]string, n)
	wg.Go(func() {
		for i := range n {
			id, err := w.client.SendReliable(context.Background(), u, i)
			if !assert.NoError(t, err) {
				return
			}
			ids[i] = id
			if i%60 == 30 {
				p.reset()
			}
		}
	})
	counts, _ := receive(t, d, n)
	wg.Wait()
	for _, id := range ids {
		require.Equal(t, 1, counts[id])
		w.finished(t, id)
	}
}

// TestMySQLDown: without MySQL devices keep their connections, and what they
// acknowledged meanwhile is written later.
func TestMySQLDown(t *testing.T) {
	t.Parallel()
	w, p, cfg := proxied(t, func(c *gateway.Config) *string { return &c.MySQL.Addr })
	h := w.nodeOn(t, openClient(t, cfg), node.Options{})
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	var ids []string
	for i := range 10 {
		ids = append(ids, w.reliable(t, u, i))
		d.Envelope(t)
	}
	p.cut()
	d.SequenceAck(t, d.LastSequenceID())
	d.Ping(t)
	require.Equal(t, devicetest.TypePong, d.Next(t).Type)
	live := w.reliable(t, u, "live")
	require.Equal(t, live, d.Envelope(t).ID)
	late := h.connect(t, u, devicetest.JSON) // its catch-up waits
	require.NotEqual(t, gateway.StatusFinished, w.message(t, ids[0]).Status)
	p.heal()
	for _, id := range ids {
		w.finished(t, id)
	}
	require.Equal(t, live, late.Envelope(t).ID, "what was acknowledged does not come again")
	w.nothingStored(t, u, late)
}
