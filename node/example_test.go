package node_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"

	"github.com/coder/websocket"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
)

// A backend and a node in one process, without services, and a device.
func ExampleNew() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()

	n, err := node.New(client, node.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = n.Shutdown(ctx) }()

	mux := http.NewServeMux()
	mux.Handle("/client/", n)
	server := httptest.NewServer(mux)
	defer server.Close()

	// The backend gives its user a URL to connect to.
	access, err := client.ClientAccessToken(ctx, "user_123", gateway.WithEndpoint(server.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	device, _, err := websocket.Dial(ctx, access.URL, nil) // no subprotocol: bare realtime messages
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = device.CloseNow() }()

	if err := client.SendRealtime(ctx, "user_123", map[string]string{"text": "hello"}); err != nil {
		fmt.Println(err)
		return
	}
	_, message, err := device.Read(ctx)
	fmt.Println(string(message), err)
	// Output: {"text":"hello"} <nil>
}

// A backend with sessions of its own lets devices in by their cookie.
func Example_authenticator() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()

	sessions := map[string]string{"s3cret": "user_123"}
	n, err := node.New(client, node.Options{
		Authenticator: func(r *http.Request) (node.Identity, error) {
			cookie, err := r.Cookie("session")
			if err != nil {
				return node.Identity{}, err // 401
			}
			user, ok := sessions[cookie.Value]
			if !ok {
				return node.Identity{}, errors.New("unknown session") // 401, the text stays here
			}
			if user == "banned" {
				return node.Identity{}, &node.RefuseError{Status: http.StatusForbidden, Message: "banned"}
			}
			return node.Identity{UserID: user}, nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = n.Shutdown(ctx) }()
	server := httptest.NewServer(n)
	defer server.Close()

	for _, session := range []string{"s3cret", "guessed"} {
		device, response, err := websocket.Dial(ctx, server.URL+"/client/hubs/default", &websocket.DialOptions{
			HTTPHeader: http.Header{"Cookie": {"session=" + session}},
		})
		fmt.Println(session, response.StatusCode)
		if err == nil {
			_ = device.CloseNow()
		}
	}
	// Output:
	// s3cret 101
	// guessed 401
}

// A handler answers what devices send.
func Example_onEvent() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()

	n, err := node.New(client, node.Options{
		OnEvent: func(_ context.Context, c node.Connection, e node.Event) (*node.Reply, error) {
			text := fmt.Sprintf("%s sent %q: %s", c.UserID, e.Name, strings.ToUpper(string(e.Data)))
			return &node.Reply{DataType: node.Text, Data: []byte(text)}, nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = n.Shutdown(ctx) }()
	server := httptest.NewServer(n)
	defer server.Close()

	access, err := client.ClientAccessToken(ctx, "user_123", gateway.WithEndpoint(server.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	device, _, err := websocket.Dial(ctx, access.URL, &websocket.DialOptions{Subprotocols: []string{"json.webpubsub.azure.v1"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = device.CloseNow() }()
	if _, _, err := device.Read(ctx); err != nil { // the connected frame
		fmt.Println(err)
		return
	}
	event := `{"type":"event","event":"rename","ackId":1,"dataType":"text","data":"bob"}`
	if err := device.Write(ctx, websocket.MessageText, []byte(event)); err != nil {
		fmt.Println(err)
		return
	}
	for range 2 { // the reply comes before the ack
		_, frame, err := device.Read(ctx)
		fmt.Println(string(frame), err)
	}
	// Output:
	// {"type":"message","from":"server","dataType":"text","data":"user_123 sent \"rename\": BOB"} <nil>
	// {"type":"ack","ackId":1,"success":true} <nil>
}

// A node behind a proxy of its own network bounds what one user and one address
// may do.
func ExampleRateLimits() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()

	n, err := node.New(client, node.Options{RateLimits: node.RateLimits{
		Address:               node.ForwardedFor(netip.MustParsePrefix("127.0.0.0/8")),
		ConnectionsPerAddress: node.Rate{PerSecond: 0.1, Burst: 2},
		MessagesPerUser:       node.Rate{PerSecond: 20, Burst: 100},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = n.Shutdown(ctx) }()
	server := httptest.NewServer(n)
	defer server.Close()

	access, err := client.ClientAccessToken(ctx, "user_123", gateway.WithEndpoint(server.URL))
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		device, response, err := websocket.Dial(ctx, access.URL, &websocket.DialOptions{
			HTTPHeader: http.Header{"X-Forwarded-For": {"192.0.2.1"}}, // what the proxy says
		})
		fmt.Println(response.StatusCode)
		if err == nil {
			_ = device.CloseNow()
		}
	}
	// Output:
	// 101
	// 101
	// 429
}
