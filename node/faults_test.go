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

// TestAnswerWithoutMySQL: a device learns that its answer was not stored, and
// can give it again.
func TestAnswerWithoutMySQL(t *testing.T) {
	t.Parallel()
	w, p, cfg := proxied(t, func(c *gateway.Config) *string { return &c.MySQL.Addr })
	h := w.nodeOn(t, openClient(t, cfg), node.Options{HandlerTimeout: time.Second})
	u := user()
	d := h.connect(t, u, devicetest.Reliable)
	asked := w.command(t, u, "asked")
	request := d.Envelope(t)
	p.cut()
	refused := d.Respond(t, request.RequestID, "too early")
	require.False(t, refused.Success)
	require.Equal(t, "InternalServerError", refused.Error.Name)
	require.NotContains(t, refused.Error.Message, p.addr, "devices learn nothing of the servers")
	p.heal()
	require.True(t, d.Respond(t, request.RequestID, "again").Success)
	res, err := asked.wait(t)
	require.NoError(t, err)
	require.Contains(t, []string{`"too early"`, `"again"`}, string(res.Response), "the first that was stored wins")
}

// TestRealtimeWhileTheNodeIsCutOff: what is published while a node does not
// hear Redis is lost for its devices, and for those of no other node.
func TestRealtimeWhileTheNodeIsCutOff(t *testing.T) {
	t.Parallel()
	w, p, cfg := proxied(t, func(c *gateway.Config) *string { return &c.Redis.Addrs[0] })
	cutOff, other := w.nodeOn(t, openClient(t, cfg), node.Options{}), w.node(t, node.Options{})
	u := user()
	d, elsewhere := cutOff.connect(t, u, devicetest.Reliable), other.connect(t, u, devicetest.Reliable)
	p.cut()
	w.realtime(t, u, "lost")
	require.JSONEq(t, `"lost"`, string(elsewhere.Message(t).Data))
	p.heal()
	// Until the node is there again, these are lost as well.
	require.Eventually(t, func() bool {
		w.realtime(t, u, "after")
		return d.Pending() > 0
	}, 2*devicetest.Patience, 20*time.Millisecond)
	require.JSONEq(t, `"after"`, string(d.Message(t).Data), "no node repeats what it did not hear")
}

// TestHubsNeedRedisOnly: the calls of hubs work without MySQL and RabbitMQ, and
// fail without Redis, naming it.
func TestHubsNeedRedisOnly(t *testing.T) {
	t.Parallel()
	w, redis, cfg := proxied(t, func(c *gateway.Config) *string { return &c.Redis.Addrs[0] })
	mysql, rabbit := newProxy(t, cfg.MySQL.Addr), newProxy(t, cfg.RabbitMQ.Addrs[0])
	cfg.MySQL.Addr, cfg.RabbitMQ.Addrs[0] = mysql.addr, rabbit.addr
	client := openClient(t, cfg)
	h := w.nodeOn(t, client, node.Options{})
	hub := newHub(t, w)
	d := hub.connect(h, "ann", devicetest.JSON)
	mysql.cut()
	rabbit.cut()
	calls := client.Hub(hub.Name())
	id := d.Connected.ConnectionID
	require.NoError(t, calls.AddConnectionToGroup(t.Context(), "red", id))
	require.NoError(t, calls.SendToGroup(t.Context(), "red", gateway.Text("hello")))
	require.Equal(t, "hello", d.Message(t).Text())
	exists, err := calls.UserExists(t.Context(), "ann")
	require.NoError(t, err)
	require.True(t, exists)
	redis.cut()
	for name, call := range map[string]func(context.Context) error{
		"send":   func(ctx context.Context) error { return calls.SendToAll(ctx, 1) },
		"group":  func(ctx context.Context) error { return calls.AddConnectionToGroup(ctx, "blue", id) },
		"exists": func(ctx context.Context) error { _, err := calls.UserExists(ctx, "ann"); return err },
		"close":  func(ctx context.Context) error { return calls.CloseConnection(ctx, id) },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := call(ctx)
		cancel()
		require.ErrorContains(t, err, redis.addr, name)
	}
	d.Ping(t)
	require.Equal(t, devicetest.TypePong, d.Next(t).Type, "its device stays")
}

// TestVanishedMachine: a node whose machine is gone without a word counts until
// Redis notices; calls that concern it say so, and sends go on.
func TestVanishedMachine(t *testing.T) {
	t.Parallel()
	w, p, cfg := proxied(t, func(c *gateway.Config) *string { return &c.Redis.Addrs[0] })
	gone, here := w.nodeOn(t, openClient(t, cfg), node.Options{}), w.node(t, node.Options{})
	hub := newHub(t, w)
	vanished, u := user(), user()
	gone.connect(t, vanished, devicetest.Reliable)
	hub.connect(gone, "ann", devicetest.JSON)
	bob := hub.connect(here, "bob", devicetest.JSON)
	d := here.connect(t, u, devicetest.Reliable)

	p.frozen.Lock()
	t.Cleanup(p.frozen.Unlock)
	online, err := w.client.Online(t.Context(), vanished)
	require.NoError(t, err)
	require.True(t, online[vanished], "Redis has not noticed")
	_, err = hub.UserExists(t.Context(), "ann")
	require.ErrorIs(t, err, gateway.ErrNodeUnanswered)
	id := w.reliable(t, vanished, "kept")
	w.realtime(t, vanished, "lost")
	require.NoError(t, hub.SendToAll(t.Context(), gateway.Text("all")))
	require.Equal(t, "all", bob.Message(t).Text())
	live := w.reliable(t, u, 1)
	require.Equal(t, live, d.Envelope(t).ID)
	// The user comes back over another node.
	require.Equal(t, id, here.connect(t, vanished, devicetest.Reliable).Envelope(t).ID)
}
