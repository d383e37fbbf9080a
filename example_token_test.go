package gateway_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/message-gateway/gateway"
)

// A device connects with a URL that holds its token.
func ExampleClient_ClientAccessToken() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	access, err := client.ClientAccessToken(ctx, "user_123", gateway.WithEndpoint("https://push.example.com"),
		gateway.WithRoles("webpubsub.joinLeaveGroup"), gateway.WithLifetime(5*time.Minute))
	if err != nil {
		log.Fatal(err)
	}
	base, _, _ := strings.Cut(access.URL, "?")
	fmt.Println(base)
	// Output: wss://push.example.com/client/hubs/default
}
