// Digest is a job that cron starts once a night: it sends every user a summary
// and ends. The message ids say which day they are about, so that a job that
// was started twice, or died half-way and is started again, sends nothing
// twice. It takes the MSG_* variables if they name services; the crontab line:
//
//	0 6 * * * . /etc/gateway.env && /usr/local/bin/digest
//
// Without them it runs twice on the embedded backend, to show that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/message-gateway/gateway"
)

func main() {
	day := flag.String("day", time.Now().Format(time.DateOnly), "the day of the digest")
	flag.Parse()
	// A job that hangs is worse than one that fails: cron reports the exit code.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	run := demonstrate
	if os.Getenv("MSG_REDIS_HOST") != "" {
		run = func(ctx context.Context, day string) error {
			client, err := gateway.FromEnv(ctx)
			if err != nil {
				return err
			}
			return errors.Join(send(ctx, client, day), client.Close())
		}
	}
	if err := run(ctx, *day); err != nil {
		fmt.Fprintln(os.Stderr, "digest:", err)
		os.Exit(1)
	}
}

// news is what happened to each user; a real job reads it from a database.
func news() map[string]int { return map[string]int{"ada": 3, "bob": 1, "cyd": 7} }

// send stores all digests or none.
func send(ctx context.Context, client *gateway.Client, day string) error {
	var batch []gateway.Outgoing
	for user, events := range news() {
		batch = append(batch, gateway.Outgoing{
			UserID:  user,
			Payload: map[string]any{"day": day, "events": events},
			Options: []gateway.SendOption{
				gateway.WithMessageID("digest-" + day + "-" + user),
				gateway.WithSender("job", "digest"),
			},
		})
	}
	ids, err := client.SendReliableBatch(ctx, batch) // up to gateway.MaxBatch in one call
	if err != nil {
		return err
	}
	fmt.Printf("%d digests are stored\n", len(ids))
	return nil
}

func demonstrate(ctx context.Context, day string) (err error) {
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	for range 2 {
		if err := send(ctx, client, day); err != nil {
			return err
		}
	}
	for _, user := range []string{"ada", "bob", "cyd"} {
		messages, err := client.History(ctx, user, gateway.HistoryQuery{})
		if err != nil {
			return err
		}
		fmt.Printf("%s has %d, with id %s\n", user, len(messages), messages[0].ID)
	}
	return nil
}
