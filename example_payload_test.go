package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// Payloads are any JSON value; JSON that is there already passes through as it
// is, and text and bytes have types of their own.
func ExampleText() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	for _, payload := range []any{gateway.Text("hello"), gateway.Binary{1, 2}, json.RawMessage(`{ "kept": 1.0 }`), []int{1, 2}} {
		id, err := client.SendReliable(ctx, "user_123", payload)
		if err != nil {
			log.Fatal(err)
		}
		msg, err := client.Message(ctx, id)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(msg.Payload))
	}
	// Output:
	// {"$text":"hello"}
	// {"$binary":"AQI="}
	// { "kept": 1.0 }
	// [1,2]
}
