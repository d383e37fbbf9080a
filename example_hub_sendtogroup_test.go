package gateway_test

import (
	"context"
	"log"
	"time"

	"github.com/message-gateway/gateway"
)

// A message to a group, except to the connection that caused it. A device that
// is away for longer than the TTL does not get it afterwards.
func ExampleHub_SendToGroup() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann", gateway.WithGroups("room 7"))
	bob := server.connect(hub, "bob", gateway.WithGroups("room 7"))
	defer ann.close()
	defer bob.close()

	err := hub.SendToGroup(ctx, "room 7", gateway.Text("ann is typing"),
		gateway.Excluding(ann.id), gateway.WithMessageTTL(10*time.Second))
	if err != nil {
		log.Fatal(err)
	}
	if err := hub.SendToGroup(ctx, "room 7", gateway.Text("welcome")); err != nil {
		log.Fatal(err)
	}
	ann.print()
	bob.print()
	bob.print()
	// Output:
	// ann got text "welcome"
	// bob got text "ann is typing"
	// bob got text "welcome"
}
