package gateway_test

import (
	"context"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// History reads a user's messages page by page, here from the newest back.
func ExampleClient_History() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for i := range 5 {
		if _, err := client.SendReliable(ctx, "user_123", i); err != nil {
			log.Fatal(err)
		}
	}

	query := gateway.HistoryQuery{Limit: 2, Backwards: true}
	for {
		page, err := client.History(ctx, "user_123", query)
		if err != nil {
			log.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, msg := range page {
			fmt.Printf("seq %d: %s\n", msg.Seq, msg.Payload)
		}
		fmt.Println("--")
		query.FromSeq = page[len(page)-1].Seq
	}
	// Output:
	// seq 5: 4
	// seq 4: 3
	// --
	// seq 3: 2
	// seq 2: 1
	// --
	// seq 1: 0
	// --
}
