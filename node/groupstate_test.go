package node_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"state/session":  testStateSession,
	"state/roles":    testStateRoles,
	"state/limits":   testStateLimits,
	"state/acks":     testStateAcks,
	"state/snapshot": testStateSnapshot,
	"state/ends":     testStateEnds,
})

// stateRoles allow a device everything that has to do with states.
var stateRoles = gateway.WithRoles("webpubsub.joinLeaveGroup", "webpubsub.sendToGroup", "webpubsub.setGroupState", "webpubsub.getGroupState")

type state = map[string]string

// member connects a device to a hub as a member of the group "g".
func (h *hubOf) member(t testing.TB, at *host, userID, subprotocol string, opts ...gateway.TokenOption) *devicetest.Device {
	t.Helper()
	return h.connect(at, userID, subprotocol, append([]gateway.TokenOption{stateRoles, gateway.WithGroups("g")}, opts...)...)
}

// update returns the next frame, which must tell of one state.
func update(t testing.TB, d *devicetest.Device) devicetest.StateItem {
	t.Helper()
	f := d.Next(t)
	require.Equal(t, devicetest.TypeStateUpdate, f.Type, "%s", f.Raw)
	require.Equal(t, "g", f.Group)
	require.Len(t, f.Items, 1, "%s", f.Raw)
	return f.Items[0]
}

// watch asks for the states of "g" and returns the snapshot.
func watch(t testing.TB, d *devicetest.Device) []devicetest.StateItem {
	t.Helper()
	id := d.NextAckID()
	d.PostWatchStates(t, "g", id)
	f := d.Next(t)
	require.Equal(t, devicetest.TypeAck, f.Type, "the acknowledgement comes first: %s", f.Raw)
	require.Equal(t, *id, *f.AckID)
	require.True(t, f.Success, "%s", f.Raw)
	f = d.Next(t)
	require.Equal(t, devicetest.TypeStateSnapshot, f.Type, "%s", f.Raw)
	require.Equal(t, "g", f.Group)
	return f.Items
}

// mirror is what a device knows of the states of "g".
type mirror struct {
	states map[string]devicetest.StateItem
	seq    uint64
	// These count what came.
	frames, snapshots, items int
}

// apply takes a frame, which may be one that came before.
func (m *mirror) apply(t testing.TB, f devicetest.Frame) {
	t.Helper()
	if f.SequenceID != 0 {
		if f.SequenceID <= m.seq {
			return
		}
		require.Equal(t, m.seq+1, f.SequenceID, "no gap")
		m.seq = f.SequenceID
	}
	switch f.Type {
	case devicetest.TypeStateSnapshot:
		m.states = map[string]devicetest.StateItem{}
		m.snapshots++
	case devicetest.TypeStateUpdate:
	default:
		return
	}
	m.frames++
	if m.states == nil {
		m.states = map[string]devicetest.StateItem{}
	}
	for _, item := range f.Items {
		require.GreaterOrEqual(t, item.UpdatedAt, m.states[item.ConnectionID].UpdatedAt, "time goes on")
		m.states[item.ConnectionID] = item
		m.items++
	}
}

// live are the states that have not ended.
func (m *mirror) live() map[string]state {
	out := map[string]state{}
	for id, item := range m.states {
		if item.State != nil {
			out[id] = item.State
		}
	}
	return out
}

// until reads frames until the states are those.
func (m *mirror) until(t testing.TB, d *devicetest.Device, want map[string]state) {
	t.Helper()
	for !maps.EqualFunc(m.live(), want, maps.Equal[state, state]) {
		m.apply(t, d.Next(t))
		if m.seq > 0 {
			d.SequenceAck(t, m.seq)
		}
	}
}

