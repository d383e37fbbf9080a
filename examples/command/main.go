// Command asks a device and uses its answer as a Go value. It shows the four
// ends of a command: an answer, an error of the device, no answer in time, and
// an answer that is picked up later. The program runs on the embedded backend
// and ends.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/examples/internal/device"
	"github.com/message-gateway/gateway/node"
)

// CreateCanvas is what the command asks for.
type CreateCanvas struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

// Canvas is the device's answer.
type Canvas struct {
	ID     string `json:"id"`
	Pixels int    `json:"pixels"`
}

const createCanvas = "CLIENT_SERVER:CREATE_CANVAS"

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "command:", err)
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
	access, err := client.ClientAccessToken(ctx, "ada", gateway.WithEndpoint(server.URL))
	if err != nil {
		return err
	}
	tablet, err := device.Connect(ctx, access.URL, nil)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- draw(ctx, tablet, 3) }()

	canvas, err := gateway.Call[Canvas](ctx, client, "ada", createCanvas, CreateCanvas{Width: 800, Height: 600})
	if err != nil {
		return err
	}
	fmt.Printf("answered: canvas %s with %d pixels\n", canvas.ID, canvas.Pixels)

	_, err = gateway.Call[Canvas](ctx, client, "ada", createCanvas, CreateCanvas{Width: -1, Height: 600})
	var refused *gateway.CommandError
	if !errors.As(err, &refused) {
		return fmt.Errorf("the device did not refuse: %w", err)
	}
	fmt.Printf("refused: %s, %s\n", refused.Code, refused.Message)

	// Stored, and answered while nobody waits. The id may be kept in a database
	// and picked up by another process.
	command, err := client.SendCommand(ctx, "ada", createCanvas, CreateCanvas{Width: 64, Height: 64}, gateway.NoWait())
	if err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	tablet.Leave()
	command, err = client.AwaitCommand(ctx, command.MessageID)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(command.Response, &canvas); err != nil {
		return err
	}
	fmt.Printf("picked up later: canvas %s with %d pixels\n", canvas.ID, canvas.Pixels)

	_, err = gateway.Call[Canvas](ctx, client, "ada", createCanvas, CreateCanvas{}, gateway.WithTimeout(200*time.Millisecond))
	if !errors.Is(err, gateway.ErrCommandTimeout) {
		return fmt.Errorf("a command that nobody answers ended with %w", err)
	}
	fmt.Println("the tablet is away: timed out")
	return nil
}

// draw is the device: it answers that many commands.
func draw(ctx context.Context, tablet *device.Device, commands int) error {
	for i := range commands {
		command, err := tablet.Envelope(ctx)
		if err != nil {
			return err
		}
		var wanted CreateCanvas
		if err := json.Unmarshal(command.Data, &wanted); err != nil {
			return err
		}
		if wanted.Width <= 0 || wanted.Height <= 0 {
			err = tablet.Refuse(ctx, command, "BAD_SIZE", "width and height must be positive")
		} else {
			err = tablet.Answer(ctx, command, Canvas{ID: fmt.Sprintf("c%d", i+1), Pixels: wanted.Width * wanted.Height})
		}
		if err != nil {
			return err
		}
	}
	return nil
}
