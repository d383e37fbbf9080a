package node_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"hub/send":           testHubSend,
	"hub/exists":         testHubExists,
	"hub/close":          testHubClose,
	"hub/permissions":    testHubPermissions,
	"hub/groupsByServer": testHubGroups,
	"hub/list":           testHubList,
	"hub/membershipEnds": testHubMembershipEnds,
	"hub/filter":         testHubFilter,
	"hub/repeatedSends":  testHubRepeatedSends,
})

// hubOf is a hub of the test's own, and a way to connect to it.
type hubOf struct {
	*gateway.Hub
	t testing.TB
}

func newHub(t testing.TB, w *world) *hubOf {
	return &hubOf{Hub: w.client.Hub("H" + testenv.Unique()), t: t}
}

func (h *hubOf) connect(at *host, userID, subprotocol string, opts ...gateway.TokenOption) *devicetest.Device {
	h.t.Helper()
	access, err := h.ClientAccessToken(h.t.Context(), userID, append(opts, gateway.WithEndpoint(at.server.URL))...)
	require.NoError(h.t, err)
	return devicetest.Connect(h.t, devicetest.Options{URL: access.URL, Subprotocol: subprotocol})
}

func testHubSend(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	ann := h.connect(a, "ann", devicetest.Reliable, gateway.WithGroups("red"))
	ann2 := h.connect(b, "ann", devicetest.Protobuf)
	bob := h.connect(b, "bob", devicetest.JSON, gateway.WithGroups("red", "blue", "red"))
	bare := h.connect(a, "", devicetest.None)

	require.NoError(t, h.SendToAll(ctx, gateway.Text("all")))
	for _, d := range []*devicetest.Device{ann, ann2, bob} {
		f := d.Message(t)
		assert.Equal(t, "all", f.Text())
		assert.Equal(t, "server", f.From)
	}
	assert.Equal(t, "all", string(bare.Next(t).Raw))

	require.NoError(t, h.SendToGroup(ctx, "red", map[string]int{"n": 1}, gateway.Excluding(bob.Connected.ConnectionID)))
	require.NoError(t, h.SendToGroup(ctx, "blue", gateway.Binary{1, 2}))
	require.NoError(t, h.SendToGroup(ctx, "nobody", 1))
	f := ann.Message(t)
	assert.Equal(t, []string{"group", "red", "", "json", `{"n":1}`}, []string{f.From, f.Group, f.FromUserID, f.DataType, string(f.Data)})
	f = bob.Message(t)
	assert.Equal(t, "blue", f.Group)
	assert.Equal(t, []byte{1, 2}, f.Bytes())

	require.NoError(t, h.SendToUser(ctx, "ann", gateway.Text("to ann")))
	require.NoError(t, h.SendToConnection(ctx, bob.Connected.ConnectionID, gateway.Text("to bob")))
	assert.Equal(t, "to ann", ann.Message(t).Text())
	assert.Equal(t, "to ann", ann2.Message(t).Text())
	assert.Equal(t, "to bob", bob.Message(t).Text())
	assert.Zero(t, bare.Pending(), "what was for others")
}

func testHubExists(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	d := h.connect(b, "ann/ä,b", devicetest.JSON, gateway.WithGroups("a/b %"))
	exist := func() (states []bool) {
		for _, check := range []func() (bool, error){
			func() (bool, error) { return h.ConnectionExists(ctx, d.Connected.ConnectionID) },
			func() (bool, error) { return h.UserExists(ctx, "ann/ä,b") },
			func() (bool, error) { return h.GroupExists(ctx, "a/b %") },
			func() (bool, error) { return h.ConnectionExists(ctx, "nobody") },
			func() (bool, error) { return h.UserExists(ctx, "ann") },
			func() (bool, error) { return h.GroupExists(ctx, "a/b") },
			func() (bool, error) { return w.client.Hub("other").ConnectionExists(ctx, d.Connected.ConnectionID) },
		} {
			ok, err := check()
			require.NoError(t, err)
			states = append(states, ok)
		}
		return states
	}
	assert.Equal(t, []bool{true, true, true, false, false, false, false}, exist())
	d.Close(websocket.StatusNormalClosure)
	require.Eventually(t, func() bool { return a.Connections()+b.Connections() == 0 }, devicetest.Patience, time.Millisecond)
	assert.Equal(t, make([]bool, 7), exist())
}

