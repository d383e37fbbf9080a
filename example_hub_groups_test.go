package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/message-gateway/gateway"
)

// Groups of connections. Whoever adds a connection needs no permission.
func ExampleHub_AddConnectionToGroup() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann")
	defer ann.close()

	if err := hub.AddConnectionToGroup(ctx, "lobby", ann.id); err != nil {
		log.Fatal(err)
	}
	if err := hub.SendToGroup(ctx, "lobby", gateway.Text("hello lobby")); err != nil {
		log.Fatal(err)
	}
	ann.print()
	if err := hub.RemoveConnectionFromGroup(ctx, "lobby", ann.id); err != nil {
		log.Fatal(err)
	}
	err := hub.AddConnectionToGroup(ctx, "lobby", "who is not there")
	fmt.Println("unknown:", errors.Is(err, gateway.ErrConnectionNotFound))
	// Output:
	// ann got text "hello lobby"
	// unknown: true
}

// A membership that ends by itself.
func ExampleHub_AddUserToGroup() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann")
	defer ann.close()

	if err := hub.AddUserToGroup(ctx, "trial", "ann", gateway.WithExpiry(50*time.Millisecond)); err != nil {
		log.Fatal(err)
	}
	for range time.Tick(10 * time.Millisecond) {
		member, err := hub.GroupExists(ctx, "trial")
		if err != nil {
			log.Fatal(err)
		}
		if !member {
			break
		}
	}
	fmt.Println("the trial is over")
	// Output: the trial is over
}
