package gateway_test

import (
	"context"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// Online says of many users at once whether a device of theirs is connected.
func ExampleClient_Online() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	online, err := client.Online(ctx, "user_1", "user_2")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(online)
	// Output: map[user_1:false user_2:false]
}
