package membroker_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.uber.org/goleak"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/broker/brokertest"
	"github.com/message-gateway/gateway/internal/broker/membroker"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	brokertest.Run(t, func(t testing.TB) (broker.Broker, broker.Broker) {
		t.Helper()
		testenv.Count(t, testenv.Embedded)
		hub := membroker.NewHub(nil)
		a, b := hub.Broker(wire.Names{}), hub.Broker(wire.Names{})
		t.Cleanup(func() {
			assert.NoError(t, a.Close())
			assert.NoError(t, b.Close())
		})
		return a, b
	})
}
