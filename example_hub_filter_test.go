package gateway_test

import (
	"context"
	"fmt"
	"log"

	"github.com/message-gateway/gateway"
)

// A filter chooses among the connections. Filter quotes what users chose
// themselves.
func ExampleWithFilter() {
	server := startExample()
	defer server.stop()
	ctx := context.Background()
	hub := server.Hub("chat")
	brien := server.connect(hub, "o'brien", gateway.WithGroups("vip"))
	bob := server.connect(hub, "bob", gateway.WithGroups("vip"))
	defer brien.close()
	defer bob.close()

	but := gateway.Filter("'vip' in groups and userId ne ?", "o'brien")
	if err := hub.SendToAll(ctx, gateway.Text("a surprise for o'brien"), gateway.WithFilter(but)); err != nil {
		log.Fatal(err)
	}
	// The same works for groups.
	if err := hub.AddConnectionsToGroups(ctx, []string{"party"}, but); err != nil {
		log.Fatal(err)
	}
	if err := hub.SendToGroup(ctx, "party", gateway.Text("where?")); err != nil {
		log.Fatal(err)
	}
	bob.print()
	bob.print()
	// Output:
	// bob got text "a surprise for o'brien"
	// bob got text "where?"
}

func ExampleFilter() {
	fmt.Println(gateway.Filter("userId in ? and not (? in groups)", []string{"ann", "o'brien"}, "banned"))
	// Output: userId in ('ann','o''brien') and not ('banned' in groups)
}
