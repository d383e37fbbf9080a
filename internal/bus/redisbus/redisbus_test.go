package redisbus

import (
	"context"
	"log/slog"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/bus/bustest"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// silent takes the lines that go-redis writes about servers that tests kill.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func TestMain(m *testing.M) {
	redis.SetLogger(silent{})
	goleak.VerifyTestMain(m,
		// The proxy forgets the pipes of connections that it cuts while they
		// carry something.
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).write"),
	)
}

// open opens a bus on one server, which is closed with the test.
func open(t testing.TB, addr string, names wire.Names) *Bus {
	t.Helper()
	b, err := Open(t.Context(), Options{
		Universal: &redis.UniversalOptions{Addrs: []string{addr}},
		Names:     names,
		Logger:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func testNames() wire.Names { return wire.Names{RedisPrefix: "t" + testenv.Unique() + ":"} }

func TestConformance(t *testing.T) {
	bustest.Run(t, func(t *testing.T) (a, b bus.Bus) {
		addr, names := testenv.Redis(t), testNames()
		return open(t, addr, names), open(t, addr, names)
	})
}
