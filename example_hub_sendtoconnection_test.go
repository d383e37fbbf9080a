package gateway_test

import (
	"context"
	"log"

	"github.com/message-gateway/gateway"
)

// A message to one connection, whose id a node's hooks and events name.
func ExampleHub_SendToConnection() {
	server := startExample()
	defer server.stop()
	hub := server.Hub("chat")
	phone, laptop := server.connect(hub, "ann"), server.connect(hub, "ann")
	defer phone.close()
	defer laptop.close()

	err := hub.SendToConnection(context.Background(), phone.id, gateway.Text("for this device only"),
		gateway.WithMetadata(map[string]string{"trace": "a1"}))
	if err != nil {
		log.Fatal(err)
	}
	phone.print()
	// Output: ann got text "for this device only"
}
