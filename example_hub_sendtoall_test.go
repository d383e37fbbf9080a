package gateway_test

import (
	"context"
	"log"

	"github.com/message-gateway/gateway"
)

// A message to everyone in a hub, as JSON, text or bytes.
func ExampleHub_SendToAll() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann, bob := server.connect(hub, "ann"), server.connect(hub, "bob")
	defer ann.close()
	defer bob.close()

	for _, payload := range []any{map[string]string{"news": "hello"}, gateway.Text("plain text"), gateway.Binary{1, 2, 3}} {
		if err := hub.SendToAll(ctx, payload); err != nil {
			log.Fatal(err)
		}
		ann.print()
		bob.print()
	}
	// Output:
	// ann got json {"news":"hello"}
	// bob got json {"news":"hello"}
	// ann got text "plain text"
	// bob got text "plain text"
	// ann got binary "AQID"
	// bob got binary "AQID"
}
