package node_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"group/payloads":      testGroupPayloads,
	"group/membership":    testGroupMembership,
	"group/acks":          testGroupAcks,
	"group/fireAndForget": testGroupFireAndForget,
	"group/noEcho":        testGroupNoEcho,
	"group/roles":         testGroupRoles,
	"group/order":         testGroupOrder,
	"group/many":          testGroupMany,
	"group/ttl":           testGroupTTL,
})

// pubsub are the subprotocols with frames.
var pubsub = []string{devicetest.JSON, devicetest.Reliable, devicetest.Protobuf, devicetest.ProtobufReliable}

// anyRoles allow a device everything.
var anyRoles = gateway.WithRoles("webpubsub.joinLeaveGroup", "webpubsub.sendToGroup")

// untilPong sends a ping and returns what comes before its pong: everything that
// the node had to say until now.
func untilPong(t *testing.T, d *devicetest.Device) (before []devicetest.Frame) {
	t.Helper()
	d.Ping(t)
	for {
		f := d.Next(t)
		if f.Type == devicetest.TypePong {
			return before
		}
		before = append(before, f)
	}
}

// bareConnect connects a device without subprotocol, and waits until the node
// counts it: it is told nothing that says so.
func (h *hubOf) bareConnect(t *testing.T, at *host, path string, opts ...gateway.TokenOption) *devicetest.Device {
	t.Helper()
	before := at.Connections()
	access, err := h.ClientAccessToken(t.Context(), "", append(opts, gateway.WithEndpoint(at.server.URL), gateway.WithGroups("marker "+t.Name()))...)
	require.NoError(t, err)
	d := devicetest.Connect(t, devicetest.Options{URL: access.URL + path})
	require.Eventually(t, func() bool {
		ok, err := h.GroupExists(t.Context(), "marker "+t.Name())
		return err == nil && ok && at.Connections() == before+1
	}, devicetest.Patience, time.Millisecond)
	return d
}

// testGroupPayloads is table 3.4 of the specification: every payload from
// every kind of device to every other, across two nodes.
func testGroupPayloads(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h := newHub(t, w)
	member := gateway.WithGroups("g")
	var receivers []*devicetest.Device
	for i, sub := range pubsub {
		receivers = append(receivers, h.connect([]*host{a, b}[i%2], "", sub, member))
	}
	bare := h.bareConnect(t, b, "", member)
	message, err := anypb.New(wrapperspb.String("in an Any"))
	require.NoError(t, err)
	encoded, err := proto.Marshal(message)
	require.NoError(t, err)

	payloads := []devicetest.GroupMessage{
		{DataType: "text", Data: "tëxt \" \\ \n 🙂"},
		{DataType: "text", Data: ""},
		{DataType: "json", Data: `{ "n":1.50e3, "big":12345678901234567890123, "s":"<\u00e9>&", "a":[ ] }`},
		{DataType: "json", Data: `"just a string"`},
		{DataType: "json", Data: `-0.0`},
		{DataType: "binary", Data: "\x00\x01\xfe\xff"},
		{DataType: "binary", Data: ""},
		{DataType: "protobuf", Data: string(encoded)},
	}
	metadata := map[string]string{"trace": "a1", "X-Other": "two words"}
	for i, sub := range pubsub {
		sender := h.connect([]*host{a, b}[i%2], "sender", sub, anyRoles)
		for _, m := range payloads {
			m.Group, m.Metadata = "g", metadata
			require.True(t, sender.SendToGroup(t, m).Success, "%s %s", sub, m.DataType)
			for _, r := range receivers {
				wantGroupMessage(t, r, m)
			}
			f := bare.Next(t)
			assert.Equal(t, m.Data, string(f.Raw), "%s from %s", m.DataType, sub)
			assert.Equal(t, m.DataType == "binary" || m.DataType == "protobuf", f.Binary)
		}
	}
}

