package node_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	pb "github.com/message-gateway/gateway/internal/protocol/webpubsubpb"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"limits/hostile":    testLimitsHostile,
	"limits/metadata":   testLimitsMetadata,
	"limits/groupNames": testLimitsGroupNames,
	"limits/groups":     testLimitsGroups,
	"limits/grants":     testLimitsGrants,
	"limits/frameSize":  testLimitsFrameSize,
	"limits/filters":    testLimitsFilters,
	"limits/slowMember": testLimitsSlowMember,
	"limits/slowHook":   testLimitsSlowHook,
})

// testLimitsHostile: what breaks the protocol ends its own connection with the
// code of the specification, ends the session for good, and harms nobody else.
func testLimitsHostile(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	witness := h.connect(a, "witness", devicetest.Reliable, gateway.WithGroups("g"), anyRoles)
	text, binary := websocket.MessageText, websocket.MessageBinary
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), []byte("x"))
	for name, c := range map[string]struct {
		protobuf bool
		op       websocket.MessageType
		payload  string
		code     websocket.StatusCode
	}{
		"unknown type":          {false, text, `{"type":"destroy"}`, 1007},
		"type as number":        {false, text, `{"type":1}`, 1007},
		"answer of the node":    {false, text, `{"type":"message","from":"group","group":"g","dataType":"text","data":"x"}`, 1007},
		"system":                {false, text, `{"type":"system","event":"connected","connectionId":"x"}`, 1007},
		"two documents":         {false, text, `{"type":"ping"}{"type":"ping"}`, 1007},
		"no group":              {false, text, `{"type":"joinGroup","ackId":1}`, 1007},
		"group as number":       {false, text, `{"type":"joinGroup","group":1}`, 1007},
		"group as object":       {false, text, `{"type":"sendToGroup","group":{},"dataType":"text","data":"x"}`, 1007},
		"no data":               {false, text, `{"type":"sendToGroup","group":"g"}`, 1007},
		"null data":             {false, text, `{"type":"sendToGroup","group":"g","data":null}`, 1007},
		"text that is none":     {false, text, `{"type":"sendToGroup","group":"g","dataType":"text","data":{}}`, 1007},
		"unknown dataType":      {false, text, `{"type":"sendToGroup","group":"g","dataType":"xml","data":"x"}`, 1007},
		"bad base64":            {false, text, `{"type":"sendToGroup","group":"g","dataType":"binary","data":"*"}`, 1007},
		"noEcho as string":      {false, text, `{"type":"sendToGroup","group":"g","dataType":"text","data":"x","noEcho":"true"}`, 1007},
		"ttl too long":          {false, text, `{"type":"sendToGroup","group":"g","dataType":"text","data":"x","ttlSeconds":301}`, 1007},
		"ttl negative":          {false, text, `{"type":"sendToGroup","group":"g","dataType":"text","data":"x","ttlSeconds":-1}`, 1007},
		"fractional ackId":      {false, text, `{"type":"sendToGroup","group":"g","dataType":"text","data":"x","ackId":1.5}`, 1007},
		"stream and data":       {false, text, `{"type":"sendToGroup","group":"g","data":"x","stream":{"streamId":"s"}}`, 1007},
		"stream without id":     {false, text, `{"type":"sendToGroup","group":"g","stream":{}}`, 1007},
		"stream as string":      {false, text, `{"type":"sendToGroup","group":"g","stream":"s"}`, 1007},
		"half streamData":       {false, text, `{"type":"streamData","streamId":"s","streamSequenceId":1}`, 1007},
		"sequenceAck as string": {false, text, `{"type":"sequenceAck","sequenceId":"1"}`, 1007},
		"no invocationId":       {false, text, `{"type":"invoke","target":"event","event":"e"}`, 1007},
		"invoke of a group":     {false, text, `{"type":"invoke","invocationId":"1","target":"group","event":"e"}`, 1007},
		"binary":                {false, binary, `{"type":"ping"}`, 1003},
		"text":                  {true, text, `{"type":"ping"}`, 1003},
		"protobuf: nothing":     {true, binary, "", 1007},
		"protobuf: unknown":     {true, binary, string(unknown), 1007},
		"protobuf: truncated":   {true, binary, "\x32\x07\x0a", 1007},
		"protobuf: no group":    {true, binary, "\x32\x00", 1007},
		"protobuf: bad UTF-8":   {true, binary, "\x32\x03\x0a\x01\xff", 1007},
		"protobuf: no JSON":     {true, binary, string(marshalUp(&pb.UpstreamMessage_SendToGroup{Group: "g", Data: &pb.MessageData{Data: &pb.MessageData_JsonData{JsonData: `1,"from":"server"`}}})), 1007},
		"protobuf: no data":     {true, binary, string(marshalUp(&pb.UpstreamMessage_SendToGroup{Group: "g", Data: &pb.MessageData{}})), 1007},
		"protobuf: ttl":         {true, binary, string(marshalUp(&pb.UpstreamMessage_SendToGroup{Group: "g", TtlSeconds: proto.Uint32(1 << 31), Data: &pb.MessageData{Data: &pb.MessageData_TextData{}}})), 1007},
	} {
		sub := devicetest.Reliable
		if c.protobuf {
			sub = devicetest.ProtobufReliable
		}
		d := h.connect(a, "hostile", sub, gateway.WithGroups("g"), anyRoles)
		d.SendRaw(t, c.op, []byte(c.payload))
		require.Equal(t, c.code, d.Ended(t), name)
		assert.Eventually(t, func() bool {
			exists, err := h.ConnectionExists(ctx, d.Connected.ConnectionID)
			return err == nil && !exists
		}, devicetest.Patience, time.Millisecond, "%s: no recovery window", name)
		d.Drop()
	}
	require.True(t, witness.SendToGroup(t, devicetest.GroupMessage{Group: "g", Data: "end"}).Success)
	assert.Equal(t, "end", witness.Message(t).Text(), "nothing of it reached the group")
	page, err := h.GroupConnections(ctx, "g", "", 10)
	require.NoError(t, err)
	assert.Len(t, page, 1)
}

