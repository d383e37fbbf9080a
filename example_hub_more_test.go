package gateway_test

import (
	"context"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// must ends an example that goes wrong.
func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// check is must for a question.
func check(ok bool, err error) bool {
	must(err)
	return ok
}

func ExampleHub_RemoveConnectionFromGroup() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann", gateway.WithGroups("lobby"))
	defer ann.close()

	must(hub.RemoveConnectionFromGroup(ctx, "lobby", ann.id))
	fmt.Println(check(hub.GroupExists(ctx, "lobby")))
	// Output: false
}

func ExampleHub_RemoveConnectionFromAllGroups() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann", gateway.WithGroups("lobby", "kitchen"))
	defer ann.close()

	must(hub.RemoveConnectionFromAllGroups(ctx, ann.id))
	fmt.Println(check(hub.GroupExists(ctx, "lobby")), check(hub.GroupExists(ctx, "kitchen")))
	// Output: false false
}

func ExampleHub_RemoveUserFromGroup() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann", gateway.WithGroups("lobby"))
	defer ann.close()
	bob := server.connect(hub, "bob", gateway.WithGroups("lobby"))
	defer bob.close()

	must(hub.RemoveUserFromGroup(ctx, "lobby", "ann"))
	must(hub.SendToGroup(ctx, "lobby", gateway.Text("only bob is left")))
	bob.print()
	// Output: bob got text "only bob is left"
}

func ExampleHub_RemoveUserFromAllGroups() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann", gateway.WithGroups("lobby", "kitchen"))
	defer ann.close()

	must(hub.RemoveUserFromAllGroups(ctx, "ann"))
	fmt.Println(check(hub.GroupExists(ctx, "kitchen")))
	// Output: false
}

// Connections are chosen by a filter; an empty one chooses all of them.
func ExampleHub_AddConnectionsToGroups() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann")
	defer ann.close()
	bob := server.connect(hub, "bob")
	defer bob.close()

	groups := []string{"lobby", "kitchen"}
	must(hub.AddConnectionsToGroups(ctx, groups, "userId eq "+gateway.FilterString("ann")))
	must(hub.SendToGroup(ctx, "kitchen", gateway.Text("dinner")))
	ann.print()
	must(hub.RemoveConnectionsFromGroups(ctx, groups, ""))
	fmt.Println(check(hub.GroupExists(ctx, "kitchen")))
	// Output:
	// ann got text "dinner"
	// false
}

func ExampleHub_CloseConnection() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann")
	defer ann.close()

	must(hub.CloseConnection(ctx, ann.id, gateway.WithReason("maintenance")))
	fmt.Println(ann.frame().Message)
	fmt.Println(check(hub.ConnectionExists(ctx, ann.id)))
	// Output:
	// Application server closed the connection. Reason: maintenance
	// false
}

func ExampleHub_CloseAllConnections() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann")
	defer ann.close()
	bob := server.connect(hub, "bob")
	defer bob.close()

	must(hub.CloseAllConnections(ctx, gateway.Excluding(bob.id)))
	fmt.Println(check(hub.UserExists(ctx, "ann")), check(hub.UserExists(ctx, "bob")))
	// Output: false true
}

func ExampleHub_CloseGroupConnections() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann", gateway.WithGroups("lobby"))
	defer ann.close()

	must(hub.CloseGroupConnections(ctx, "lobby"))
	fmt.Println(ann.frame().Message)
	// Output: Application server closed the connection.
}

// Revoking wins over what the token's roles allow.
func ExampleHub_RevokePermission() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann", gateway.WithRoles("webpubsub.sendToGroup"))
	defer ann.close()

	must(hub.RevokePermission(ctx, gateway.PermissionSendToGroup, ann.id, "kitchen"))
	fmt.Println("kitchen:", check(hub.HasPermission(ctx, gateway.PermissionSendToGroup, ann.id, "kitchen")))
	fmt.Println("lobby:", check(hub.HasPermission(ctx, gateway.PermissionSendToGroup, ann.id, "lobby")))
	// Output:
	// kitchen: false
	// lobby: true
}

// One page of a group; ListConnectionsInGroup goes through all of them.
func ExampleHub_GroupConnections() {
	server := startExample()
	defer server.stop()
	hub := server.Hub("chat")
	ann := server.connect(hub, "ann", gateway.WithGroups("lobby"))
	defer ann.close()

	page, err := hub.GroupConnections(context.Background(), "lobby", "", gateway.DefaultLimits().Page)
	must(err)
	for _, c := range page {
		fmt.Println(c.UserID, c.ConnectionID == ann.id)
	}
	// Output: ann true
}