// wantGroupMessage wants the device's next frame to be the message.
func wantGroupMessage(t *testing.T, d *devicetest.Device, m devicetest.GroupMessage) {
	t.Helper()
	f := d.Message(t)
	assert.Equal(t, []string{"group", m.Group, m.DataType}, []string{f.From, f.Group, f.DataType})
	assert.Equal(t, m.Metadata, f.Metadata)
	got := string(f.Bytes())
	switch m.DataType {
	case "text":
		got = f.Text()
	case "json":
		got = string(f.Data)
	}
	assert.Equal(t, m.Data, got, "%s to %s", m.DataType, d.Subprotocol())
	assert.Equal(t, strings.Contains(d.Subprotocol(), "reliable"), f.SequenceID > 0)
	if !f.Binary {
		assert.Equal(t, "sender", f.FromUserID)
	}
}

func testGroupMembership(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h := newHub(t, w)
	for i, sub := range pubsub {
		group := fmt.Sprintf("räume/%d * ?", i)
		member, sender := h.connect(b, "member", sub, anyRoles), h.connect(a, "", sub, anyRoles)
		send := func(text string) {
			t.Helper()
			require.True(t, sender.SendToGroup(t, devicetest.GroupMessage{Group: group, Data: text}).Success)
		}
		send("to nobody")
		require.True(t, member.Leave(t, group).Success, "not being there is no error")
		require.True(t, member.Join(t, group).Success)
		require.True(t, member.Join(t, group).Success, "again")
		send("once")
		f := member.Message(t)
		assert.Equal(t, "once", f.Text())
		assert.Empty(t, f.FromUserID, "the sender is anonymous")
		require.True(t, member.Leave(t, group).Success)
		send("left")
		require.True(t, member.Join(t, group).Success)
		send("back")
		assert.Equal(t, "back", member.Message(t).Text())
		assert.Empty(t, untilPong(t, member))
		assert.Empty(t, untilPong(t, sender), "sending does not join")

		// Names are compared to the letter.
		require.True(t, sender.SendToGroup(t, devicetest.GroupMessage{Group: strings.ToUpper(group), Data: "other"}).Success)
		send("end")
		assert.Equal(t, "end", member.Message(t).Text())
		member.Close(websocket.StatusNormalClosure)
	}
}

func testGroupAcks(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	for _, sub := range pubsub {
		d := h.connect(a, "ann", sub)
		for _, id := range []uint64{0, 7, math.MaxUint64} {
			m := devicetest.GroupMessage{Group: "g", Data: "x", AckID: &id}
			f := d.SendToGroup(t, m)
			assert.False(t, f.Success)
			assert.Equal(t, "Forbidden", f.Error.Name)
			assert.NotEmpty(t, f.Error.Message)
			d.PostJoin(t, "g", &id)
			assert.Equal(t, "Forbidden", d.AckOf(t, id).Error.Name, "a failed id can be used again")

			require.NoError(t, h.GrantPermission(ctx, gateway.PermissionSendToGroup, d.Connected.ConnectionID, "g"))
			assert.True(t, d.SendToGroup(t, m).Success, "and succeed")
			require.NoError(t, h.RevokePermission(ctx, gateway.PermissionSendToGroup, d.Connected.ConnectionID, "g"))
			f = d.SendToGroup(t, m)
			assert.False(t, f.Success)
			assert.Equal(t, "Duplicate", f.Error.Name, "that comes before the permission")
			d.PostJoin(t, "g", &id)
			assert.Equal(t, "Duplicate", d.AckOf(t, id).Error.Name, "whatever the request")
		}
		d.Close(websocket.StatusNormalClosure)
	}
}

