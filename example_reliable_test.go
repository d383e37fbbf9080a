package gateway_test

import (
	"context"
	"fmt"
	"log"
	"time"

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

// A user who was away gets the message on return, and it is over when a device
// has acknowledged it.
func ExampleClient_SendReliable_whileAway() {
	server := startExample() // a client and a node
	defer server.stop()
	ctx := context.Background()
	id, err := server.SendReliable(ctx, "user_123", map[string]string{"text": "hello"})
	if err != nil {
		log.Fatal(err)
	}

	device := server.connect(server.Hub(gateway.DefaultHub), "user_123")
	defer device.close()
	message := device.envelope()
	fmt.Println(message.Kind, message.ID == id, string(message.Payload))
	fmt.Println(device.event("ack", fmt.Sprintf(`{"ids":[%q]}`, message.ID)))

	for range time.Tick(10 * time.Millisecond) { // acknowledgements are written in groups
		msg, err := server.Message(ctx, id)
		if err != nil {
			log.Fatal(err)
		}
		if msg.Status == gateway.StatusFinished {
			fmt.Println(msg.Status)
			break
		}
	}
	// Output:
	// reliable true {"text":"hello"}
	// ok
	// FINISHED
}