// testStateSession: devices of every subprotocol, on two nodes, see each
// other's states.
func testStateSession(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	for _, subprotocol := range pubsub {
		t.Run(subprotocol, func(t *testing.T) {
			h := newHub(t, w)
			ann, bob := h.member(t, a, "ann", subprotocol), h.member(t, b, "", subprotocol)
			before := time.Now().Add(-time.Minute).UnixMilli()
			require.True(t, ann.SetState(t, "g", state{"typing": "1", "ü": ""}).Success)
			items := watch(t, bob)
			require.Len(t, items, 1)
			assert.Equal(t, ann.Connected.ConnectionID, items[0].ConnectionID)
			assert.Equal(t, "ann", items[0].UserID)
			assert.Equal(t, state{"typing": "1", "ü": ""}, items[0].State)
			assert.Greater(t, items[0].UpdatedAt, before)
			assert.Less(t, items[0].UpdatedAt, before+int64(2*time.Minute/time.Millisecond))
			require.Len(t, watch(t, ann), 1)

			// A change reaches all who watch, also who made it.
			require.True(t, bob.SetState(t, "g", state{}).Success)
			for _, d := range []*devicetest.Device{ann, bob} {
				item := update(t, d)
				assert.Equal(t, bob.Connected.ConnectionID, item.ConnectionID)
				assert.Empty(t, item.UserID)
				assert.NotNil(t, item.State, "an empty state is a state")
			}
			last := items[0].UpdatedAt
			for _, want := range []state{{"typing": "0"}, {"away": "yes"}, nil} {
				require.True(t, ann.SetState(t, "g", want).Success)
				for _, d := range []*devicetest.Device{ann, bob} {
					item := update(t, d)
					assert.Equal(t, want, item.State)
					assert.Equal(t, ann.Connected.ConnectionID, item.ConnectionID)
					assert.Greater(t, item.UpdatedAt, last)
				}
				last++
			}
			// Whoever does not watch hears nothing, but stays a member.
			require.True(t, bob.UnwatchStates(t, "g").Success)
			require.True(t, ann.SetState(t, "g", state{"unheard": "1"}).Success)
			update(t, ann)
			require.True(t, ann.SendToGroup(t, devicetest.GroupMessage{Group: "g", Data: "x"}).Success)
			require.Equal(t, "x", bob.Message(t).Text())
			// Watching again begins anew, once.
			require.Len(t, watch(t, bob), 2)
			require.Len(t, watch(t, bob), 2)
			require.True(t, bob.SetState(t, "g", nil).Success)
			assert.Nil(t, update(t, bob).State)
			assert.Empty(t, untilPong(t, bob))
		})
	}
}

func testStateRoles(t *testing.T, w *world) {
	at, h := w.node(t, node.Options{}), newHub(t, w)
	for name, c := range map[string]struct {
		roles    []string
		set, get string
	}{
		"none":           {nil, "Forbidden", "Forbidden"},
		"those for more": {[]string{"webpubsub.joinLeaveGroup", "webpubsub.sendToGroup"}, "Forbidden", "Forbidden"},
		"set":            {[]string{"webpubsub.setGroupState"}, "", "Forbidden"},
		"get":            {[]string{"webpubsub.getGroupState"}, "Forbidden", ""},
		"literal":        {[]string{"webpubsub.setGroupState.room.7", "webpubsub.getGroupState.room.7"}, "", ""},
		"another":        {[]string{"webpubsub.setGroupState.room.8", "webpubsub.getGroupState.room"}, "Forbidden", "Forbidden"},
		"pattern":        {[]string{"webpubsub.setGroupState.room.*", "webpubsub.getGroupState.**"}, "", ""},
		"other pattern":  {[]string{"webpubsub.setGroupState.*", "webpubsub.getGroupState.?"}, "Forbidden", "Forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			d := h.connect(at, "ann", devicetest.Reliable, gateway.WithRoles(c.roles...), gateway.WithGroups("room.7"))
			assert.Equal(t, c.set, d.SetState(t, "room.7", state{"a": "1"}).Error.Name)
			assert.Equal(t, c.get, d.WatchStates(t, "room.7").Error.Name)
			assert.True(t, d.UnwatchStates(t, "room.7").Success, "that needs no right")
			d.Drop()
			d = d.Recover(t)
			assert.Equal(t, c.set, d.SetState(t, "room.7", nil).Error.Name, "rights are kept")
		})
	}
	t.Run("membership", func(t *testing.T) {
		d := h.connect(at, "ann", devicetest.JSON, stateRoles)
		assert.Equal(t, "Forbidden", d.SetState(t, "g", state{}).Error.Name)
		assert.Equal(t, "Forbidden", d.SetState(t, "g", nil).Error.Name)
		assert.Equal(t, "Forbidden", d.WatchStates(t, "g").Error.Name)
		require.True(t, d.Join(t, "g").Success)
		assert.True(t, d.SetState(t, "g", state{}).Success)
		assert.Len(t, watch(t, d), 1)
	})
}

