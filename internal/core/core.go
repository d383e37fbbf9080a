// Package core is what a client and a node share: the open backends and the
// settings that both must agree on. The root package fills it; the node
// reaches it through Of, so that no backend shows in the public API.
package core

import (
	"log/slog"

	"github.com/message-gateway/gateway/internal/broker"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/odata"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// Core is immutable once the client is open.
type Core struct {
	Bus     bus.Bus
	Store   store.Store
	Broker  broker.Broker
	Names   wire.Names
	Log     *slog.Logger
	Metrics *telemetry.Metrics
	// Tracer is nil where nothing is traced.
	Tracer *telemetry.Tracer
	// BusName, StoreName and BrokerName say in errors which server is meant,
	// with its address and without its password.
	BusName, StoreName, BrokerName string
	// DefaultHub is the hub that the three sends reach.
	DefaultHub string
	// AccessKeys sign and check tokens; the first signs. Empty: no tokens.
	AccessKeys []string
	// Endpoints are the public base URLs of the nodes; the first stands in new
	// tokens.
	Endpoints []string
	// Answered hands an answer to a call of this very process that waits for it,
	// and reports whether the queue is this process's: then nobody else waits.
	Answered func(queue string, a broker.Answer) bool
	// Watch reports queues of what is built on the client until that closes.
	Watch func([]telemetry.Queue) error
	// MaxPayload is the largest payload in bytes.
	MaxPayload int
	// Limits bound names, metadata and times to live, Filter filters, and Page
	// the pages of lists: the one source for the client, nodes and REST.
	Limits protocol.Limits
	Filter odata.Limits
	Page   int
	// Closed ends when the client closes.
	Closed <-chan struct{}
}

// Of returns the Core of a *gateway.Client, or nil for a client that is not
// usable. The root package sets it: internal packages cannot import the root.
var Of func(client any) *Core
