package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

// FuzzLoadConfig: whatever is in the environment, the outcome is a
// configuration or a *ConfigError, and neither shows a secret.
func FuzzLoadConfig(f *testing.F) {
	const secret = "s3cret-0123456789abcdef0123456789"
	f.Add("127.0.0.1", "6379", "", "false", "30s", "user")
	f.Add("", "x", "a:1,b:2", "yes", "1", "")
	f.Add("[::1]", "70000", "redis://:"+secret+"@host", "1", "-1s", "a:b@c")
	f.Add(secret+"@host", "-1", ",,,", "TRUE", "1h1h", "%zz")
	f.Fuzz(func(t *testing.T, host, port, addrs, flag, duration, name string) {
		for variable, value := range map[string]string{
			"MSG_REDIS_HOST": host, "MSG_REDIS_PORT": port, "MSG_REDIS_ADDRS": addrs, "MSG_REDIS_CLUSTER": flag, "MSG_REDIS_TLS": flag,
			"MSG_REDIS_DB": port, "MSG_REDIS_USER": name, "MSG_REDIS_KEY_PREFIX": name, "MSG_REDIS_SENTINEL_MASTER": name,
			"MSG_MYSQL_HOST": host, "MSG_MYSQL_PORT": port, "MSG_MYSQL_USER": name, "MSG_MYSQL_DB": name, "MSG_MYSQL_MAX_OPEN_CONNS": port,
			"MSG_RABBITMQ_HOST": host, "MSG_RABBITMQ_PORT": port, "MSG_RABBITMQ_USERNAME": name, "MSG_RABBITMQ_VHOST": name,
			"MSG_RABBITMQ_ADDRS": addrs, "MSG_ENDPOINT": addrs, "MSG_HUB": name, "MSG_MAX_PAYLOAD": port, "MSG_CONNECT_TIMEOUT": duration,
			"MSG_DRAIN_TIMEOUT": duration, "MSG_TLS_CA": name,
			"MSG_REDIS_PASSWORD": secret, "MSG_REDIS_SENTINEL_PASSWORD": secret, "MSG_MYSQL_PASSWORD": secret,
			"MSG_RABBITMQ_PASSWORD": secret, "MSG_ACCESS_KEY": secret, "MSG_ACCESS_KEY_SECONDARY": secret,
		} {
			if strings.ContainsRune(value, 0) {
				t.Skip("no environment can hold this")
			}
			t.Setenv(variable, value)
		}
		cfg, err := gateway.LoadConfig()
		shown := fmt.Sprintf("%v %+v %#v", cfg, cfg, cfg)
		if err != nil {
			var problems *gateway.ConfigError
			require.ErrorAs(t, err, &problems)
			require.NotEmpty(t, problems.Problems)
			for _, p := range problems.Problems {
				require.NotEmpty(t, p.Name)
				require.NotEmpty(t, p.Problem)
			}
			shown = err.Error()
		}
		// What was given as a host or a name is no secret to us.
		if !strings.Contains(host+port+addrs+flag+duration+name, secret) {
			require.NotContains(t, shown, secret)
		}
	})
}
