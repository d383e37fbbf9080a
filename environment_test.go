package gateway_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv"
)

// None of these run in parallel: the environment belongs to the process.

// setenv makes these the only MSG_* variables.
func setenv(t *testing.T, vars map[string]string) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "MSG_") {
			t.Setenv(name, "") // restored afterwards
			require.NoError(t, os.Unsetenv(name))
		}
	}
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

func required(change map[string]string) map[string]string {
	vars := map[string]string{
		"MSG_REDIS_HOST": "redis.local", "MSG_MYSQL_HOST": "mysql.local", "MSG_MYSQL_USER": "app", "MSG_MYSQL_DB": "messages",
		"MSG_RABBITMQ_HOST": "rabbit.local", "MSG_RABBITMQ_USERNAME": "app", "MSG_RABBITMQ_PASSWORD": secret,
	}
	for name, value := range change {
		if vars[name] = value; value == "" {
			delete(vars, name)
		}
	}
	return vars
}

func TestLoadConfigOfTheContract(t *testing.T) {
	setenv(t, required(nil))
	cfg, err := gateway.LoadConfig()
	require.NoError(t, err)
	require.Equal(t, gateway.Config{
		Redis:    gateway.RedisConfig{Addrs: []string{"redis.local:6379"}},
		MySQL:    gateway.MySQLConfig{Addr: "mysql.local:3306", User: "app", DB: "messages"},
		RabbitMQ: gateway.RabbitMQConfig{Addrs: []string{"rabbit.local:5672"}, User: "app", Password: secret, VHost: "/"},
	}, cfg)

	setenv(t, required(map[string]string{
		"MSG_REDIS_USER": "u", "MSG_REDIS_PASSWORD": "p", "MSG_REDIS_PORT": "1", "MSG_REDIS_DB": "3", "MSG_MYSQL_PORT": "2",
		"MSG_MYSQL_PASSWORD": "mp", "MSG_RABBITMQ_PORT": "65535", "MSG_RABBITMQ_VHOST": "v/h", "MSG_REDIS_HOST": "::1",
	}))
	cfg, err = gateway.LoadConfig()
	require.NoError(t, err)
	require.Equal(t, gateway.Config{
		Redis:    gateway.RedisConfig{Addrs: []string{"[::1]:1"}, User: "u", Password: "p", DB: 3},
		MySQL:    gateway.MySQLConfig{Addr: "mysql.local:2", User: "app", Password: "mp", DB: "messages"},
		RabbitMQ: gateway.RabbitMQConfig{Addrs: []string{"rabbit.local:65535"}, User: "app", Password: secret, VHost: "v/h"},
	}, cfg)
}

func TestLoadConfigOfOurs(t *testing.T) {
	key := strings.Repeat("k", 32)
	setenv(t, required(map[string]string{
		"MSG_REDIS_HOST": "", "MSG_REDIS_ADDRS": "a:1,b:2", "MSG_REDIS_SENTINEL_MASTER": "m", "MSG_REDIS_SENTINEL_USER": "su",
		"MSG_REDIS_SENTINEL_PASSWORD": "sp", "MSG_REDIS_TLS": "true", "MSG_REDIS_POOL_SIZE": "7", "MSG_REDIS_KEY_PREFIX": "kp:",
		"MSG_MYSQL_TLS": "1", "MSG_MYSQL_MAX_OPEN_CONNS": "9", "MSG_RABBITMQ_ADDRS": "c:3,d:4", "MSG_RABBITMQ_TLS": "true",
		"MSG_RABBITMQ_NAME_PREFIX": "np.", "MSG_ACCESS_KEY": key, "MSG_ACCESS_KEY_SECONDARY": key + "2",
		"MSG_ENDPOINT": "https://a,https://b", "MSG_HUB": "chat", "MSG_MAX_PAYLOAD": "1024", "MSG_CONNECT_TIMEOUT": "3s", "MSG_DRAIN_TIMEOUT": "4s",
	}))
	cfg, err := gateway.LoadConfig()
	require.NoError(t, err)
	for _, conf := range []**tls.Config{&cfg.Redis.TLS, &cfg.MySQL.TLS, &cfg.RabbitMQ.TLS} {
		require.NotNil(t, *conf)
		require.GreaterOrEqual(t, (*conf).MinVersion, uint16(tls.VersionTLS12))
		require.False(t, (*conf).InsecureSkipVerify)
		*conf = nil
	}
	require.Equal(t, gateway.Config{
		Redis: gateway.RedisConfig{
			Addrs: []string{"a:1", "b:2"}, SentinelMaster: "m", SentinelUser: "su", SentinelPassword: "sp", PoolSize: 7, KeyPrefix: "kp:",
		},
		MySQL:     gateway.MySQLConfig{Addr: "mysql.local:3306", User: "app", DB: "messages", MaxOpenConns: 9},
		RabbitMQ:  gateway.RabbitMQConfig{Addrs: []string{"c:3", "d:4"}, User: "app", Password: secret, VHost: "/", NamePrefix: "np."},
		AccessKey: key, SecondaryAccessKey: key + "2", Endpoints: []string{"https://a", "https://b"}, Hub: "chat",
		MaxPayload: 1024, ConnectTimeout: 3 * time.Second, DrainTimeout: 4 * time.Second,
	}, cfg)
	setenv(t, required(map[string]string{"MSG_REDIS_HOST": "", "MSG_REDIS_ADDRS": "a:1,b:2", "MSG_REDIS_CLUSTER": "true"}))
	cfg, err = gateway.LoadConfig()
	require.NoError(t, err)
	require.True(t, cfg.Redis.Cluster)
}

