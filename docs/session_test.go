package docs_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/node"
)

// The worked session in protocol.md is what a device and an embedded node say
// to each other, apart from ids, times and tokens. With GATEWAY_SESSION=print
// the test prints the session as it is, to be pasted.
func TestWorkedSession(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := gateway.New(ctx, gateway.Embedded(t.TempDir()))
	require.NoError(t, err)
	n, err := node.New(client, node.Options{})
	require.NoError(t, err)
	server := httptest.NewServer(n)
	t.Cleanup(func() {
		require.NoError(t, n.Shutdown(context.WithoutCancel(ctx)))
		server.Close()
		require.NoError(t, client.Close())
	})
	access, err := client.ClientAccessToken(ctx, "ada", gateway.WithEndpoint(server.URL))
	require.NoError(t, err)

	s := &transcript{t: t, ctx: ctx, client: client, node: n, url: access.URL, text: &strings.Builder{}}
	s.reliableSubprotocol()
	s.plainSubprotocol()
	s.reliableSubprotocolEnds()

	s.compare("session")
}

// compare compares what was said with the blocks of protocol.md that are marked
// with the name.
func (s *transcript) compare(name string) {
	s.t.Helper()
	if os.Getenv("GATEWAY_SESSION") == "print" {
		fmt.Println(s.text.String())
	}
	doc, err := os.ReadFile("protocol.md")
	require.NoError(s.t, err)
	var written strings.Builder
	for _, block := range regexp.MustCompile("(?s)```"+name+"\n(.*?)```").FindAllStringSubmatch(string(doc), -1) {
		written.WriteString(block[1])
	}
	said := strings.Split(strings.TrimSpace(mask(s.text.String())), "\n")
	documented := strings.Split(strings.TrimSpace(mask(written.String())), "\n")
	for i := range min(len(said), len(documented)) {
		require.Equal(s.t, said[i], documented[i], "line %d of the session", i+1)
	}
	require.Len(s.t, documented, len(said))
}