func testLimitsMetadata(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h := newHub(t, w)
	x := func(n int) string { return strings.Repeat("x", n) }
	many := map[string]string{}
	for i := range 8 {
		many[fmt.Sprintf("key-%04d", i)] = x(1016)
	}
	for name, c := range map[string]struct {
		metadata map[string]string
		ok       bool
	}{
		"longest key":       {map[string]string{x(256): "v"}, true},
		"longest value":     {map[string]string{"k": x(1024)}, true},
		"all there may be":  {many, true},
		"all but empty":     {map[string]string{"k": ""}, true},
		"key too long":      {map[string]string{x(257): "v"}, false},
		"value too long":    {map[string]string{"k": x(1025)}, false},
		"too much":          {with(many, "z", ""), false},
		"empty key":         {map[string]string{"": "v"}, false},
		"key with a space":  {map[string]string{"a b": "v"}, false},
		"header injection":  {map[string]string{"k": "v\r\nX-Other: w"}, false},
		"value not ASCII":   {map[string]string{"k": "ä"}, false},
		"control character": {map[string]string{"k": "\x00"}, false},
	} {
		for _, sub := range []string{devicetest.JSON, devicetest.Protobuf} {
			d := h.connect(a, "", sub, gateway.WithGroups("g "+sub+name), anyRoles)
			m := devicetest.GroupMessage{Group: "g " + sub + name, Data: "x", Metadata: c.metadata}
			if c.ok {
				require.True(t, d.SendToGroup(t, m).Success, name)
				assert.Equal(t, c.metadata, d.Message(t).Metadata, name)
			} else {
				d.PostToGroup(t, m)
				assert.Equal(t, code16(1007), d.Ended(t), "%s %s", sub, name)
			}
			d.Drop()
		}
	}
	d := h.connect(a, "", devicetest.JSON, anyRoles)
	d.SendText(t, `{"type":"sendToGroup","group":"g","dataType":"text","data":"x","metadata":{"a":"1","a":"2"}}`)
	assert.Equal(t, code16(1007), d.Ended(t), "a key twice")
	d = h.connect(a, "", devicetest.JSON, gateway.WithGroups("g"), anyRoles)
	d.SendText(t, `{"type":"sendToGroup","group":"g","metadata":{"a":"1"}}`)
	f := d.Message(t)
	assert.Equal(t, []string{"text", `""`}, []string{f.DataType, string(f.Data)}, "metadata alone go with an empty text")
}

func with(m map[string]string, key, value string) map[string]string {
	more := map[string]string{key: value}
	for k, v := range m {
		more[k] = v
	}
	return more
}

