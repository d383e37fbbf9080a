package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/message-gateway/gateway"
)

// FromEnv reads the MSG_* variables. Migrate creates the table where it is
// missing, and can run at every start.
func ExampleClient_Migrate() {
	defer exampleEnvironment("MSG_EMBEDDED_DIR", "MSG_HUB=chat")()
	ctx := context.Background()
	client, err := gateway.FromEnv(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = client.Close() }()

	for range 2 {
		if err := client.Migrate(ctx); err != nil {
			log.Fatal(err)
		}
	}
	_, err = client.Message(ctx, "unknown")
	fmt.Println("the table is there:", errors.Is(err, gateway.ErrMessageNotFound))
	// Output: the table is there: true
}

// All mistakes are reported at once, by the names of the variables.
func ExampleFromEnv() {
	defer exampleEnvironment("MSG_EMBEDDED_DIR", "MSG_HUB=2nd", "MSG_MAX_PAYLOAD=much")()
	_, err := gateway.FromEnv(context.Background())
	var mistakes *gateway.ConfigError
	if errors.As(err, &mistakes) {
		for _, m := range mistakes.Problems {
			fmt.Println(m.Name)
		}
	}
	// Unordered output:
	// MSG_MAX_PAYLOAD
	// MSG_HUB
}

// exampleEnvironment replaces the MSG_* variables, and puts a folder for the
// one without a value; restore brings back what was there.
func exampleEnvironment(variables ...string) (restore func()) {
	old := map[string]string{}
	for _, v := range os.Environ() {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "MSG_") {
			old[name] = value
		}
	}
	replace := func(with map[string]string) {
		for _, v := range os.Environ() {
			if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "MSG_") {
				_ = os.Unsetenv(name)
			}
		}
		for name, value := range with {
			_ = os.Setenv(name, value)
		}
	}
	dir, err := os.MkdirTemp("", "gateway-example-")
	if err != nil {
		log.Fatal(err)
	}
	now := map[string]string{}
	for _, v := range variables {
		name, value, given := strings.Cut(v, "=")
		if !given {
			value = dir
		}
		now[name] = value
	}
	replace(now)
	return func() {
		replace(old)
		_ = os.RemoveAll(dir)
	}
}
