package gateway_test

import (
	"context"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// A batch is stored as a whole or not at all.
func ExampleClient_SendReliableBatch() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	ids, err := client.SendReliableBatch(ctx, []gateway.Outgoing{
		{UserID: "user_1", Payload: "news"},
		{UserID: "user_2", Payload: "news", Options: []gateway.SendOption{gateway.WithSender("server", "newsroom")}},
	})
	fmt.Println(len(ids), err)
	_, err = client.SendReliableBatch(ctx, []gateway.Outgoing{{UserID: "user_1", Payload: "more"}, {UserID: ""}})
	fmt.Println(err)
	stored, err := client.History(ctx, "user_1", gateway.HistoryQuery{})
	fmt.Println(len(stored), err)
	// Output:
	// 2 <nil>
	// gateway: send reliable batch: message 1: user id is empty
	// 1 <nil>
}
