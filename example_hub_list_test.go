package gateway_test

import (
	"context"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// The connections in a group, in order of their ids.
func ExampleHub_ListConnectionsInGroup() {
	server := startExample()
	defer server.stop()
	hub := server.Hub("chat")
	for _, userID := range []string{"ann", "bob", ""} {
		defer server.connect(hub, userID, gateway.WithGroups("lobby")).close()
	}

	for c, err := range hub.ListConnectionsInGroup(context.Background(), "lobby") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d characters, user %q\n", len(c.ConnectionID), c.UserID)
	}
	// Unordered output:
	// 32 characters, user "ann"
	// 32 characters, user "bob"
	// 32 characters, user ""
}