// testGroupFireAndForget: without an ackId nothing is answered, also not a
// refusal.
func testGroupFireAndForget(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h := newHub(t, w)
	for _, sub := range pubsub {
		group := "g " + sub
		d := h.connect(a, "ann", sub, gateway.WithRoles("webpubsub.joinLeaveGroup."+group, "webpubsub.sendToGroup."+group))
		d.PostJoin(t, group, nil)
		d.PostJoin(t, "forbidden", nil)
		d.PostToGroup(t, devicetest.GroupMessage{Group: group, Data: "heard"})
		d.PostToGroup(t, devicetest.GroupMessage{Group: "forbidden", Data: "not"})
		assert.Equal(t, "heard", d.Message(t).Text())
		assert.Empty(t, untilPong(t, d))
	}
}

func testGroupNoEcho(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h := newHub(t, w)
	for _, sub := range pubsub {
		member := gateway.WithGroups("g " + sub)
		one, two := h.connect(a, "ann", sub, member, anyRoles), h.connect(b, "ann", sub, member)
		require.True(t, one.SendToGroup(t, devicetest.GroupMessage{Group: "g " + sub, Data: "quiet", NoEcho: true}).Success)
		require.True(t, one.SendToGroup(t, devicetest.GroupMessage{Group: "g " + sub, Data: "loud"}).Success)
		assert.Equal(t, "loud", one.Message(t).Text())
		assert.Equal(t, "quiet", two.Message(t).Text(), "another connection of the user")
		assert.Equal(t, "loud", two.Message(t).Text())
	}
}

func testGroupRoles(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h := newHub(t, w)
	for name, c := range map[string]struct {
		roles      []string
		join, send []string // what is allowed, of the groups below
	}{
		"none":           {nil, nil, nil},
		"unknown":        {[]string{"webpubsub.everything", "sendToGroup", "webpubsub.joinLeaveGroups"}, nil, nil},
		"any":            {[]string{"webpubsub.joinLeaveGroup", "webpubsub.sendToGroup"}, all, all},
		"join only":      {[]string{"webpubsub.joinLeaveGroup"}, all, nil},
		"send only":      {[]string{"webpubsub.sendToGroup"}, nil, all},
		"literal":        {[]string{"webpubsub.joinLeaveGroup.room.1", "webpubsub.sendToGroup.room.*"}, []string{"room.1"}, []string{"room.*"}},
		"question mark":  {[]string{"webpubsub.sendToGroups.room.?"}, nil, []string{"room.1", "room.*"}},
		"star":           {[]string{"webpubsub.joinLeaveGroups.room.*"}, []string{"room.1", "room.*", "room.22"}, nil},
		"two stars":      {[]string{"webpubsub.joinLeaveGroups.room.**"}, []string{"room.1", "room.*", "room.22", "room.1.a"}, nil},
		"all by pattern": {[]string{"webpubsub.sendToGroups.**"}, nil, all},
		"escape":         {[]string{`webpubsub.sendToGroups.room.\*`}, nil, []string{"room.*"}},
		"bad escape":     {[]string{`webpubsub.sendToGroups.room\.1`}, nil, nil},
	} {
		for _, sub := range []string{devicetest.JSON, devicetest.ProtobufReliable} {
			d := h.connect(a, "ann", sub, gateway.WithRoles(c.roles...))
			var join, send []string
			for _, group := range all {
				if f := d.Join(t, group); f.Success {
					join = append(join, group)
					assert.True(t, d.Leave(t, group).Success)
				} else {
					assert.Equal(t, "Forbidden", f.Error.Name)
					assert.Equal(t, "Forbidden", d.Leave(t, group).Error.Name)
				}
				if f := d.SendToGroup(t, devicetest.GroupMessage{Group: group}); f.Success {
					send = append(send, group)
				} else {
					assert.Equal(t, "Forbidden", f.Error.Name)
				}
			}
			assert.Equal(t, c.join, join, "%s: join", name)
			assert.Equal(t, c.send, send, "%s: send", name)
			d.Close(websocket.StatusNormalClosure)
		}
	}
}

// all are the groups of testGroupRoles.
var all = []string{"room.1", "room.*", "room.22", "room.1.a", "hall", "Room.1"}

