package gateway_test

import (
	"context"
	"fmt"

	"github.com/message-gateway/gateway"
)

// Every mistake of a configuration is reported at once, by variable name.
func ExampleNew() {
	_, err := gateway.New(context.Background(), gateway.Config{
		Redis: gateway.RedisConfig{Addrs: []string{"redis.local:6379"}},
		MySQL: gateway.MySQLConfig{Addr: "mysql.local:3306", DB: "messages"},
		Hub:   "2nd",
	})
	fmt.Println(err)
	// Output:
	// gateway: new client: bad configuration:
	//   MSG_MYSQL_USER: is required
	//   MSG_RABBITMQ_HOST: is required
	//   MSG_RABBITMQ_USERNAME: is required
	//   MSG_RABBITMQ_PASSWORD: is required
	//   MSG_HUB: must start with a letter and have at most 128 letters, digits and any of _`,.[]
}
