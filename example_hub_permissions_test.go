package gateway_test

import (
	"context"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// What a device may do with groups can change while it is connected.
func ExampleHub_GrantPermission() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann")
	defer ann.close()

	send := `{"type":"sendToGroup","group":"lobby","ackId":1,"dataType":"text","data":"hi"}`
	fmt.Println("before:", ann.ask(send))
	if err := hub.GrantPermission(ctx, gateway.PermissionSendToGroup, ann.id, "lobby"); err != nil {
		log.Fatal(err)
	}
	may, err := hub.HasPermission(ctx, gateway.PermissionSendToGroup, ann.id, "lobby")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("may:", may)
	fmt.Println("granted:", ann.ask(send))
	if err := hub.RevokePermission(ctx, gateway.PermissionSendToGroup, ann.id, "lobby"); err != nil {
		log.Fatal(err)
	}
	fmt.Println("revoked:", ann.ask(`{"type":"sendToGroup","group":"lobby","ackId":2,"dataType":"text","data":"hi"}`))
	// Output:
	// before: Forbidden
	// may: true
	// granted: ok
	// revoked: Forbidden
}
