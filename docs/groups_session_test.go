package docs_test

import (
	"bytes"
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/node"
)

// upper is the application of the session: it answers every event.
func upper(_ context.Context, _ node.Connection, e node.Event) (*node.Reply, error) {
	return &node.Reply{DataType: e.DataType, Data: bytes.ToUpper(e.Data)}, nil
}

// The second session in protocol.md: two devices on two nodes; see
// TestWorkedSession.
func TestSessionWithGroups(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg := gateway.Embedded(t.TempDir())
	cfg.AccessKey = "the key that both nodes share, of 32 bytes or more"
	var client *gateway.Client
	var urls []string
	for range 2 {
		var err error
		client, err = gateway.New(ctx, cfg)
		require.NoError(t, err)
		n, err := node.New(client, node.Options{OnEvent: upper, HandoverTimeout: time.Millisecond})
		require.NoError(t, err)
		server := httptest.NewServer(n)
		own := client
		t.Cleanup(func() {
			require.NoError(t, n.Shutdown(context.WithoutCancel(ctx)))
			server.Close()
			require.NoError(t, own.Close())
		})
		urls = append(urls, server.URL)
	}
	hub := client.Hub("chat")
	access := func(userID string, opts ...gateway.TokenOption) string {
		a, err := hub.ClientAccessToken(ctx, userID, append(opts, gateway.WithEndpoint(urls[0]))...)
		require.NoError(t, err)
		return a.URL
	}

	s := &transcript{t: t, ctx: ctx, client: client, text: &strings.Builder{}}
	s.url = access("bob", gateway.WithRoles("webpubsub.getGroupState.room.7"), gateway.WithGroups("room.7"))
	bob := s.as("bob ")
	bob.connect("json.webpubsub.azure.v1", "")
	bob.receive()
	s.url = access("ada", gateway.WithRoles("webpubsub.joinLeaveGroup", "webpubsub.sendToGroup.room.7",
		"webpubsub.setGroupState.room.*", "webpubsub.getGroupState.room.*"))
	ada := s.as("ada ")
	ada.connect("json.reliable.webpubsub.azure.v1", "")
	connected := ada.receive()

	ada.ask(`{"type":"joinGroup","group":"room.7","ackId":1}`)
	ada.ask(`{"type":"sendToGroup","group":"room.7","ackId":2,"noEcho":true,"dataType":"text","data":"hi","metadata":{"trace":"a1"}}`)
	bob.receive()
	ada.ask(`{"type":"sendToGroup","group":"hall","ackId":3,"dataType":"text","data":"hi"}`)
	s.line("·", `Hub("chat").SendToGroup("room.7", {"text":"welcome"})`)
	require.NoError(t, hub.SendToGroup(ctx, "room.7", map[string]string{"text": "welcome"}))
	ada.receive()
	bob.receive()

	ada.ask(`{"type":"event","event":"shout","ackId":4,"dataType":"text","data":"hello"}`)
	ada.receive()
	ada.ask(`{"type":"invoke","invocationId":"1","target":"event","event":"shout","dataType":"text","data":"hello"}`)

	ada.ask(`{"type":"sendToGroup","group":"room.7","noEcho":true,"stream":{"streamId":"s1"}}`)
	for _, part := range []string{"once", "upon"} {
		number := map[string]string{"once": "1", "upon": "2"}[part]
		ada.ask(`{"type":"streamData","streamId":"s1","streamSequenceId":` + number + `,"dataType":"text","data":"` + part + `"}`)
		bob.receive()
	}
	ada.ask(`{"type":"streamEnd","streamId":"s1"}`)
	bob.receive()

	bob.ask(`{"type":"subscribeGroupState","group":"room.7","ackId":1}`)
	bob.receive()
	ada.send(`{"type":"setGroupState","group":"room.7","state":{"typing":"1"}}`)
	bob.receive()
	ada.ask(`{"type":"subscribeGroupState","group":"room.7","ackId":5}`)
	ada.receive()
	bob.ask(`{"type":"setGroupState","group":"room.7","state":{"typing":"1"},"ackId":2}`)

	s.line("·", `ada's connection breaks; Hub("chat").SendToAll("anybody?"); ada recovers on the other node`)
	require.NoError(t, ada.conn.CloseNow())
	require.NoError(t, hub.SendToAll(ctx, gateway.Text("anybody?")))
	bob.receive()
	ada.url = strings.Replace(ada.url, urls[0][len("http"):], urls[1][len("http"):], 1)
	ada.connect("json.reliable.webpubsub.azure.v1", "&awps_connection_id="+s.field(connected, "connectionId")+
		"&awps_reconnection_token="+s.field(connected, "reconnectionToken"))
	for range 5 { // connected, what was not acknowledged, what was missed
		ada.receive()
	}
	ada.send(`{"type":"sequenceAck","sequenceId":4}`)
	s.line("·", `Hub("chat").CloseUserConnections("ada", WithReason("good night"))`)
	require.NoError(t, hub.CloseUserConnections(ctx, "ada", gateway.WithReason("good night")))
	ada.receive()
	ada.closed()
	bob.receive()
	s.compare("groups")
}

// as is one of several devices that write into the same transcript.
func (s *transcript) as(who string) *transcript {
	return &transcript{t: s.t, ctx: s.ctx, client: s.client, url: s.url, who: who, text: s.text}
}

// ask sends a frame and receives one.
func (s *transcript) ask(frame string) {
	s.t.Helper()
	s.send(frame)
	s.receive()
}
