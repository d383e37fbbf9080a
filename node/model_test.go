package node_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"model/delivery": testModelDelivery,
})

// modelTime bounds how long interleavings are tried, and modelRuns is how many
// there must have been by then.
const (
	modelTime = 12 * time.Second
	modelRuns = 3
)

// testModelDelivery: whatever the order in which messages are sent, hints lost,
// devices connected, dropped, acknowledged, messages sent again and nodes
// killed, no message is lost, none reaches another user, none ends without a
// device that wanted that, and none goes back in its states.
func testModelDelivery(t *testing.T, w *world) {
	began, runs := time.Now(), 0
	rapid.Check(t, func(rt *rapid.T) {
		if time.Since(began) > modelTime {
			return // the interleavings before have to do
		}
		m := newModel(t, rt, w)
		defer m.stop()
		rt.Repeat(map[string]func(*rapid.T){
			"":            m.check,
			"send":        m.send,
			"send again":  m.sendAgain,
			"lose a hint": m.loseHint,
			"command":     m.command,
			"connect":     m.connect,
			"drop":        m.drop,
			"close":       m.close,
			"receive":     m.receive,
			"acknowledge": m.acknowledge,
			"answer":      m.answer,
			"steal":       m.steal,
			"kill a node": m.kill,
		})
		m.finish(rt)
		runs++
	})
	require.GreaterOrEqual(t, runs, modelRuns, "too few interleavings were tried")
}

// model is what must be true of one user's messages.
type model struct {
	t     *testing.T
	world *world
	user  string
	// other is a message of somebody else.
	other string
	nodes []*modelNode
	on    []*modelDevice
	// sent are the messages in order; ended those that a device has asked to
	// end, whether or not it was heard.
	sent  []string
	kinds map[string]gateway.Kind
	ended map[string]bool
	// rank is the highest state that was seen.
	rank map[string]int
}

type modelNode struct {
	*host
	client *gateway.Client
}

type modelDevice struct {
	*devicetest.Device
	node *modelNode
	seen map[string]devicetest.Envelope
}

var ranks = map[gateway.Status]int{
	gateway.StatusPending: 0, gateway.StatusDelivering: 1, gateway.StatusRequestDelivered: 2, gateway.StatusFinished: 3,
}

func newModel(t *testing.T, rt *rapid.T, w *world) *model {
	m := &model{
		t: t, world: w, user: user(), kinds: map[string]gateway.Kind{}, ended: map[string]bool{}, rank: map[string]int{},
	}
	m.other = w.reliable(t, user(), "another user's")
	for range 2 {
		m.nodes = append(m.nodes, m.start())
	}
	rt.Logf("user %s", m.user)
	return m
}

func (m *model) start() *modelNode {
	client := m.world.open(m.t)
	return &modelNode{client: client, host: m.world.nodeOn(m.t, client, node.Options{
		SweepInterval: 150 * time.Millisecond, RetryInterval: 150 * time.Millisecond, RecoveryWindow: 100 * time.Millisecond,
	})}
}

func (m *model) stop() {
	for _, d := range m.on {
		d.Drop()
	}
	for _, n := range m.nodes {
		n.stop()
		require.NoError(m.t, n.client.Close())
	}
}

func (m *model) added(id string, kind gateway.Kind) {
	m.sent = append(m.sent, id)
	m.kinds[id] = kind
}

func (m *model) send(rt *rapid.T) {
	id, err := m.world.client.SendReliable(m.t.Context(), m.user, len(m.sent))
	require.NoError(rt, err)
	m.added(id, gateway.KindReliable)
}

// sendAgain repeats a send whose outcome the caller did not know.
func (m *model) sendAgain(rt *rapid.T) {
	if len(m.sent) == 0 {
		rt.Skip("nothing was sent")
	}
	id := rapid.SampledFrom(m.sent).Draw(rt, "id")
	if m.kinds[id] != gateway.KindReliable {
		rt.Skip("a command")
	}
	again, err := m.world.client.SendReliable(m.t.Context(), m.user, -1, gateway.WithMessageID(id))
	require.NoError(rt, err)
	require.Equal(rt, id, again)
}

// loseHint stores a message that nobody is told of.
func (m *model) loseHint(*rapid.T) {
	id := "row-" + testenv.Unique()
	m.world.insert(m.t, map[string]any{"id": id, "target_user_id": m.user, "push_type": 1, "payload": `"lost"`, "status": "PENDING"})
	m.added(id, gateway.KindReliable)
}

func (m *model) command(rt *rapid.T) {
	res, err := m.world.client.SendCommand(m.t.Context(), m.user, "test:command", len(m.sent), gateway.NoWait())
	require.NoError(rt, err)
	m.added(res.MessageID, gateway.KindCommand)
}

func (m *model) connect(rt *rapid.T) {
	if len(m.on) == 3 {
		rt.Skip("enough devices")
	}
	n := rapid.SampledFrom(m.nodes).Draw(rt, "node")
	sub := rapid.SampledFrom([]string{devicetest.JSON, devicetest.Reliable, devicetest.ProtobufReliable}).Draw(rt, "subprotocol")
	m.on = append(m.on, &modelDevice{Device: n.connect(m.t, m.user, sub), node: n, seen: map[string]devicetest.Envelope{}})
}

