package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/message-gateway/gateway"
)

// NoWait returns as soon as the command is stored; any process can pick up the
// answer later.
func ExampleClient_AwaitCommand() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	res, err := client.SendCommand(ctx, "user_123", "REBOOT", nil, gateway.NoWait())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("answer so far:", res.Response == nil)

	brief, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	_, err = client.AwaitCommand(brief, res.MessageID)
	// The caller's ctx ended, not the command.
	fmt.Println(errors.Is(err, gateway.ErrCommandTimeout), errors.Is(err, context.DeadlineExceeded))
	// Output:
	// answer so far: true
	// true true
}

// The device answers while nobody waits; the answer is there for who asks.
func ExampleClient_AwaitCommand_answered() {
	server := startExample() // a client and a node
	defer server.stop()
	ctx := context.Background()
	sent, err := server.SendCommand(ctx, "user_123", "REBOOT", nil, gateway.NoWait())
	if err != nil {
		log.Fatal(err)
	}
	device := server.connect(server.Hub(gateway.DefaultHub), "user_123") // the command has waited for it
	defer device.close()
	device.answer(`"rebooted"`)

	res, err := server.AwaitCommand(ctx, sent.MessageID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(res.Response))
	// Output: "rebooted"
}