func testStateLimits(t *testing.T, w *world) {
	h := newHub(t, w)
	for name, c := range map[string]struct {
		opts  node.Options
		bytes int
	}{"default": {node.Options{}, 512}, "changed": {node.Options{MaxGroupState: 20, MaxGroupStates: 2}, 20}} {
		t.Run(name, func(t *testing.T) {
			d := h.member(t, w.node(t, c.opts), "ann", devicetest.JSON)
			fits := state{"é": strings.Repeat("x", c.bytes-4), "k": "v"}
			require.True(t, d.SetState(t, "g", fits).Success)
			fits["k"] = "vv"
			require.Equal(t, "BadRequest", d.SetState(t, "g", fits).Error.Name)
			fits["k"] = "v"
			items := watch(t, d)
			require.Len(t, items, 1)
			assert.Equal(t, fits, items[0].State, "what was refused has changed nothing")
		})
	}
	t.Run("groups", func(t *testing.T) {
		d := h.member(t, w.node(t, node.Options{MaxGroupStates: 2}), "ann", devicetest.JSON, gateway.WithGroups("b", "c"))
		for group, want := range map[string]string{"g": "", "b": ""} {
			assert.Equal(t, want, d.SetState(t, group, state{"a": "1"}).Error.Name)
			assert.Equal(t, want, d.WatchStates(t, group).Error.Name)
		}
		assert.Equal(t, "BadRequest", d.SetState(t, "c", state{}).Error.Name)
		assert.Equal(t, "BadRequest", d.WatchStates(t, "c").Error.Name)
		assert.True(t, d.SetState(t, "b", state{"a": "2"}).Success, "one that is there may change")
		assert.True(t, d.WatchStates(t, "b").Success)
		assert.True(t, d.SetState(t, "g", nil).Success)
		assert.True(t, d.UnwatchStates(t, "g").Success)
		assert.True(t, d.SetState(t, "c", state{}).Success)
		assert.True(t, d.WatchStates(t, "c").Success)
	})
}

func testStateAcks(t *testing.T, w *world) {
	at, h := w.node(t, node.Options{}), newHub(t, w)
	d := h.member(t, at, "ann", devicetest.Reliable)
	for i, frame := range []string{
		`{"type":"setGroupState","group":"g","state":{"a":"1"},"ackId":%d}`,
		`{"type":"subscribeGroupState","group":"g","ackId":%d}`,
		`{"type":"unsubscribeGroupState","group":"g","ackId":%d}`,
	} {
		id := uint64(100 + i)
		frame = fmt.Sprintf(frame, id)
		d.SendText(t, frame)
		require.Empty(t, d.AckOf(t, id).Error.Name)
		d.SendText(t, frame)
		require.Equal(t, "Duplicate", d.AckOf(t, id).Error.Name)
	}
	d.Drop()
	d = d.Recover(t)
	d.SendText(t, `{"type":"subscribeGroupState","group":"g","ackId":101}`)
	require.Equal(t, "Duplicate", d.AckOf(t, 101).Error.Name)
	// A failed one may be sent again.
	d.SendText(t, `{"type":"subscribeGroupState","group":"other","ackId":109}`)
	require.Equal(t, "Forbidden", d.AckOf(t, 109).Error.Name)
	require.True(t, d.Join(t, "other").Success)
	d.SendText(t, `{"type":"subscribeGroupState","group":"other","ackId":109}`)
	require.True(t, d.AckOf(t, 109).Success)
	// Without ackId it works the same, and failures are not told.
	plain := h.member(t, at, "bob", devicetest.JSON)
	plain.SendText(t, `{"type":"subscribeGroupState","group":"g"}`)
	require.Equal(t, devicetest.TypeStateSnapshot, plain.Next(t).Type)
	plain.SendText(t, `{"type":"setGroupState","group":"g","state":{"b":"1"}}`)
	require.Equal(t, state{"b": "1"}, update(t, plain).State)
	plain.SendText(t, `{"type":"setGroupState","group":"nope","state":{"b":"1"}}`)
	require.Empty(t, untilPong(t, plain))
}

// testStateSnapshot: a snapshot has the first 200 states of all nodes, in
// order, and no member without state.
func testStateSnapshot(t *testing.T, w *world) {
	hosts := []*host{w.node(t, node.Options{}), w.node(t, node.Options{})}
	h := newHub(t, w)
	var ids []string
	var last *devicetest.Device
	for i := range 205 {
		last = h.member(t, hosts[i%2], fmt.Sprintf("u%d", i), devicetest.JSON)
		require.True(t, last.SetState(t, "g", state{"n": fmt.Sprint(i)}).Success)
		ids = append(ids, last.Connected.ConnectionID)
	}
	slices.Sort(ids)
	for _, at := range hosts {
		silent := h.member(t, at, "silent", devicetest.Reliable)
		items := watch(t, silent)
		require.Len(t, items, 200)
		for i, item := range items {
			require.Equal(t, ids[i], item.ConnectionID)
		}
		// Those that did not fit are heard of when they change.
		require.True(t, last.SetState(t, "g", state{"n": "new"}).Success)
		require.Equal(t, last.Connected.ConnectionID, update(t, silent).ConnectionID)
	}
}