func TestLoadConfigNamesEveryMistake(t *testing.T) {
	for name, c := range map[string]struct {
		vars map[string]string
		want []string
	}{
		"nothing is set": {nil, []string{
			"MSG_REDIS_HOST", "MSG_MYSQL_HOST", "MSG_MYSQL_USER", "MSG_MYSQL_DB",
			"MSG_RABBITMQ_HOST", "MSG_RABBITMQ_USERNAME", "MSG_RABBITMQ_PASSWORD",
		}},
		"numbers and flags": {
			required(map[string]string{
				"MSG_REDIS_PORT": secret, "MSG_REDIS_DB": "x", "MSG_MYSQL_PORT": "1.5", "MSG_RABBITMQ_PORT": "amqp", "MSG_REDIS_CLUSTER": "perhaps",
				"MSG_REDIS_TLS": "2", "MSG_MAX_PAYLOAD": "1MB", "MSG_CONNECT_TIMEOUT": "10", "MSG_HUB": "-",
			}),
			[]string{
				"MSG_REDIS_PORT", "MSG_REDIS_DB", "MSG_MYSQL_PORT", "MSG_RABBITMQ_PORT", "MSG_REDIS_CLUSTER",
				"MSG_REDIS_TLS", "MSG_MAX_PAYLOAD", "MSG_CONNECT_TIMEOUT", "MSG_HUB",
			},
		},
		"ports out of range": {
			required(map[string]string{"MSG_REDIS_PORT": "0", "MSG_MYSQL_PORT": "65536", "MSG_RABBITMQ_PORT": "-1"}),
			[]string{"MSG_REDIS_PORT", "MSG_MYSQL_PORT", "MSG_RABBITMQ_PORT"},
		},
		"lists of addresses": {
			required(map[string]string{"MSG_REDIS_ADDRS": "a:1,b", "MSG_REDIS_CLUSTER": "true", "MSG_RABBITMQ_ADDRS": "c"}),
			[]string{"MSG_REDIS_ADDRS", "MSG_RABBITMQ_ADDRS"},
		},
		"urls with passwords": {
			required(map[string]string{
				"MSG_REDIS_HOST": "redis://:" + secret + "@h", "MSG_MYSQL_HOST": "app:" + secret + "@tcp(h)", "MSG_RABBITMQ_HOST": "amqp://app:" + secret + "@h",
			}),
			[]string{"MSG_REDIS_HOST", "MSG_MYSQL_HOST", "MSG_RABBITMQ_HOST"},
		},
		"embedded beside services": {
			required(map[string]string{"MSG_EMBEDDED_DIR": "/tmp/x"}),
			[]string{"MSG_REDIS_HOST", "MSG_MYSQL_HOST", "MSG_RABBITMQ_HOST"},
		},
		"embedded beside lists": {
			map[string]string{"MSG_EMBEDDED_DIR": "/tmp/x", "MSG_REDIS_ADDRS": "a:1", "MSG_RABBITMQ_ADDRS": "a:1", "MSG_ACCESS_KEY": "short"},
			[]string{"MSG_REDIS_HOST", "MSG_RABBITMQ_HOST", "MSG_ACCESS_KEY"},
		},
		"tls": {
			required(map[string]string{"MSG_TLS_CA": "/does/not/exist", "MSG_TLS_CERT": "/nor/this"}),
			[]string{"MSG_TLS_CA", "MSG_TLS_KEY"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			setenv(t, c.vars)
			cfg, err := gateway.LoadConfig()
			assert.ElementsMatch(t, c.want, problems(t, err))
			assert.Empty(t, cfg)
			noSecret(t, err.Error())
			client, err := gateway.FromEnv(t.Context())
			assert.Nil(t, client)
			assert.ElementsMatch(t, c.want, problems(t, err))
		})
	}
}

