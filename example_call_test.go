package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// Call decodes the answer into a type. Nobody is connected here, so that it
// fails at once.
func ExampleCall() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	type canvas struct {
		ID string `json:"id"`
	}
	created, err := gateway.Call[canvas](ctx, client, "user_123", "CLIENT_SERVER:CREATE_CANVAS", map[string]int{"width": 100},
		gateway.FailIfOffline())
	fmt.Printf("%q %v\n", created.ID, errors.Is(err, gateway.ErrUserOffline))
	// Output: "" true
}

// The answer of the device arrives as a value of the caller's type.
func ExampleCall_answered() {
	server := startExample() // a client and a node
	defer server.stop()
	device := server.connect(server.Hub(gateway.DefaultHub), "user_123")
	defer device.close()
	defer device.answering(`{"id":"c1","width":100}`)() // as soon as the command comes

	type canvas struct {
		ID    string `json:"id"`
		Width int    `json:"width"`
	}
	created, err := gateway.Call[canvas](context.Background(), server.Client, "user_123", "CLIENT_SERVER:CREATE_CANVAS", map[string]int{"width": 100})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(created.ID, created.Width)
	// Output: c1 100
}
