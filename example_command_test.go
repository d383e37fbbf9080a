package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/message-gateway/gateway"
)

// A command waits for the device; a user who does not come back lets it time out.
func ExampleClient_SendCommand() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	res, err := client.SendCommand(ctx, "user_123", "CLIENT_SERVER:CREATE_CANVAS", map[string]int{"width": 100},
		gateway.WithTimeout(500*time.Millisecond))
	var refused *gateway.CommandError
	switch {
	case err == nil:
		fmt.Println("answer:", string(res.Response))
	case errors.As(err, &refused):
		fmt.Println("the device refused:", refused.Code)
	case errors.Is(err, gateway.ErrCommandTimeout):
		fmt.Println("no answer in time")
	}
	msg, err := client.Message(ctx, res.MessageID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(msg.Status)
	// Output:
	// no answer in time
	// TIMED_OUT
}

// A device answers; the first answer of any device ends the wait.
func ExampleClient_SendCommand_answered() {
	server := startExample() // a client and a node
	defer server.stop()
	device := server.connect(server.Hub(gateway.DefaultHub), "user_123")
	defer device.close()
	defer device.answering(`{"canvas":"c1"}`)() // as soon as the command comes

	res, err := server.SendCommand(context.Background(), "user_123", "CLIENT_SERVER:CREATE_CANVAS", map[string]int{"width": 100})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(res.Response))
	// Output: {"canvas":"c1"}
}
