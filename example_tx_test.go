package gateway_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/message-gateway/gateway"
)

// In a transaction of the caller's the message exists if, and only if, it
// commits.
func ExampleClient_SendReliableTx() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	client, err := gateway.New(ctx, gateway.Embedded(dir))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "gateway.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = db.Close() }()

	for _, commit := range []bool{false, true} {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			log.Fatal(err)
		}
		// … the statements of the order itself …
		if _, err := client.SendReliableTx(ctx, tx, "user_123", "your order is placed"); err != nil {
			log.Fatal(err)
		}
		end := tx.Rollback
		if commit {
			end = tx.Commit
		}
		if err := end(); err != nil {
			log.Fatal(err)
		}
		stored, err := client.History(ctx, "user_123", gateway.HistoryQuery{})
		fmt.Println("committed:", commit, "messages:", len(stored), err)
	}
	// Output:
	// committed: false messages: 0 <nil>
	// committed: true messages: 1 <nil>
}