// device picks one that is connected.
func (m *model) device(rt *rapid.T) *modelDevice {
	if len(m.on) == 0 {
		rt.Skip("nobody is connected")
	}
	return rapid.SampledFrom(m.on).Draw(rt, "device")
}

func (m *model) forget(gone *modelDevice) {
	m.on = slices.DeleteFunc(m.on, func(d *modelDevice) bool { return d == gone })
}

func (m *model) drop(rt *rapid.T) {
	d := m.device(rt)
	d.Drop()
	m.forget(d)
}

func (m *model) close(rt *rapid.T) {
	d := m.device(rt)
	d.Close(1000)
	m.forget(d)
}

// receive takes what has arrived.
func (m *model) receive(rt *rapid.T) {
	d := m.device(rt)
	for d.Pending() > 0 {
		m.take(m.t.Context(), rt, d)
	}
}

// take notes one frame, if one comes.
func (m *model) take(ctx context.Context, rt *rapid.T, d *modelDevice) bool {
	f, err := d.TryNext(ctx)
	if err != nil {
		return false
	}
	if f.Type != devicetest.TypeMessage {
		return true
	}
	e, ok := f.Envelope()
	require.True(rt, ok, string(f.Raw))
	require.Contains(rt, m.sent, e.ID, "a message of somebody else")
	d.seen[e.ID] = e
	return true
}

func (m *model) acknowledge(rt *rapid.T) { m.confirm(m.device(rt)) }

// confirm acknowledges what the device has taken, or tries to.
func (m *model) confirm(d *modelDevice) {
	var ids []string
	var last uint64
	for id, e := range d.seen {
		ids, last = append(ids, id), max(last, e.SequenceID)
		if m.kinds[id] == gateway.KindReliable {
			m.ended[id] = true
		}
	}
	if d.Subprotocol() == devicetest.JSON {
		_, _ = d.TrySendEvent("ack", map[string]any{"ids": ids}) // its node may be dead
		return
	}
	_ = d.TrySequenceAck(last)
}

// answer answers a command that the device has taken, or tries to.
func (m *model) answer(rt *rapid.T) { m.respond(m.device(rt)) }

func (m *model) respond(d *modelDevice) {
	for id, e := range d.seen {
		if m.kinds[id] == gateway.KindCommand {
			m.ended[id] = true
			_, _ = d.TrySendEvent("response", map[string]any{"requestId": e.RequestID, "data": "done"})
		}
	}
}

// steal acknowledges and answers what is another user's.
func (m *model) steal(rt *rapid.T) {
	d := m.device(rt)
	_, _ = d.TrySendEvent("ack", map[string]any{"ids": []string{m.other}})
	_, _ = d.TrySendEvent("response", map[string]any{"requestId": m.other, "data": "stolen"})
}

// kill ends a node as its process would die: what it has not written is gone.
func (m *model) kill(rt *rapid.T) {
	i := rapid.IntRange(0, len(m.nodes)-1).Draw(rt, "node")
	n := m.nodes[i]
	dead, cancel := context.WithCancel(context.Background())
	cancel()
	_ = n.Shutdown(dead)
	n.stop()
	require.NoError(rt, n.client.Close())
	m.nodes[i] = m.start()
	m.on = slices.DeleteFunc(m.on, func(d *modelDevice) bool {
		if d.node == n {
			d.Drop()
		}
		return d.node == n
	})
}

// check is what holds at any moment.
func (m *model) check(rt *rapid.T) {
	for _, id := range m.sent {
		row, err := m.world.client.Message(m.t.Context(), id)
		require.NoError(rt, err, "a message is lost")
		rank, known := ranks[row.Status]
		require.True(rt, known, row.Status)
		require.GreaterOrEqual(rt, rank, m.rank[id], "message %s went back to %s", id, row.Status)
		m.rank[id] = rank
		if row.Status == gateway.StatusFinished {
			require.True(rt, m.ended[id], "message %s ended, and no device wanted that", id)
		}
	}
}

// finish is the user who comes once more: everything that did not end arrives,
// and nothing that did.
func (m *model) finish(rt *rapid.T) {
	require.Equal(rt, gateway.StatusPending, m.world.message(m.t, m.other).Status, "stolen")
	// While a node holds the user, a connection that could be recovered among
	// them, a message that ended elsewhere may come again; else it must not.
	online, err := m.world.client.Online(m.t.Context(), m.user)
	require.NoError(rt, err)
	over := map[string]bool{}
	for _, id := range m.sent {
		over[id] = !online[m.user] && m.rank[id] == ranks[gateway.StatusFinished]
	}
	n := m.nodes[0]
	d := &modelDevice{Device: n.connect(m.t, m.user, devicetest.Reliable), node: n, seen: map[string]devicetest.Envelope{}}
	m.on = append(m.on, d)
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*devicetest.Patience)
	defer cancel()
	for {
		m.check(rt)
		left := slices.IndexFunc(m.sent, func(id string) bool { return m.rank[id] != ranks[gateway.StatusFinished] })
		if left < 0 {
			break
		}
		if ctx.Err() != nil {
			rt.Fatalf("message %s does not end", m.sent[left])
		}
		soon, stop := context.WithTimeout(ctx, 20*time.Millisecond)
		for m.take(soon, rt, d) {
		}
		stop()
		m.confirm(d)
		m.respond(d)
	}
	for id := range d.seen {
		require.False(rt, over[id], "message %s came although it had ended", id)
	}
}
