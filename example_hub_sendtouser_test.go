package gateway_test

import (
	"context"
	"log"

	"github.com/message-gateway/gateway"
)

// A message to every device that a user has connected.
func ExampleHub_SendToUser() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	phone, laptop := server.connect(hub, "ann"), server.connect(hub, "ann")
	defer phone.close()
	defer laptop.close()

	if err := hub.SendToUser(ctx, "ann", gateway.Text("for ann")); err != nil {
		log.Fatal(err)
	}
	if err := hub.SendToUser(ctx, "nobody", gateway.Text("that is no error")); err != nil {
		log.Fatal(err)
	}
	phone.print()
	laptop.print()
	// Output:
	// ann got text "for ann"
	// ann got text "for ann"
}
