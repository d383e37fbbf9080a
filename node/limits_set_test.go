package node_test

import (
	"context"
	"fmt"
	"net/http"
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
	"limits/set/names":        testLimitsSetNames,
	"limits/set/permissions":  testLimitsSetPermissions,
	"limits/set/streams":      testLimitsSetStreams,
	"limits/set/reconnection": testLimitsSetReconnection,
	"limits/set/filter":       testLimitsSetFilter,
	"limits/set/ackIDs":       testLimitsSetAckIDs,
	"limits/set/handler":      testLimitsSetHandler,
})

// withLimits is a world with other limits on the same backends.
func (w *world) withLimits(l gateway.Limits) *world {
	changed := *w
	changed.cfg.Limits = l
	return &changed
}

// testLimitsSetNames: what a node takes from devices is bound by the limits of
// its client: at them it works, one beyond it is refused.
func testLimitsSetNames(t *testing.T, w *world) {
	w = w.withLimits(gateway.Limits{
		GroupName: 2000, EventName: 200, HubName: 40, MetadataName: 300, MetadataValue: 2000, Metadata: 9000, MessageTTL: 400 * time.Second,
	})
	a := w.node(t, node.Options{})
	h := newHub(t, w)
	x := func(n int) string { return strings.Repeat("x", n) }
	full := map[string]string{}
	for i := range 9 {
		full[fmt.Sprint(i)] = x(999)
	}
	for name, c := range map[string]struct{ at, beyond devicetest.GroupMessage }{
		"group":          {devicetest.GroupMessage{Group: x(2000)}, devicetest.GroupMessage{Group: x(2001)}},
		"metadata name":  {devicetest.GroupMessage{Group: "g", Metadata: map[string]string{x(300): ""}}, devicetest.GroupMessage{Group: "g", Metadata: map[string]string{x(301): ""}}},
		"metadata value": {devicetest.GroupMessage{Group: "g", Metadata: map[string]string{"k": x(2000)}}, devicetest.GroupMessage{Group: "g", Metadata: map[string]string{"k": x(2001)}}},
		"metadata":       {devicetest.GroupMessage{Group: "g", Metadata: full}, devicetest.GroupMessage{Group: "g", Metadata: with(full, "k", "")}},
		"ttl":            {devicetest.GroupMessage{Group: "g", TTLSeconds: 400}, devicetest.GroupMessage{Group: "g", TTLSeconds: 401}},
	} {
		for _, sub := range []string{devicetest.JSON, devicetest.Protobuf} {
			d := h.connect(a, "", sub, anyRoles)
			assert.True(t, d.SendToGroup(t, c.at).Success, "%s %s", sub, name)
			d.PostToGroup(t, c.beyond)
			assert.Equal(t, code16(1007), d.Ended(t), "%s %s", sub, name)
			d.Drop()
		}
	}
	d := h.connect(a, "", devicetest.JSON)
	d.SendText(t, `{"type":"event","event":"`+x(200)+`","ackId":1,"dataType":"text","data":""}`)
	assert.Equal(t, "InternalServerError", d.AckOf(t, 1).Error.Name, "there is no handler")
	d.SendText(t, `{"type":"event","event":"`+x(201)+`","ackId":1,"dataType":"text","data":""}`)
	assert.Equal(t, code16(1007), d.Ended(t))

	// The groups of a token, and the hub of a handshake. Another client, with
	// wider limits, makes the tokens.
	wide := w.withLimits(gateway.Limits{HubName: 1000}).open(t)
	for _, c := range []struct {
		hub, group string
		status     int
	}{
		{x(40), x(2000), http.StatusSwitchingProtocols}, {x(41), "g", http.StatusBadRequest}, {x(40), x(2001), http.StatusBadRequest},
	} {
		access, err := wide.Hub(c.hub).ClientAccessToken(t.Context(), "u", gateway.WithEndpoint(a.server.URL), gateway.WithGroups(c.group))
		require.NoError(t, err)
		conn, response, err := websocket.Dial(t.Context(), access.URL, &websocket.DialOptions{Subprotocols: []string{devicetest.JSON}})
		assert.Equal(t, c.status, response.StatusCode)
		if err == nil {
			_ = conn.CloseNow()
		}
	}
}

func testLimitsSetPermissions(t *testing.T, w *world) {
	a := w.node(t, node.Options{MaxPermissions: 3, MaxPatterns: 2, MaxPatternLength: 6, MaxPatternStars: 3})
	h, ctx := newHub(t, w), t.Context()
	d := h.connect(a, "ann", devicetest.JSON, gateway.WithRoles(
		"webpubsub.sendToGroup.1", "webpubsub.sendToGroup.2",
		"webpubsub.sendToGroups.toolong*", "webpubsub.sendToGroups.*.*.*.*",
		"webpubsub.sendToGroups.a.*.**", "webpubsub.sendToGroups.longe*", "webpubsub.sendToGroups.c.*",
	))
	may := func(group string) bool {
		t.Helper()
		return d.SendToGroup(t, devicetest.GroupMessage{Group: group}).Success
	}
	assert.True(t, may("1") && may("2") && may("a.b.c.d") && may("longer"))
	assert.False(t, may("toolonger") || may("w.x.y.z") || may("c.d"), "beyond the length, the stars, the number")
	require.NoError(t, h.GrantPermission(ctx, gateway.PermissionSendToGroup, d.Connected.ConnectionID, "3"))
	assert.ErrorIs(t, h.GrantPermission(ctx, gateway.PermissionSendToGroup, d.Connected.ConnectionID, "4"), gateway.ErrTooManyPermissions)
	assert.ErrorIs(t, h.RevokePermission(ctx, gateway.PermissionSendToGroup, d.Connected.ConnectionID, "a.b.c"), gateway.ErrTooManyPermissions)
	assert.True(t, may("3"))
	assert.False(t, may("4"))
}