func testHubClose(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	one := h.connect(b, "ann", devicetest.Reliable)
	require.NoError(t, h.CloseConnection(ctx, one.Connected.ConnectionID, gateway.WithReason("maintenance")))
	f := one.Next(t)
	assert.Equal(t, "Application server closed the connection. Reason: maintenance", f.Message)
	assert.Equal(t, websocket.StatusNormalClosure, one.Ended(t))
	ok, err := h.ConnectionExists(ctx, one.Connected.ConnectionID)
	require.NoError(t, err)
	assert.False(t, ok, "gone at once")
	again, err := one.TryRecover(ctx)
	require.NoError(t, err)
	assert.Equal(t, websocket.StatusPolicyViolation, again.Ended(t), "a closed connection is not recovered")
	require.NoError(t, h.CloseConnection(ctx, one.Connected.ConnectionID), "not there is no error")

	ann, bob := h.connect(a, "ann", devicetest.JSON), h.connect(a, "bob", devicetest.JSON)
	ann2 := h.connect(b, "ann", devicetest.JSON)
	require.NoError(t, h.CloseUserConnections(ctx, "ann", gateway.Excluding(ann2.Connected.ConnectionID)))
	assert.Equal(t, websocket.StatusNormalClosure, ann.Ended(t))
	require.NoError(t, h.CloseAllConnections(ctx, gateway.Excluding(bob.Connected.ConnectionID)))
	assert.Equal(t, websocket.StatusNormalClosure, ann2.Ended(t))
	require.NoError(t, h.AddUserToGroup(ctx, "g", "bob"))
	require.NoError(t, h.CloseGroupConnections(ctx, "g"))
	assert.Equal(t, websocket.StatusNormalClosure, bob.Ended(t))
}

func testHubPermissions(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	d := h.connect(b, "ann", devicetest.JSON, gateway.WithRoles("webpubsub.joinLeaveGroups.room-*"))
	_ = a
	id := d.Connected.ConnectionID
	ack := uint64(0)
	try := func(kind, group string) string {
		ack++
		d.SendText(t, fmt.Sprintf(`{"type":%q,"group":%q,"ackId":%d,"dataType":"text","data":"x"}`, kind, group, ack))
		return d.AckOf(t, ack).Error.Name
	}
	assert.Equal(t, "Forbidden", try("sendToGroup", "room-1"))
	assert.Empty(t, try("joinGroup", "room-1"))
	assert.Equal(t, "Forbidden", try("joinGroup", "hall"))

	require.NoError(t, h.GrantPermission(ctx, gateway.PermissionSendToGroup, id, "room-1"))
	require.NoError(t, h.GrantPermission(ctx, gateway.PermissionJoinLeaveGroup, id, ""))
	require.NoError(t, h.RevokePermission(ctx, gateway.PermissionJoinLeaveGroup, id, "cellar"))
	assert.Empty(t, try("sendToGroup", "room-1"))
	assert.Equal(t, "x", d.Message(t).Text(), "revoking does not evict, and the sender hears itself")
	assert.Equal(t, "Forbidden", try("sendToGroup", "room-2"))
	assert.Empty(t, try("joinGroup", "hall"))
	assert.Equal(t, "Forbidden", try("joinGroup", "cellar"))

	for group, want := range map[string]bool{"hall": true, "cellar": false, "": true} {
		ok, err := h.HasPermission(ctx, gateway.PermissionJoinLeaveGroup, id, group)
		require.NoError(t, err)
		assert.Equal(t, want, ok, group)
	}
	ok, err := h.HasPermission(ctx, gateway.PermissionSendToGroup, "nobody", "")
	require.NoError(t, err)
	assert.False(t, ok)
	assert.ErrorIs(t, h.GrantPermission(ctx, gateway.PermissionSendToGroup, "nobody", "g"), gateway.ErrConnectionNotFound)
	assert.ErrorIs(t, h.GrantPermission(ctx, "fly", id, "g"), gateway.ErrInvalidPermission)
}

