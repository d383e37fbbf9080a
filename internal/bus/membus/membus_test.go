package membus_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/bus/bustest"
	"github.com/message-gateway/gateway/internal/bus/membus"
	"github.com/message-gateway/gateway/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	bustest.Run(t, func(t *testing.T) (a, b bus.Bus) {
		testenv.Count(t, testenv.Embedded)
		hub := membus.NewHub()
		return hub.Bus(), hub.Bus()
	})
}