// testStateEnds: every way out of a group ends the state, and the watch.
func testStateEnds(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{RecoveryWindow: 200 * time.Millisecond}), w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	watcher := h.member(t, b, "watcher", devicetest.Reliable)
	require.Empty(t, watch(t, watcher))
	for name, c := range map[string]struct {
		end      func(t *testing.T, d *devicetest.Device)
		survives bool
	}{
		"leaves":   {func(t *testing.T, d *devicetest.Device) { require.True(t, d.Leave(t, "g").Success) }, true},
		"closes":   {func(_ *testing.T, d *devicetest.Device) { d.Close(websocket.StatusNormalClosure) }, false},
		"breaks":   {func(_ *testing.T, d *devicetest.Device) { d.Drop() }, false},
		"is wrong": {func(t *testing.T, d *devicetest.Device) { d.SendText(t, "?") }, false},
		"is removed": {func(t *testing.T, d *devicetest.Device) {
			require.NoError(t, h.RemoveConnectionFromGroup(ctx, "g", d.Connected.ConnectionID))
		}, true},
		"is removed from all": {func(t *testing.T, d *devicetest.Device) {
			require.NoError(t, h.RemoveConnectionFromAllGroups(ctx, d.Connected.ConnectionID))
		}, true},
		"as a user": {func(t *testing.T, _ *devicetest.Device) { require.NoError(t, h.RemoveUserFromGroup(ctx, "g", "ann")) }, true},
		"is closed": {func(t *testing.T, d *devicetest.Device) {
			require.NoError(t, h.CloseConnection(ctx, d.Connected.ConnectionID))
		}, false},
	} {
		for _, subprotocol := range []string{devicetest.JSON, devicetest.Reliable} {
			t.Run(name+"/"+subprotocol, func(t *testing.T) {
				d := h.member(t, a, "ann", subprotocol)
				require.True(t, d.SetState(t, "g", state{"here": "1"}).Success)
				require.Len(t, watch(t, d), 1)
				set := update(t, watcher)
				require.Equal(t, state{"here": "1"}, set.State)
				c.end(t, d)
				ended := update(t, watcher)
				assert.Equal(t, d.Connected.ConnectionID, ended.ConnectionID)
				assert.Equal(t, "ann", ended.UserID)
				assert.Nil(t, ended.State)
				assert.Greater(t, ended.UpdatedAt, set.UpdatedAt)
				if !c.survives {
					return
				}
				// It may come back, with nothing of before.
				require.True(t, d.Join(t, "g").Success)
				require.True(t, watcher.SetState(t, "g", state{"x": name}).Success)
				update(t, watcher)
				assert.Empty(t, untilPong(t, d), "it watches no more, and did not hear of its own end")
				assert.Len(t, watch(t, d), 1)
				require.True(t, watcher.SetState(t, "g", nil).Success)
				update(t, watcher)
				require.True(t, d.SetState(t, "g", state{"back": "1"}).Success)
				assert.Greater(t, update(t, watcher).UpdatedAt, ended.UpdatedAt)
				d.Close(websocket.StatusNormalClosure)
				update(t, watcher)
			})
		}
	}
	t.Run("membership runs out", func(t *testing.T) {
		d := h.connect(a, "eve", devicetest.JSON, stateRoles)
		require.NoError(t, h.AddConnectionToGroup(ctx, "g", d.Connected.ConnectionID))
		require.True(t, d.SetState(t, "g", state{"a": "1"}).Success)
		update(t, watcher)
		// Joining again keeps the state.
		require.NoError(t, h.AddConnectionToGroup(ctx, "g", d.Connected.ConnectionID))
		require.Len(t, slices.DeleteFunc(watch(t, d), func(i devicetest.StateItem) bool { return i.UserID != "eve" }), 1)
		require.NoError(t, h.RemoveConnectionsFromGroups(ctx, []string{"g"}, "userId eq 'eve'"))
		require.Nil(t, update(t, watcher).State)
	})
	assert.Empty(t, untilPong(t, watcher))
}
