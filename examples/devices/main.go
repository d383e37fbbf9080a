// Devices is one user with a phone and a laptop: realtime and reliable messages
// reach both, one acknowledgement is enough, the first answer to a command
// wins, and a message that nobody was there for waits. The program runs on the
// embedded backend and ends.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/examples/internal/device"
	"github.com/message-gateway/gateway/node"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "devices:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	client, err := gateway.New(ctx, gateway.Embedded("")) // gateway.FromEnv(ctx) in production
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	n, err := node.New(client, node.Options{})
	if err != nil {
		return err
	}
	server := httptest.NewServer(n)
	defer server.Close()
	defer func() { err = errors.Join(err, n.Shutdown(ctx)) }()

	if _, err := client.SendReliable(ctx, "ada", "while you were away"); err != nil {
		return err
	}
	// A token is for a user, not for a device: both may use the same one.
	access, err := client.ClientAccessToken(ctx, "ada", gateway.WithEndpoint(server.URL))
	if err != nil {
		return err
	}
	phone, err := device.Connect(ctx, access.URL, nil)
	if err != nil {
		return err
	}
	defer phone.Leave()
	if err := reliable(ctx, client, phone, "phone"); err != nil {
		return err
	}
	laptop, err := device.Connect(ctx, access.URL, nil)
	if err != nil {
		return err
	}
	defer laptop.Leave()

	if err := client.SendRealtime(ctx, "ada", "bob is typing"); err != nil {
		return err
	}
	for name, d := range map[string]*device.Device{"phone": phone, "laptop": laptop} {
		if _, err := d.Next(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	fmt.Println("phone and laptop: bob is typing")

	for _, d := range []*device.Device{phone, laptop} {
		go func() { _ = answer(ctx, d) }() // ends with the connection
	}
	where, err := gateway.Call[string](ctx, client, "ada", "WHERE_ARE_YOU", nil)
	if err != nil {
		return err
	}
	fmt.Printf("one of them answered first: %s\n", where)
	return nil
}

// reliable receives a message, acknowledges it, and waits until that is known.
func reliable(ctx context.Context, client *gateway.Client, d *device.Device, name string) error {
	message, err := d.Envelope(ctx)
	if err != nil {
		return err
	}
	if err := d.Acknowledge(ctx); err != nil {
		return err
	}
	fmt.Printf("%s: %s\n", name, message.Payload)
	for {
		stored, err := client.Message(ctx, message.ID)
		if err != nil {
			return err
		}
		if stored.Status == gateway.StatusFinished {
			fmt.Println("acknowledged: no other device gets it any more")
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answer is a device that says where its user is. Both send the same here, as
// which one is first is open; an answer that comes later is dropped.
func answer(ctx context.Context, d *device.Device) error {
	command, err := d.Envelope(ctx)
	if err != nil {
		return err
	}
	return d.Answer(ctx, command, "at home")
}
