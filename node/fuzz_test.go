package node_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

// fuzzed is a node with an attacker and a victim.
type fuzzed struct {
	w           *world
	h           *host
	attacker    string
	victim      *devicetest.Device
	secret      string // a message id of the victim
	requestID   string
	subprotocol string
	mu          sync.Mutex
	d           *devicetest.Device
}

const victimSecret = "for the victim's eyes only"

func newFuzzed(f *testing.F, subprotocol string) *fuzzed {
	w := newEmbedded(f)
	h := w.node(f, node.Options{
		MaxFrame: 1 << 16, RecoveryWindow: 50 * time.Millisecond,
		OnEvent: func(_ context.Context, c node.Connection, e node.Event) (*node.Reply, error) {
			return &node.Reply{DataType: e.DataType, Data: e.Data}, nil
		},
	})
	z := &fuzzed{w: w, h: h, attacker: user(), subprotocol: subprotocol}
	u := user()
	z.victim = h.connect(f, u, devicetest.Reliable)
	z.secret = w.reliable(f, u, victimSecret)
	require.Equal(f, z.secret, z.victim.Envelope(f).ID)
	res, err := w.client.SendCommand(f.Context(), u, "x", victimSecret, gateway.NoWait())
	require.NoError(f, err)
	e := z.victim.Envelope(f)
	require.Equal(f, res.MessageID, e.ID)
	z.requestID = e.RequestID
	return z
}

// send gives frames to a live session of the attacker, and wants the node and
// the victim to be as before.
func (z *fuzzed) send(t *testing.T, op websocket.MessageType, frames ...[]byte) {
	z.mu.Lock()
	defer z.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
	defer cancel()
	if z.d == nil {
		d, _, err := devicetest.Dial(ctx, devicetest.Options{URL: z.h.url(t, z.attacker, stateRoles, gateway.WithGroups("g")), Subprotocol: z.subprotocol})
		require.NoError(t, err)
		_, err = d.TryNext(ctx)
		require.NoError(t, err)
		z.d = d
	}
	alive := true
	for _, frame := range frames {
		alive = alive && z.d.TrySendRaw(op, frame) == nil
	}
	if alive {
		alive = z.d.TryPing() == nil
	}
	for {
		frame, err := z.d.TryNext(ctx)
		if err != nil {
			require.NoError(t, ctx.Err(), "the node answers or closes")
			alive = false
			break
		}
		require.False(t, bytes.Contains(frame.Raw, []byte(victimSecret)), "%q", frame.Raw)
		if frame.Type == devicetest.TypePong && bytes.Equal(frame.Raw, pong) {
			break
		}
	}
	if !alive {
		z.d.Drop()
		z.d = nil
	}
	require.Zero(t, z.victim.Pending(), "nothing reaches the victim")
	m := z.w.message(t, z.secret)
	require.NotEqual(t, gateway.StatusFinished, m.Status)
}

var pong = []byte(`{"type":"pong"}`)

func (z *fuzzed) close() {
	if z.d != nil {
		z.d.Drop()
	}
}

