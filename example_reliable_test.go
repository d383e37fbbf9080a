package gateway_test

import (
	"context"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// A reliable message is stored when the call returns, and waits for its user.
func ExampleClient_SendReliable() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	id, err := client.SendReliable(ctx, "user_123", map[string]string{"text": "hello"}, gateway.WithSender("server", "backend_1"))
	if err != nil {
		log.Fatal(err)
	}
	msg, err := client.Message(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(msg.Kind, msg.Status, msg.Seq, msg.SenderID, string(msg.Payload))
	// Output: reliable PENDING 1 backend_1 {"text":"hello"}
}