// mask replaces what differs from run to run.
func mask(session string) string {
	for _, m := range []struct{ pattern, replacement string }{
		{`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, "UUID"},
		{`[0-9a-f]{32}`, "CONNECTION"},
		{`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`, "TIME"},
		{`("reconnectionToken":"|awps_reconnection_token=)[\w-]+`, "${1}TOKEN"},
		{`"updatedAt":\d+`, `"updatedAt":TIME`},
		{`access_token=[\w.-]+`, "access_token=TOKEN"},
		{`127\.0\.0\.1:\d+`, "HOST"},
	} {
		session = regexp.MustCompile(m.pattern).ReplaceAllString(session, m.replacement)
	}
	return session
}

// transcript plays the device and the backend, and writes down what is said.
type transcript struct {
	t      *testing.T
	ctx    context.Context
	client *gateway.Client
	node   *node.Node
	url    string
	conn   *websocket.Conn
	who    string // the device, where there are several
	text   *strings.Builder
}

func (s *transcript) line(direction, text string) {
	fmt.Fprintf(s.text, "%s%s %s\n", s.who, direction, text)
}

func (s *transcript) connect(subprotocol, query string) {
	s.t.Helper()
	conn, _, err := websocket.Dial(s.ctx, s.url+query, &websocket.DialOptions{Subprotocols: []string{subprotocol}})
	require.NoError(s.t, err)
	s.conn = conn
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	u, err := url.Parse(s.url)
	require.NoError(s.t, err)
	s.line("→", "GET "+u.Path+"?access_token=…"+query+"   Sec-WebSocket-Protocol: "+subprotocol)
	s.line("←", "101 Switching Protocols   Sec-WebSocket-Protocol: "+conn.Subprotocol())
}

func (s *transcript) send(frame string) {
	s.t.Helper()
	require.NoError(s.t, s.conn.Write(s.ctx, websocket.MessageText, []byte(frame)))
	s.line("→", frame)
}

func (s *transcript) receive() string {
	s.t.Helper()
	_, frame, err := s.conn.Read(s.ctx)
	require.NoError(s.t, err)
	s.line("←", string(frame))
	return string(frame)
}

func (s *transcript) closed() {
	s.t.Helper()
	_, _, err := s.conn.Read(s.ctx)
	code := websocket.CloseStatus(err)
	require.NotEqual(s.t, websocket.StatusCode(-1), code, "%v", err)
	s.line("←", fmt.Sprintf("close %d", code))
}

// field returns the value of a member of a frame.
func (s *transcript) field(frame, name string) string {
	s.t.Helper()
	m := regexp.MustCompile(`"` + name + `":"([^"]+)"`).FindStringSubmatch(frame)
	require.NotNil(s.t, m, "%s in %s", name, frame)
	return m[1]
}

func (s *transcript) reliable(payload any) {
	s.t.Helper()
	_, err := s.client.SendReliable(s.ctx, "ada", payload, gateway.WithSender("server", "backend_1"))
	require.NoError(s.t, err)
}

// command sends a command; the function that it returns waits for its outcome.
func (s *transcript) command() func() (*gateway.CommandResult, error) {
	s.line("·", `SendCommand("ada", "CLIENT_SERVER:CREATE_CANVAS", {"name":"sketch"})`)
	var res *gateway.CommandResult
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		res, err = s.client.SendCommand(s.ctx, "ada", "CLIENT_SERVER:CREATE_CANVAS", map[string]string{"name": "sketch"},
			gateway.WithTimeout(time.Minute))
	}()
	return func() (*gateway.CommandResult, error) {
		<-done
		return res, err
	}
}

func (s *transcript) reliableSubprotocol() {
	s.connect("json.reliable.webpubsub.azure.v1", "")
	connected := s.receive()

	s.line("·", `SendRealtime("ada", {"typing":true})`)
	require.NoError(s.t, s.client.SendRealtime(s.ctx, "ada", map[string]bool{"typing": true}))
	s.receive()

	s.line("·", `SendReliable("ada", {"text":"hello"})`)
	s.reliable(map[string]string{"text": "hello"})
	s.receive()
	s.send(`{"type":"sequenceAck","sequenceId":2}`)

	outcome := s.command()
	command := s.receive()
	s.send(`{"type":"sequenceAck","sequenceId":3}`)
	s.send(`{"type":"event","event":"response","ackId":1,"dataType":"json","data":{"requestId":"` + s.field(command, "requestId") + `","data":{"canvas":"c1"}}}`)
	s.receive()
	res, err := outcome()
	require.NoError(s.t, err)
	s.line("·", "SendCommand returns "+string(res.Response))

	outcome = s.command()
	command = s.receive()
	s.send(`{"type":"event","event":"response","ackId":2,"dataType":"json","data":{"requestId":"` + s.field(command, "requestId") + `","error":{"code":"NO_SPACE","message":"the disk is full"}}}`)
	s.receive()
	_, err = outcome()
	var failed *gateway.CommandError
	require.ErrorAs(s.t, err, &failed)
	s.line("·", "SendCommand returns a *CommandError: "+failed.Code+", "+failed.Message)

	s.send(`{"type":"event","event":"response","ackId":3,"dataType":"json","data":{"requestId":"unknown","data":1}}`)
	s.receive()
	s.send(`{"type":"event","event":"response","ackId":1,"dataType":"json","data":{"requestId":"unknown","data":1}}`)
	s.receive()
	s.send(`{"type":"ping"}`)
	s.receive()

	s.line("·", `the connection breaks; SendReliable("ada", {"text":"are you there?"})`)
	require.NoError(s.t, s.conn.CloseNow())
	s.reliable(map[string]string{"text": "are you there?"})
	s.connect("json.reliable.webpubsub.azure.v1", "&awps_connection_id="+s.field(connected, "connectionId")+
		"&awps_reconnection_token="+s.field(connected, "reconnectionToken"))
	s.receive()
	s.receive() // the command: answered, but its frame is not acknowledged
	s.receive()
	s.send(`{"type":"sequenceAck","sequenceId":5}`)
	s.quiet(func() { // so that the acknowledgement is handled before another device connects
		s.send(`{"type":"ping"}`)
		s.receive()
	})
}

// quiet runs f without writing down what is said.
func (s *transcript) quiet(f func()) {
	before := s.text.String()
	f()
	s.text.Reset()
	s.text.WriteString(before)
}

func (s *transcript) plainSubprotocol() {
	reliable := s.conn
	s.connect("json.webpubsub.azure.v1", "")
	s.receive()
	s.line("·", `SendRealtime("ada", Binary("\x00\x01\x02"))`)
	require.NoError(s.t, s.client.SendRealtime(s.ctx, "ada", gateway.Binary("\x00\x01\x02")))
	s.receive()
	s.line("·", `SendReliable("ada", Text("good night"))`)
	s.reliable(gateway.Text("good night"))
	message := s.receive()
	s.send(`{"type":"event","event":"ack","ackId":1,"dataType":"json","data":{"ids":["` + s.field(message, "id") + `"]}}`)
	s.receive()
	s.send(`{"type":"event","event":"chat","ackId":2,"dataType":"text","data":"hi"}`)
	s.receive()
	s.send(`{"type":"joinGroup","group":7}`)
	s.receive()
	s.closed()
	s.conn = reliable
}

func (s *transcript) reliableSubprotocolEnds() {
	s.quiet(func() { // the messages for the plain connection went to this one, too
		s.receive()
		s.receive()
	})
	s.line("·", "node.Shutdown")
	done := make(chan error, 1)
	go func() { done <- s.node.Shutdown(s.ctx) }()
	s.receive()
	s.closed()
	require.NoError(s.t, <-done)

}