func testLimitsGroupNames(t *testing.T, w *world) {
	a, b := w.node(t, node.Options{}), w.node(t, node.Options{})
	h := newHub(t, w)
	for _, group := range []string{
		strings.Repeat("g", 1024), strings.Repeat("ä", 1024), "a b", " a", "*", "?", "**", `\`, "a\nb", "a\x00b", "%2F", "{}", ":", "a:b:c", "🙂",
	} {
		sender, member := h.connect(a, "", devicetest.JSON, anyRoles), h.connect(b, "", devicetest.Protobuf, anyRoles)
		require.True(t, member.Join(t, group).Success, "%.20q", group)
		require.True(t, sender.SendToGroup(t, devicetest.GroupMessage{Group: group, Data: "x"}).Success, "%.20q", group)
		assert.Equal(t, group, member.Message(t).Group)
		sender.Drop()
		member.Drop()
	}
	for _, group := range []string{"", " ", "\t\n", "\u00a0", strings.Repeat("g", 1025), strings.Repeat("ä", 1025)} {
		for _, sub := range []string{devicetest.JSON, devicetest.Protobuf} {
			d := h.connect(a, "", sub, anyRoles)
			d.PostJoin(t, group, d.NextAckID())
			assert.Equal(t, code16(1007), d.Ended(t), "%s %.20q", sub, group)
			d.Drop()
		}
	}
}

// testLimitsGroups: a connection can be in ten thousand groups.
func testLimitsGroups(t *testing.T, w *world) {
	const most = 10_000
	a := w.node(t, node.Options{OnConnect: func(_ context.Context, c *node.ConnectRequest) error {
		if c.UserID == "full" {
			for i := range most - 1 {
				c.Groups = append(c.Groups, fmt.Sprint(i))
			}
		}
		return nil
	}})
	h, ctx := newHub(t, w), t.Context()
	d := h.connect(a, "full", devicetest.JSON, anyRoles)
	require.True(t, d.Join(t, "the last one").Success)
	f := d.Join(t, "one more")
	assert.False(t, f.Success)
	assert.Equal(t, "BadRequest", f.Error.Name)
	assert.True(t, d.Join(t, "the last one").Success, "it is there already")
	assert.Error(t, h.AddConnectionToGroup(ctx, "one more", d.Connected.ConnectionID))
	ok, err := h.GroupExists(ctx, "one more")
	require.NoError(t, err)
	assert.False(t, ok)
	require.True(t, d.Leave(t, "17").Success)
	require.True(t, d.Join(t, "one more").Success)
	require.NoError(t, h.SendToGroup(ctx, "9998", gateway.Text("heard")))
	assert.Equal(t, "heard", d.Message(t).Text())
	require.NoError(t, h.RemoveConnectionFromAllGroups(ctx, d.Connected.ConnectionID))
	require.True(t, d.Join(t, "17").Success)
}

func testLimitsGrants(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	roles := make([]string, 0, 1100)
	for i := range 1100 {
		roles = append(roles, fmt.Sprintf("webpubsub.sendToGroup.%d", i))
	}
	for i := range 20 {
		roles = append(roles, fmt.Sprintf("webpubsub.sendToGroups.p%d.*", i))
	}
	roles = append(roles, "webpubsub.sendToGroups."+strings.Repeat("*a", 6), "webpubsub.sendToGroups."+strings.Repeat("a", 1025), `webpubsub.sendToGroups.x\`)
	d := h.connect(a, "ann", devicetest.JSON, gateway.WithRoles(roles...))
	may := func(group string) bool {
		t.Helper()
		return d.SendToGroup(t, devicetest.GroupMessage{Group: group}).Success
	}
	assert.True(t, may("0") && may("999"))
	assert.False(t, may("1000") || may("1099"), "what is too much is left out")
	assert.True(t, may("p0.a") && may("p9.a"))
	assert.False(t, may("p10.a") || may("aaaaaa") || may(strings.Repeat("a", 1024)))
	assert.ErrorIs(t, h.GrantPermission(ctx, gateway.PermissionSendToGroup, d.Connected.ConnectionID, "another"), gateway.ErrTooManyPermissions)
	require.NoError(t, h.GrantPermission(ctx, gateway.PermissionJoinLeaveGroup, d.Connected.ConnectionID, "another"), "the other kind has room")
	assert.True(t, d.Join(t, "another").Success)
}

func testLimitsFrameSize(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h := newHub(t, w)
	witness := h.connect(a, "", devicetest.Protobuf, gateway.WithGroups("g"))
	for _, sub := range pubsub {
		d := h.connect(a, "", sub, anyRoles)
		require.True(t, d.SendToGroup(t, devicetest.GroupMessage{Group: "g", Data: strings.Repeat("x", 1<<20-200)}).Success, sub)
		assert.Len(t, witness.Message(t).Text(), 1<<20-200)
		_ = d.TrySendRaw(websocket.MessageText, make([]byte, 1<<20+1)) // it may be over before all is sent
		assert.Equal(t, code16(1009), d.Ended(t), sub)
	}
	assert.Empty(t, untilPong(t, witness))
}

func testLimitsFilters(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h, ctx := newHub(t, w), t.Context()
	d := h.connect(a, "o'brien", devicetest.JSON)
	for name, filter := range map[string]string{
		"deep":          strings.Repeat("(", 100_000),
		"deep and done": strings.Repeat("(", 1000) + "userId eq 'a'" + strings.Repeat(")", 1000),
		"many clauses":  "userId eq 'a'" + strings.Repeat(" or userId eq 'a'", 10_000),
		"open string":   "userId eq 'a",
		"no boolean":    "userId",
		"wrong type":    "userId lt 1",
		"unknown name":  "password eq 'a'",
		"injection":     "userId eq 'o'brien'",
		"not UTF-8":     "userId eq '\xff'",
		"NUL":           "\x00",
	} {
		err := h.SendToAll(ctx, 1, gateway.WithFilter(filter))
		assert.ErrorIs(t, err, gateway.ErrInvalidFilter, name)
		assert.ErrorIs(t, h.AddConnectionsToGroups(ctx, []string{"g"}, filter), gateway.ErrInvalidFilter, name)
		if err != nil {
			assert.Less(t, len(err.Error()), 1000, name)
		}
	}
	require.NoError(t, h.SendToAll(ctx, gateway.Text("found"), gateway.WithFilter("userId eq "+gateway.FilterString("o'brien"))))
	assert.Equal(t, "found", d.Message(t).Text())
	assert.Empty(t, untilPong(t, d))
}

// testLimitsSlowMember: a member that does not read is dropped; the others get
// everything.
func testLimitsSlowMember(t *testing.T, w *world) {
	a := w.node(t, node.Options{MaxQueueBytes: 1 << 20})
	h, ctx := newHub(t, w), t.Context()
	access, err := h.ClientAccessToken(ctx, "slow", gateway.WithEndpoint(a.server.URL), gateway.WithGroups("g"))
	require.NoError(t, err)
	slow := devicetest.Connect(t, devicetest.Options{URL: access.URL, Subprotocol: devicetest.JSON, Slow: true})
	fast := h.connect(a, "fast", devicetest.JSON, gateway.WithGroups("g"))
	payload := gateway.Text(strings.Repeat("x", 500_000))
	sent := 0
	require.Eventually(t, func() bool {
		require.NoError(t, h.SendToGroup(ctx, "g", payload))
		sent++
		fast.Message(t)
		ok, err := h.UserExists(ctx, "slow")
		return err == nil && !ok
	}, devicetest.Patience, time.Millisecond)
	assert.Greater(t, sent, 2)
	slow.Wake()
	slow.Ended(t)
	assert.Empty(t, untilPong(t, fast))
}

// testLimitsSlowHook: the backend can close many connections at once although
// their OnDisconnected takes long.
func testLimitsSlowHook(t *testing.T, w *world) {
	a := w.node(t, node.Options{OnDisconnected: func(context.Context, node.Connection, string) {
		<-time.After(200 * time.Millisecond)
	}})
	h := newHub(t, w)
	devices := make([]*devicetest.Device, 40)
	for i := range devices {
		devices[i] = h.connect(a, "", devicetest.JSON)
	}
	require.NoError(t, h.CloseAllConnections(t.Context()))
	for _, d := range devices {
		assert.Equal(t, websocket.StatusNormalClosure, d.Ended(t))
	}
}

func marshalUp(m *pb.UpstreamMessage_SendToGroup) []byte {
	raw, err := proto.Marshal(&pb.UpstreamMessage{Message: &pb.UpstreamMessage_SendToGroup_{SendToGroup: m}})
	if err != nil {
		panic(err)
	}
	return raw
}