// testGroupOrder: what one device sends to a group arrives in order, whatever
// the node, though nothing waits for acknowledgements.
func testGroupOrder(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h := newHub(t, w)
	const each = 400
	member := gateway.WithGroups("g")
	receivers := []*devicetest.Device{
		h.connect(a, "", devicetest.JSON, member), h.connect(b, "", devicetest.Reliable, member), h.connect(b, "", devicetest.Protobuf, member),
	}
	senders := []*devicetest.Device{h.connect(a, "s0", devicetest.JSON, anyRoles), h.connect(b, "s1", devicetest.ProtobufReliable, anyRoles)}
	for s, sender := range senders {
		go func() {
			for i := range each {
				sender.PostToGroup(t, devicetest.GroupMessage{Group: "g", Data: fmt.Sprintf("%d %d", s, i)})
			}
		}()
	}
	for _, r := range receivers {
		next := make([]int, len(senders))
		for range each * len(senders) {
			var s, i int
			text := r.Message(t).Text()
			_, err := fmt.Sscan(text, &s, &i)
			require.NoError(t, err, text)
			require.Equal(t, next[s], i, "from sender %d", s)
			next[s]++
		}
	}
}

// testGroupMany: one send reaches each member of a large group once.
func testGroupMany(t *testing.T, w *world) {
	hosts := []*host{w.node(t, node.Options{}), w.node(t, node.Options{})}
	h := newHub(t, w)
	members := make([]*devicetest.Device, 300)
	for i := range members {
		members[i] = h.connect(hosts[i%2], "", pubsub[i%4], gateway.WithGroups("g"))
	}
	sender := h.connect(hosts[0], "s", devicetest.JSON, anyRoles)
	for _, text := range []string{"first", "end"} {
		require.True(t, sender.SendToGroup(t, devicetest.GroupMessage{Group: "g", Data: text}).Success)
	}
	for _, d := range members {
		require.Equal(t, "first", d.Message(t).Text())
		require.Equal(t, "end", d.Message(t).Text())
	}
	for _, d := range members {
		require.Zero(t, d.Pending())
	}
}

// testGroupTTL: a message that waited longer than it may for a device that was
// away is left out, and what comes around it arrives.
func testGroupTTL(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h := newHub(t, w)
	sender := h.connect(a, "s", devicetest.JSON, anyRoles)
	send := func(text string, ttl int) {
		t.Helper()
		require.True(t, sender.SendToGroup(t, devicetest.GroupMessage{Group: "g", Data: text, TTLSeconds: ttl}).Success)
	}
	for _, sub := range []string{devicetest.Reliable, devicetest.ProtobufReliable} {
		d := h.connect(a, "ann", sub, gateway.WithGroups("g"))
		send("before", 300)
		require.Equal(t, "before", d.Message(t).Text())
		d.SequenceAck(t, 1)
		require.Empty(t, untilPong(t, d)) // the node has the acknowledgement
		d.Drop()
		send("short", 1)
		send("kept", 0)
		send("short too", 1)
		expired := time.After(1100 * time.Millisecond)
		send("long", 300)
		<-expired
		d = d.Recover(t)
		got := map[string]uint64{}
		for _, f := range untilPong(t, d) {
			got[f.Text()] = f.SequenceID
		}
		assert.Equal(t, map[string]uint64{"kept": 3, "long": 5}, got, sub)

		// One acknowledgement frees everything, the expired ones as well.
		d.SequenceAck(t, d.LastSequenceID())
		require.Empty(t, untilPong(t, d))
		send("after", 0)
		f := d.Message(t)
		assert.EqualValues(t, 6, f.SequenceID)
		d.Drop()
		d = d.Recover(t)
		before := untilPong(t, d)
		require.Len(t, before, 1)
		assert.Equal(t, "after", before[0].Text())
		d.Close(websocket.StatusNormalClosure)
	}
}
