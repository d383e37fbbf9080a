package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// A realtime message reaches whoever is connected now. FailIfOffline asks first.
func ExampleClient_SendRealtime() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	err = client.SendRealtime(ctx, "user_123", map[string]any{"typing": true})
	fmt.Println("to nobody:", err)
	err = client.SendRealtime(ctx, "user_123", gateway.Text("hello"), gateway.FailIfOffline())
	fmt.Println("offline:", errors.Is(err, gateway.ErrUserOffline))
	// Output:
	// to nobody: <nil>
	// offline: true
}
