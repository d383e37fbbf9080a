package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// With an id of the caller's own a send can be repeated after any error.
func ExampleWithMessageID() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	for range 2 {
		id, err := client.SendReliable(ctx, "user_123", "your order was shipped", gateway.WithMessageID("order-77-shipped"))
		fmt.Println(id, err)
	}
	_, err = client.SendReliable(ctx, "user_456", "your order was shipped", gateway.WithMessageID("order-77-shipped"))
	fmt.Println("another user:", errors.Is(err, gateway.ErrMessageIDConflict))
	stored, err := client.History(ctx, "user_123", gateway.HistoryQuery{})
	fmt.Println(len(stored), err)
	// Output:
	// order-77-shipped <nil>
	// order-77-shipped <nil>
	// another user: true
	// 1 <nil>
}
