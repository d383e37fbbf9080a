// Quickstart shows the three sends end to end in one process: a gateway, a node
// on a loopback port, and a device that connects to it over a real WebSocket.
//
// Without services it runs on the embedded backend; with the MSG_* variables
// set, on Redis, MySQL and RabbitMQ. It exits with an error if any step did not
// happen.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
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
		fmt.Fprintln(os.Stderr, "quickstart failed:", err)
		os.Exit(1)
	}
	fmt.Println("All steps happened.")
}

func run(ctx context.Context) (err error) {
	cfg, err := config()
	if err != nil {
		return err
	}
	fmt.Println("Backend:", cfg)
	client, err := gateway.New(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.Migrate(ctx); err != nil {
		return err
	}

	n, err := node.New(client, node.Options{})
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/client/", n)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	defer func() { err = errors.Join(err, n.Shutdown(ctx), server.Shutdown(ctx)) }()

	userID := "quickstart-" + rand.Text()
	access, err := client.ClientAccessToken(ctx, userID, gateway.WithEndpoint("http://"+listener.Addr().String()))
	if err != nil {
		return err
	}
	for _, step := range []func(context.Context, *gateway.Client, string, string) error{realtime, reliable, command, noWait, timeout} {
		if err := step(ctx, client, userID, access.URL); err != nil {
			return err
		}
	}
	return nil
}

// config is that of the environment if it names services, else embedded.
func config() (gateway.Config, error) {
	for _, name := range []string{"MSG_REDIS_HOST", "MSG_REDIS_ADDRS", "MSG_MYSQL_HOST", "MSG_RABBITMQ_HOST", "MSG_EMBEDDED_DIR"} {
		if os.Getenv(name) == "" {
			continue
		}
		cfg, err := gateway.LoadConfig()
		if cfg.AccessKey == "" {
			cfg.AccessKey = rand.Text() + rand.Text() // for this run only
		}
		return cfg, err
	}
	return gateway.Embedded(""), nil
}

func realtime(ctx context.Context, client *gateway.Client, userID, url string) error {
	phone, err := device.Connect(ctx, url, nil)
	if err != nil {
		return err
	}
	defer phone.Leave()
	if err := client.SendRealtime(ctx, userID, map[string]string{"text": "are you there?"}); err != nil {
		return err
	}
	data, err := phone.Next(ctx)
	if err != nil {
		return fmt.Errorf("realtime message: %w", err)
	}
	fmt.Printf("Realtime:  connection %s received %s\n", phone.ID, data)
	return nil
}

func reliable(ctx context.Context, client *gateway.Client, userID, url string) error {
	id, err := client.SendReliable(ctx, userID, map[string]string{"text": "you have mail"}, gateway.WithSender("server", "quickstart"))
	if err != nil {
		return err
	}
	fmt.Printf("Reliable:  message %s is stored, the device is away\n", id)
	phone, err := device.Connect(ctx, url, nil)
	if err != nil {
		return err
	}
	defer phone.Leave()
	envelope, err := phone.Envelope(ctx)
	if err != nil {
		return fmt.Errorf("reliable message: %w", err)
	}
	if envelope.ID != id {
		return fmt.Errorf("the device received message %s instead of %s", envelope.ID, id)
	}
	fmt.Printf("Reliable:  message %s received on return: %s\n", envelope.ID, envelope.Payload)
	if err := phone.Acknowledge(ctx); err != nil {
		return err
	}
	for {
		message, err := client.Message(ctx, id)
		if err != nil {
			return err
		}
		if message.Status == gateway.StatusFinished {
			fmt.Printf("Reliable:  message %s acknowledged, status %s\n", id, message.Status)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("message %s is still %s: %w", id, message.Status, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// canvas is what the device answers.
type canvas struct {
	ID   string `json:"id"`
	Size string `json:"size"`
}

// answerNext is the phone that waits for a command and answers it.
func answerNext(ctx context.Context, phone *device.Device, answer canvas) error {
	command, err := phone.Envelope(ctx)
	if err != nil {
		return err
	}
	if command.Kind != "command" {
		return fmt.Errorf("message %s is no command", command.ID)
	}
	return phone.Answer(ctx, command, answer)
}

func command(ctx context.Context, client *gateway.Client, userID, url string) error {
	phone, err := device.Connect(ctx, url, nil)
	if err != nil {
		return err
	}
	defer phone.Leave()
	answered := make(chan error, 1)
	go func() { answered <- answerNext(ctx, phone, canvas{ID: "c1", Size: "800x600"}) }()
	res, err := client.SendCommand(ctx, userID, "CLIENT_SERVER:CREATE_CANVAS", map[string]string{"name": "sketch"},
		gateway.WithTimeout(5*time.Second))
	if err := errors.Join(err, <-answered); err != nil {
		return err
	}
	fmt.Printf("Command:   message %s answered by the device: %s\n", res.MessageID, res.Response)
	return nil
}

func noWait(ctx context.Context, client *gateway.Client, userID, url string) error {
	res, err := client.SendCommand(ctx, userID, "CLIENT_SERVER:CREATE_CANVAS", nil, gateway.NoWait())
	if err != nil {
		return err
	}
	fmt.Printf("Command:   message %s is stored, not waiting\n", res.MessageID)
	phone, err := device.Connect(ctx, url, nil)
	if err != nil {
		return err
	}
	defer phone.Leave()
	if err := answerNext(ctx, phone, canvas{ID: "c2", Size: "64x64"}); err != nil {
		return err
	}
	res, err = client.AwaitCommand(ctx, res.MessageID)
	if err != nil {
		return err
	}
	var answer canvas
	if err := json.Unmarshal(res.Response, &answer); err != nil {
		return err
	}
	fmt.Printf("Command:   message %s picked up later: canvas %s, %s\n", res.MessageID, answer.ID, answer.Size)
	return nil
}

func timeout(ctx context.Context, client *gateway.Client, userID, _ string) error {
	res, err := client.SendCommand(ctx, userID, "CLIENT_SERVER:CREATE_CANVAS", nil, gateway.WithTimeout(time.Second))
	if !errors.Is(err, gateway.ErrCommandTimeout) {
		return fmt.Errorf("a command that nobody answers ended with %w", err)
	}
	message, err := client.Message(ctx, res.MessageID)
	if err != nil {
		return err
	}
	if message.Status != gateway.StatusTimedOut {
		return fmt.Errorf("message %s is %s", res.MessageID, message.Status)
	}
	fmt.Printf("Command:   message %s timed out, status %s\n", res.MessageID, message.Status)
	return nil
}
