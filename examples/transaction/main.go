// Transaction writes an order and the message about it in one transaction of
// the service's own: either both exist or neither does, and no message is
// forgotten if the process dies right after the commit. The program runs on
// the embedded backend and ends.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/examples/internal/device"
	"github.com/message-gateway/gateway/node"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "transaction:", err)
		os.Exit(1)
	}
}

var errSoldOut = errors.New("sold out")

// shop has its tables in the database that the gateway uses.
type shop struct {
	db     *sql.DB
	client *gateway.Client
}

// order takes one piece from the stock and tells the user.
func (s *shop) order(ctx context.Context, user, item string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after a commit
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (user_id, item) VALUES (?, ?)", user, item); err != nil {
		return err
	}
	message := map[string]string{"ordered": item}
	if _, err := s.client.SendReliableTx(ctx, tx, user, message, gateway.WithSender("server", "shop")); err != nil {
		return err
	}
	taken, err := tx.ExecContext(ctx, "UPDATE stock SET pieces = pieces - 1 WHERE item = ? AND pieces > 0", item)
	if err != nil {
		return err
	}
	if n, err := taken.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, errSoldOut) // no order, and no message
	}
	return tx.Commit()
}

func run(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "transaction-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// In production: gateway.FromEnv(ctx), and sql.Open("mysql", …) on the same database.
	client, err := gateway.New(ctx, gateway.Embedded(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "gateway.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for _, statement := range []string{
		"CREATE TABLE orders (id INTEGER PRIMARY KEY, user_id TEXT NOT NULL, item TEXT NOT NULL)",
		"CREATE TABLE stock (item TEXT PRIMARY KEY, pieces INTEGER NOT NULL)",
		"INSERT INTO stock VALUES ('lamp', 1)",
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}

	s := &shop{db: db, client: client}
	fmt.Println("ada orders a lamp:", outcome(s.order(ctx, "ada", "lamp")))
	fmt.Println("bob orders a lamp:", outcome(s.order(ctx, "bob", "lamp")))
	for _, user := range []string{"ada", "bob"} {
		messages, err := client.History(ctx, user, gateway.HistoryQuery{})
		if err != nil {
			return err
		}
		fmt.Printf("messages for %s: %d\n", user, len(messages))
	}
	return receive(ctx, client, "ada")
}

func outcome(err error) any {
	if err != nil {
		return err
	}
	return "done"
}

// receive is the user who comes back and finds the message.
func receive(ctx context.Context, client *gateway.Client, user string) (err error) {
	n, err := node.New(client, node.Options{})
	if err != nil {
		return err
	}
	server := httptest.NewServer(n)
	defer server.Close()
	defer func() { err = errors.Join(err, n.Shutdown(ctx)) }()
	access, err := client.ClientAccessToken(ctx, user, gateway.WithEndpoint(server.URL))
	if err != nil {
		return err
	}
	phone, err := device.Connect(ctx, access.URL, nil)
	if err != nil {
		return err
	}
	defer phone.Leave()
	message, err := phone.Envelope(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s's phone received %s\n", user, message.Payload)
	return phone.Acknowledge(ctx)
}
