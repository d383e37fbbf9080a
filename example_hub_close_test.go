package gateway_test

import (
	"context"
	"log"

	"github.com/message-gateway/gateway"
)

// Devices are told why they are disconnected. To keep them out, refuse them in
// the node's OnConnect.
func ExampleHub_CloseUserConnections() {
	server := startExample()
	defer server.stop()
	hub := server.Hub("chat")
	phone, laptop := server.connect(hub, "ann"), server.connect(hub, "ann")
	defer phone.close()
	defer laptop.close()

	err := hub.CloseUserConnections(context.Background(), "ann", gateway.WithReason("you logged in elsewhere"), gateway.Excluding(laptop.id))
	if err != nil {
		log.Fatal(err)
	}
	phone.print()
	// Output: ann: Application server closed the connection. Reason: you logged in elsewhere
}