func testLimitsSetStreams(t *testing.T, w *world) {
	a := w.node(t, node.Options{MaxStreams: 2, StreamIdle: 50 * time.Millisecond, MaxStreamIdle: time.Minute})
	d := newHub(t, w).connect(a, "", devicetest.JSON, anyRoles)
	open := func(id string, idle time.Duration) devicetest.Frame {
		d.StartStream(t, "g", id, int(idle.Milliseconds()), false)
		return d.Next(t)
	}
	assert.Equal(t, "streamAck", open("long", time.Minute).Type)
	refused := open("longer", time.Minute+time.Millisecond)
	assert.Equal(t, []string{"streamClosed", "BadRequest"}, []string{refused.Type, refused.Error.Name})
	assert.Equal(t, "streamAck", open("plain", 0).Type)
	ended := d.Next(t) // after StreamIdle
	assert.Equal(t, []string{"streamClosed", "plain", "IdleTimeout"}, []string{ended.Type, ended.StreamID, ended.Error.Name})
	assert.Equal(t, "streamAck", open("second", time.Minute).Type)
	refused = open("third", time.Minute)
	assert.Equal(t, []string{"streamClosed", "BadRequest"}, []string{refused.Type, refused.Error.Name})
}

// testLimitsSetReconnection: a token that is too old recovers nothing, though
// its connection is still there; a good one does.
func testLimitsSetReconnection(t *testing.T, w *world) {
	for lifetime, code := range map[time.Duration]websocket.StatusCode{time.Nanosecond: websocket.StatusPolicyViolation, time.Hour: 0} {
		a := w.node(t, node.Options{ReconnectionLifetime: lifetime})
		d := a.connect(t, user(), devicetest.Reliable)
		issued := time.Now().Unix()
		d.Drop()
		if code != 0 {
			require.Eventually(t, func() bool { return time.Now().Unix() > issued }, devicetest.Patience, time.Millisecond, "tokens count seconds")
			again, err := d.TryRecover(t.Context())
			require.NoError(t, err)
			assert.Equal(t, code, again.Ended(t))
			continue
		}
		assert.Equal(t, d.Connected.ConnectionID, d.Recover(t).Connected.ConnectionID)
	}
}

// testLimitsSetFilter: a node takes a filter that its sender's limits permit,
// though its own would not.
func testLimitsSetFilter(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	wide := w.withLimits(gateway.Limits{FilterClauses: 1000, FilterDepth: 1000, FilterBytes: 1 << 20}).open(t)
	h := newHub(t, w)
	d := h.connect(a, "ann", devicetest.JSON)
	filter := strings.Repeat("(", 500) + "true" + strings.Repeat(")", 500) + strings.Repeat(" and userId ne null", 999) + " and userId in ('" + strings.Repeat("x", 100_000) + "','ann')"
	require.Error(t, h.SendToAll(t.Context(), gateway.Text("x"), gateway.WithFilter(filter)))
	filter = strings.Replace(filter, " and userId ne null", "", 1)
	require.NoError(t, wide.Hub(h.Name()).SendToAll(t.Context(), gateway.Text("x"), gateway.WithFilter(filter)))
	assert.Equal(t, "x", d.Message(t).Text())
}

// testLimitsSetHandler: a handler that waits is told when its time is over.
func testLimitsSetHandler(t *testing.T, w *world) {
	a := w.node(t, node.Options{HandlerTimeout: 20 * time.Millisecond, OnEvent: func(ctx context.Context, _ node.Connection, _ node.Event) (*node.Reply, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	f := newHub(t, w).connect(a, "", devicetest.JSON).Event(t, "wait", 1)
	assert.Equal(t, "InternalServerError", f.Error.Name)
}

func testLimitsSetAckIDs(t *testing.T, w *world) {
	a := w.node(t, node.Options{MaxAckIDs: 2})
	d := newHub(t, w).connect(a, "", devicetest.JSON, anyRoles)
	ack := func(id uint64) string {
		d.PostJoin(t, "g", &id)
		return d.AckOf(t, id).Error.Name
	}
	assert.Equal(t, []string{"", "", "Duplicate", "Duplicate", "", "", "Duplicate"}, []string{ack(1), ack(2), ack(1), ack(2), ack(3), ack(1), ack(3)})
}
