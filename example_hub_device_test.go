package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http/httptest"
	"time"

	"github.com/coder/websocket"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
)

// exampleServer is what the examples of hubs run on: a client and a node in
// one process, without any service.
type exampleServer struct {
	*gateway.Client
	url  string
	stop func()
}

func startExample(opts ...gateway.Option) *exampleServer {
	client, err := gateway.New(context.Background(), gateway.Embedded(""), opts...)
	if err != nil {
		log.Fatal(err)
	}
	n, err := node.New(client, node.Options{})
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(n)
	return &exampleServer{Client: client, url: server.URL, stop: func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = n.Shutdown(ctx)
		server.Close()
		_ = client.Close()
	}}
}

// exampleDevice is a very small client of the JSON subprotocol.
type exampleDevice struct {
	id   string // of the connection
	name string
	conn *websocket.Conn
}

// exampleFrame is what the examples need of a frame.
type exampleFrame struct {
	Type, Event, ConnectionID, Group, Message, DataType string
	Success                                             bool
	Data                                                json.RawMessage
	Error                                               struct{ Name string }
}

// connect connects a device of a user with a token of the hub.
func (s *exampleServer) connect(hub *gateway.Hub, userID string, opts ...gateway.TokenOption) *exampleDevice {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	access, err := hub.ClientAccessToken(ctx, userID, append(opts, gateway.WithEndpoint(s.url))...)
	if err != nil {
		log.Fatal(err)
	}
	conn, _, err := websocket.Dial(ctx, access.URL, &websocket.DialOptions{Subprotocols: []string{"json.webpubsub.azure.v1"}})
	if err != nil {
		log.Fatal(err)
	}
	d := &exampleDevice{name: userID, conn: conn}
	d.id = d.frame().ConnectionID
	return d
}

func (d *exampleDevice) close() { _ = d.conn.CloseNow() }

func (d *exampleDevice) frame() (f exampleFrame) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, raw, err := d.conn.Read(ctx)
	if err == nil {
		err = json.Unmarshal(raw, &f)
	}
	if err != nil {
		log.Fatal(d.name, ": ", err)
	}
	return f
}

// print prints the next frame: a message, or why the connection is closed.
func (d *exampleDevice) print() {
	f := d.frame()
	if f.Type == "message" {
		fmt.Printf("%s got %s %s\n", d.name, f.DataType, f.Data)
		return
	}
	fmt.Printf("%s: %s\n", d.name, f.Message)
}

// ask sends a frame with ackId 1 and returns the name of its error.
func (d *exampleDevice) ask(frame string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := d.conn.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		log.Fatal(err)
	}
	if f := d.frame(); !f.Success {
		return f.Error.Name
	}
	return "ok"
}