func testHubGroups(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	ann, bob := h.connect(a, "ann", devicetest.JSON), h.connect(b, "bob", devicetest.JSON)
	// hears reports who gets a message to a group; the message to all that
	// follows says that nothing comes any more.
	hears := func(group string) (who []string) {
		require.NoError(t, h.SendToGroup(ctx, group, gateway.Text(group)))
		require.NoError(t, h.SendToAll(ctx, gateway.Text("end")))
		for name, d := range map[string]*devicetest.Device{"ann": ann, "bob": bob} {
			for f := d.Message(t); f.Text() != "end"; f = d.Message(t) {
				assert.Equal(t, group, f.Group)
				who = append(who, name)
			}
		}
		return who
	}
	require.NoError(t, h.AddConnectionToGroup(ctx, "g", ann.Connected.ConnectionID))
	require.NoError(t, h.AddConnectionToGroup(ctx, "g", ann.Connected.ConnectionID), "again")
	assert.Equal(t, []string{"ann"}, hears("g"))
	require.NoError(t, h.AddUserToGroup(ctx, "g", "bob"))
	assert.ElementsMatch(t, []string{"ann", "bob"}, hears("g"))
	require.NoError(t, h.RemoveConnectionFromGroup(ctx, "g", ann.Connected.ConnectionID))
	assert.Equal(t, []string{"bob"}, hears("g"))
	require.NoError(t, h.RemoveUserFromAllGroups(ctx, "bob"))
	assert.Empty(t, hears("g"))

	require.NoError(t, h.AddConnectionsToGroups(ctx, []string{"x", "y"}, "userId eq "+gateway.FilterString("bob")))
	assert.Equal(t, []string{"bob"}, hears("x"))
	assert.Equal(t, []string{"bob"}, hears("y"))
	require.NoError(t, h.RemoveConnectionsFromGroups(ctx, []string{"y"}, "'x' in groups"))
	assert.Empty(t, hears("y"))
	require.NoError(t, h.RemoveConnectionFromAllGroups(ctx, bob.Connected.ConnectionID))
	assert.Empty(t, hears("x"))

	assert.ErrorIs(t, h.AddConnectionToGroup(ctx, "g", "nobody"), gateway.ErrConnectionNotFound)
	assert.ErrorIs(t, h.AddUserToGroup(ctx, "g", "nobody"), gateway.ErrUserNotConnected)
	assert.ErrorIs(t, h.AddUserToGroup(ctx, " ", "bob"), gateway.ErrInvalidGroup)
	assert.ErrorIs(t, h.AddConnectionsToGroups(ctx, []string{"g"}, "userId lt 1"), gateway.ErrInvalidFilter)
	require.NoError(t, h.RemoveUserFromGroup(ctx, "g", "nobody"))
}

func testHubList(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	want := map[string]string{}
	for i := range 5 {
		at := a
		if i%2 == 1 {
			at = b
		}
		userID := fmt.Sprintf("u%d", i)
		want[h.connect(at, userID, devicetest.JSON, gateway.WithGroups("g")).Connected.ConnectionID] = userID
	}
	got := map[string]string{}
	last := ""
	for c, err := range h.ListConnectionsInGroup(ctx, "g") {
		require.NoError(t, err)
		assert.Greater(t, c.ConnectionID, last, "in order")
		last = c.ConnectionID
		got[c.ConnectionID] = c.UserID
	}
	assert.Equal(t, want, got)

	paged := map[string]string{}
	for after := ""; ; {
		page, err := h.GroupConnections(ctx, "g", after, 2)
		require.NoError(t, err)
		for _, c := range page {
			paged[c.ConnectionID] = c.UserID
			after = c.ConnectionID
		}
		if len(page) < 2 {
			break
		}
	}
	assert.Equal(t, want, paged)
	page, err := h.GroupConnections(ctx, "nobody", "", 10)
	require.NoError(t, err)
	assert.Empty(t, page)
}

func testHubMembershipEnds(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	d := h.connect(a, "ann", devicetest.JSON)
	require.NoError(t, h.AddUserToGroup(ctx, "g", "ann", gateway.WithExpiry(200*time.Millisecond)))
	ok, err := h.GroupExists(ctx, "g")
	require.NoError(t, err)
	assert.True(t, ok)
	require.Eventually(t, func() bool {
		ok, err := h.GroupExists(ctx, "g")
		return err == nil && !ok
	}, devicetest.Patience, 5*time.Millisecond)

	// Adding it again for good forgets when it would have ended.
	require.NoError(t, h.AddUserToGroup(ctx, "h", "ann", gateway.WithExpiry(50*time.Millisecond)))
	require.NoError(t, h.AddUserToGroup(ctx, "h", "ann"))
	require.NoError(t, h.AddUserToGroup(ctx, "i", "ann", gateway.WithExpiry(100*time.Millisecond)))
	require.Eventually(t, func() bool {
		ok, err := h.GroupExists(ctx, "i")
		return err == nil && !ok
	}, devicetest.Patience, 5*time.Millisecond)
	ok, err = h.GroupExists(ctx, "h")
	require.NoError(t, err)
	assert.True(t, ok)
	d.Ping(t)
}

func testHubFilter(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	ann := h.connect(a, "ann", devicetest.JSON, gateway.WithGroups("vip"))
	anonymous := h.connect(a, "", devicetest.JSON)
	require.NoError(t, h.SendToAll(ctx, gateway.Text("named"), gateway.WithFilter("userId ne null and 'vip' in groups")))
	require.NoError(t, h.SendToAll(ctx, gateway.Text("anonymous"), gateway.WithFilter("userId eq null")))
	assert.Equal(t, "named", ann.Message(t).Text())
	assert.Equal(t, "anonymous", anonymous.Message(t).Text())
	assert.ErrorIs(t, h.SendToAll(ctx, 1, gateway.WithFilter("userId eq")), gateway.ErrInvalidFilter)
	assert.ErrorIs(t, h.SendToUser(ctx, "ann", 1, gateway.Excluding("c")), gateway.ErrInvalidOption)
	assert.ErrorIs(t, w.client.Hub("1").SendToAll(ctx, 1), gateway.ErrInvalidHub)
}

