package gateway_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/message-gateway/gateway"
)

// A token says who the device is, which groups it is in from the start, and
// what it may do. It counts when the device connects: one that is connected
// stays when its token ends.
func ExampleHub_ClientAccessToken() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")

	options := []gateway.TokenOption{
		gateway.WithGroups("lobby"),
		gateway.WithRoles("webpubsub.sendToGroup.lobby", "webpubsub.joinLeaveGroups.room.*"),
		gateway.WithLifetime(5 * time.Minute),
	}
	access, err := hub.ClientAccessToken(ctx, "ann", append(options, gateway.WithEndpoint("https://push.example.com"))...)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(access.URL[:len("wss://push.example.com/client/hubs/chat?")])
	fmt.Println("minutes:", time.Until(access.ExpiresAt).Round(time.Minute).Minutes())

	ann := server.connect(hub, "ann", options...)
	defer ann.close()
	fmt.Println("join room.7:", ann.ask(`{"type":"joinGroup","group":"room.7","ackId":1}`))
	fmt.Println("join hall:", ann.ask(`{"type":"joinGroup","group":"hall","ackId":2}`))
	fmt.Println("send to lobby:", ann.ask(`{"type":"sendToGroup","group":"lobby","noEcho":true,"ackId":3,"dataType":"text","data":"hi"}`))
	// Output:
	// wss://push.example.com/client/hubs/chat?
	// minutes: 5
	// join room.7: ok
	// join hall: Forbidden
	// send to lobby: ok
}
