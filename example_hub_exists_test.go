package gateway_test

import (
	"context"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// Who is there, wherever in the cluster.
func ExampleHub_UserExists() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann", gateway.WithGroups("lobby"))
	defer ann.close()

	for name, check := range map[string]func() (bool, error){
		"user":       func() (bool, error) { return hub.UserExists(ctx, "ann") },
		"group":      func() (bool, error) { return hub.GroupExists(ctx, "lobby") },
		"connection": func() (bool, error) { return hub.ConnectionExists(ctx, ann.id) },
		"stranger":   func() (bool, error) { return hub.UserExists(ctx, "bob") },
	} {
		exists, err := check()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(name, exists)
	}
	// Unordered output:
	// user true
	// group true
	// connection true
	// stranger false
}