// testHubRepeatedSends: attempts of one send reach every connection once,
// whichever process makes them; other sends are not taken for attempts.
func testHubRepeatedSends(t *testing.T, w *world) {
	a, b, off := w.node(t, node.Options{MaxIdempotencyKeys: 2}), w.node(t, node.Options{}), w.node(t, node.Options{MaxIdempotencyKeys: -1})
	h, ctx := newHub(t, w), t.Context()
	other := w.open(t).Hub(h.Name())
	ann, bob, cid := h.connect(a, "ann", devicetest.Reliable), h.connect(b, "bob", devicetest.JSON), h.connect(off, "cid", devicetest.JSON)
	key := gateway.WithIdempotencyKey("k1")
	for range 2 {
		require.NoError(t, h.SendToAll(ctx, gateway.Text("once"), key, gateway.WithMetadata(map[string]string{"a": "1", "b": "2"})))
		require.NoError(t, other.SendToAll(ctx, gateway.Text("once"), gateway.WithMetadata(map[string]string{"b": "2", "a": "1"}), key))
	}
	require.NoError(t, h.SendToAll(ctx, gateway.Text("other payload"), key))
	require.NoError(t, h.SendToAll(ctx, gateway.Text("once"), key, gateway.Excluding("nobody")))
	require.NoError(t, h.SendToAll(ctx, gateway.Text("once"), gateway.WithIdempotencyKey("k2"), gateway.Excluding("nobody")))
	require.NoError(t, h.SendToUser(ctx, "ann", gateway.Text("once"), key))
	require.NoError(t, h.SendToUser(ctx, "bob", gateway.Text("once"), key))
	require.NoError(t, h.SendToUser(ctx, "bob", gateway.Text("once"), key))
	// Everything that was sent before comes before what is sent now, on the same way.
	texts := func(d *devicetest.Device) (list []string) {
		require.NoError(t, h.SendToConnection(ctx, d.Connected.ConnectionID, gateway.Text("end")))
		for text := d.Message(t).Text(); text != "end"; text = d.Message(t).Text() {
			list = append(list, text)
		}
		return list
	}
	once := []string{"once", "other payload", "once", "once", "once"}
	assert.Equal(t, once, texts(ann))
	assert.Equal(t, once, texts(bob))
	assert.Equal(t, []string{"once", "once", "once", "once", "other payload", "once", "once"}, texts(cid), "the bound is off")
	// The memory of a holds two: the first send is forgotten by now.
	require.NoError(t, h.SendToAll(ctx, gateway.Text("once"), key, gateway.WithMetadata(map[string]string{"a": "1", "b": "2"})))
	assert.Equal(t, []string{"once"}, texts(ann))
	assert.Empty(t, texts(bob))
	for _, bad := range []string{"", strings.Repeat("k", 1025)} {
		assert.ErrorIs(t, h.SendToAll(ctx, 1, gateway.WithIdempotencyKey(bad)), gateway.ErrInvalidArgument)
	}
	assert.ErrorIs(t, h.CloseAllConnections(ctx, key), gateway.ErrInvalidOption)
}

// TestSendIsOnePublish: however many receive it, on however many nodes.
func TestSendIsOnePublish(t *testing.T) {
	t.Parallel()
	w := newReal(t)
	nodes := []*host{w.node(t, node.Options{}), w.node(t, node.Options{})}
	h, ctx := newHub(t, w), t.Context()
	var devices []*devicetest.Device
	for i := range 20 {
		devices = append(devices, h.connect(nodes[i%2], fmt.Sprintf("user-%d", i), devicetest.JSON, gateway.WithGroups("red")))
	}
	all := w.redis.PSubscribe(ctx, w.names.RedisPrefix+"*")
	defer func() { require.NoError(t, all.Close()) }()
	_, err := all.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, h.SendToGroup(ctx, "red", gateway.Text("one-publish")))
	require.NoError(t, h.SendToAll(ctx, gateway.Text("one-publish-too")))
	for _, d := range devices {
		got := []string{d.Message(t).Text(), d.Message(t).Text()}
		require.ElementsMatch(t, []string{"one-publish", "one-publish-too"}, got)
	}
	// One that comes after them says that nothing else will.
	require.NoError(t, w.redis.Publish(ctx, w.names.RedisPrefix+"end", "end").Err())
	published := 0
	for {
		m, err := all.ReceiveMessage(ctx)
		require.NoError(t, err)
		if m.Payload == "end" {
			break
		}
		if strings.Contains(m.Payload, "one-publish") {
			published++
		}
	}
	require.Equal(t, 2, published)
}