func TestFromEnvEmbedded(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	dir := t.TempDir()
	setenv(t, map[string]string{"MSG_EMBEDDED_DIR": dir})
	c, err := gateway.FromEnv(t.Context())
	require.NoError(t, err)
	_, err = c.SendReliable(t.Context(), user(), 1)
	require.NoError(t, err)
	require.NoError(t, c.Close())
}

// certificate writes a certificate of its own and its key.
func certificate(t testing.TB) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	return cert, key
}

func TestTLSFiles(t *testing.T) {
	cert, key := certificate(t)
	setenv(t, required(map[string]string{"MSG_TLS_CA": cert, "MSG_TLS_CERT": cert, "MSG_TLS_KEY": key, "MSG_MYSQL_TLS": "true"}))
	cfg, err := gateway.LoadConfig()
	require.NoError(t, err)
	require.Nil(t, cfg.Redis.TLS)
	require.Nil(t, cfg.RabbitMQ.TLS)
	require.NotNil(t, cfg.MySQL.TLS.RootCAs)
	require.Len(t, cfg.MySQL.TLS.Certificates, 1)

	other, _ := certificate(t)
	for name, c := range map[string]struct {
		vars map[string]string
		want string
	}{
		"key of another":     {map[string]string{"MSG_TLS_CERT": other, "MSG_TLS_KEY": key}, "MSG_TLS_CERT"},
		"ca holds a key":     {map[string]string{"MSG_TLS_CA": key}, "MSG_TLS_CA"},
		"certificate alone":  {map[string]string{"MSG_TLS_CERT": cert}, "MSG_TLS_KEY"},
		"key alone":          {map[string]string{"MSG_TLS_KEY": key}, "MSG_TLS_KEY"},
		"key does not exist": {map[string]string{"MSG_TLS_CERT": cert, "MSG_TLS_KEY": key + "x"}, "MSG_TLS_CERT"},
	} {
		setenv(t, required(c.vars))
		for _, unset := range []string{"MSG_TLS_CA", "MSG_TLS_CERT", "MSG_TLS_KEY"} {
			if c.vars[unset] == "" {
				require.NoError(t, os.Unsetenv(unset))
			}
		}
		_, err := gateway.LoadConfig()
		assert.Equal(t, []string{c.want}, problems(t, err), name)
	}
}

// A map takes the place of the variables of the process, also an empty one.
func TestLoadConfigFrom(t *testing.T) {
	setenv(t, required(nil))
	cfg, err := gateway.LoadConfigFrom(required(map[string]string{"MSG_REDIS_HOST": "other.local", "MSG_HUB": "chat", "PATH": "/"}))
	require.NoError(t, err)
	require.Equal(t, []string{"other.local:6379"}, cfg.Redis.Addrs)
	require.Equal(t, "chat", cfg.Hub)
	for _, nothing := range []map[string]string{nil, {}} {
		_, err = gateway.LoadConfigFrom(nothing)
		require.ErrorContains(t, err, "MSG_REDIS_HOST: is required")
	}
}
