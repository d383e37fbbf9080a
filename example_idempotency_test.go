package gateway_test

import (
	"context"
	"log"

	"github.com/message-gateway/gateway"
)

// A job that may run twice sends with its own id: connections get the message
// once.
func ExampleWithIdempotencyKey() {
	server := startExample()
	defer server.stop()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann")
	defer ann.close()

	for range 2 {
		err := hub.SendToUser(context.Background(), "ann", gateway.Text("your export is ready"), gateway.WithIdempotencyKey("job_17"))
		if err != nil {
			log.Fatal(err)
		}
	}
	if err := hub.SendToUser(context.Background(), "ann", gateway.Text("good night")); err != nil {
		log.Fatal(err)
	}
	ann.print()
	ann.print()
	// Output:
	// ann got text "your export is ready"
	// ann got text "good night"
}