// FuzzDeviceFrames gives any text to a session with a PubSub subprotocol.
func FuzzDeviceFrames(f *testing.F) {
	z := newFuzzed(f, devicetest.Reliable)
	defer z.close()
	for _, seed := range []string{
		`{"type":"ping"}`, `{"type":"sequenceAck","sequenceId":1}`, `{"type":"sequenceAck","sequenceId":18446744073709551615}`,
		`{"type":"event","event":"a","ackId":1,"dataType":"json","data":{"a":[1,null]}}`,
		`{"type":"event","event":"a","dataType":"binary","data":"AQI="}`, `{"type":"event","event":"a","dataType":"protobuf","data":"AQI="}`,
		`{"type":"event","event":"ack","ackId":2,"dataType":"json","data":{"ids":["` + z.secret + `"]}}`,
		`{"type":"event","event":"response","ackId":3,"dataType":"json","data":{"requestId":"` + z.requestID + `","data":1}}`,
		`{"type":"invoke","invocationId":"1","target":"event","event":"a","dataType":"text","data":"x"}`,
		`{"type":"joinGroup","group":"g","ackId":4}`, `{"type":"sendToGroup","group":"g","dataType":"text","data":"x","ackId":5}`,
		`{"type":"sendToGroup","group":"g","stream":{"streamId":"s"}}`, `{"type":"streamData","streamId":"s"}`, `{"type":"streamEnd","streamId":"s"}`,
		`{"type":"setGroupState","group":"g","state":{"a":"1"},"ackId":6}`, `{"type":"setGroupState","group":"g"}`, `{"type":"setGroupState","group":"g","state":[]}`,
		`{"type":"subscribeGroupState","group":"g","ackId":7}`, `{"type":"unsubscribeGroupState","group":"g"}`,
		`{"type":"invokeResponse","invocationId":"1","success":true}`,
		`{"type":"cancelInvocation","invocationId":"1"}`, `{`, ``, `null`, `{"type":7}`, "\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, frame string) {
		if len(frame) > 1<<15 || strings.Contains(frame, `\u0000`) && len(frame) > 1<<12 {
			return
		}
		z.send(t, websocket.MessageText, []byte(strings.ToValidUTF8(frame, "?")))
	})
}

// FuzzOwnEvents gives any JSON as the body of the events of the node's own.
func FuzzOwnEvents(f *testing.F) {
	z := newFuzzed(f, devicetest.JSON)
	defer z.close()
	for _, seed := range []string{
		`{"ids":["` + z.secret + `"]}`, `{"ids":[]}`, `{"ids":null}`, `{"ids":["",""]}`, `{"IDS":["` + z.secret + `"]}`,
		`{"requestId":"` + z.requestID + `","data":{"a":1}}`, `{"requestId":"` + z.secret + `","data":1}`,
		`{"requestId":"x","error":{"code":"c","message":"m"}}`, `{"requestId":"x","error":null}`, `[]`, `"x"`, `7`, `{"requestId":"\u0000"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if !json.Valid([]byte(body)) || len(body) > 1<<15 {
			return
		}
		var frames [][]byte
		for _, name := range []string{"ack", "response"} {
			text, err := json.Marshal(body)
			require.NoError(t, err)
			frames = append(frames,
				[]byte(`{"type":"event","event":"`+name+`","dataType":"text","data":`+string(text)+`}`),
				[]byte(`{"type":"event","event":"`+name+`","dataType":"json","data":`+body+`}`))
		}
		z.send(t, websocket.MessageText, frames...)
		require.NotEqual(t, gateway.StatusFinished, z.w.message(t, z.secret).Status)
	})
}

// FuzzHandshake gives any path and query to the node: it answers with an error
// of HTTP and lets nobody in.
func FuzzHandshake(f *testing.F) {
	h := newEmbedded(f).node(f, node.Options{})
	for _, seed := range [][2]string{
		{"/client/hubs/default", "access_token=x"}, {"/client", "hub=default"}, {"/client/", "HUB=a&hub=b"},
		{"/client/hubs/%64efault", ""}, {"/client/hubs/a%2Fb", ""}, {"/client/hubs//client/hubs/default", ""}, {"/x/client/hubs/", ""},
		{"/client/hubs/default", "webpubsub_mode=sendToGroup&group=g"}, {"/client/hubs/default", "awps_connection_id=1"},
		{"/api/health", ""}, {"/client/hubs/\x00", "%zz"}, {"//", "="},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		if strings.Contains(query, "awps_") {
			return // a recovery is answered on the socket, which a recorder does not have
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: path, RawQuery: query}
		r.RequestURI = r.URL.RequestURI()
		r.Header = http.Header{
			"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="},
		}
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, r)
		require.Contains(t, []int{400, 401, 404, 405}, recorder.Code, "%s?%s", path, query)
		require.Zero(t, h.Connections())
	})
}
