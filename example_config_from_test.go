package gateway_test

import (
	"fmt"

	"github.com/message-gateway/gateway"
)

// Settings that come from elsewhere than the environment have the same names,
// and the same checks.
func ExampleLoadConfigFrom() {
	cfg, err := gateway.LoadConfigFrom(map[string]string{"MSG_EMBEDDED_DIR": "data", "MSG_HUB": "chat"})
	fmt.Println(cfg, cfg.Hub, err)
	_, err = gateway.LoadConfigFrom(map[string]string{"MSG_EMBEDDED_DIR": "data", "MSG_MAX_PAYLOAD": "much"})
	fmt.Println(err)
	// Output:
	// embedded in data chat <nil>
	// bad configuration:
	//   MSG_MAX_PAYLOAD: is no number
}
