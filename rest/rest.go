// Package rest serves the REST data plane of Azure Web PubSub, so that its
// official service clients, in any language, work against this gateway: they
// only need another connection string,
//
//	Endpoint=https://push.example.com;AccessKey=<MSG_ACCESS_KEY>;Version=1.0;
//
// A [Handler] is an http.Handler:
//
//	api, err := rest.New(client, rest.Options{})
//
// It does everything through gateway.Hub, and so runs anywhere, in any number:
// beside a node, or in a process of its own. All operations of the versions
// 2021-10-01 to 2024-12-01 are there, except tokens for MQTT and Socket.IO
// clients, and the tokens of Entra ID in place of access keys.
//
// An http.ServeMux in front of it cleans paths, and redirects those that it
// changed, which breaks signatures; [Handler.Serves] lets a program choose
// between handlers without one.
//
// The contract is
// https://learn.microsoft.com/azure/azure-web-pubsub/reference-rest-api-data-plane;
// where it says nothing, the official emulator was followed.
package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/telemetry"
)

// Handler is an http.Handler that serves the REST data plane. All methods may
// be called from several goroutines.
//
// A call that is refused with a status below 500, or with 503, did nothing, or
// something that may be repeated. 500 is the answer to a send whose outcome is
// unknown: official clients repeat it, with the same X-Ms-Client-Request-Id,
// by which nodes drop what they have got already (gateway.WithIdempotencyKey).
// A caller that sends no such header may have its message arrive twice.
type Handler struct {
	core    *core.Core
	opts    Options
	open    func(name string) hub
	running atomic.Int64
}

// New returns a handler on client, which must outlive it. It makes no call.
// Errors: those that match ErrInvalidOptions; gateway.ErrNoAccessKey, as there
// is nothing to check tokens with then.
func New(client *gateway.Client, opts Options) (*Handler, error) {
	c := core.Of(client)
	if c == nil {
		return nil, errors.New("rest: client is nil")
	}
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	if len(c.AccessKeys) == 0 {
		return nil, fmt.Errorf("rest: %w", gateway.ErrNoAccessKey)
	}
	h := &Handler{core: c, opts: opts.withDefaults(c), open: func(name string) hub { return client.Hub(name) }}
	if opts.MaxCalls > 0 {
		running := func() int { return int(h.running.Load()) }
		queues := []telemetry.Queue{{Name: telemetry.QueueREST, Length: running, Limit: telemetry.Bound(opts.MaxCalls)}}
		if err := c.Watch(queues); err != nil {
			return nil, fmt.Errorf("rest: metrics: %w", err)
		}
	}
	return h, nil
}

// Serves reports whether the path of a request belongs to the data plane: any
// path with /api/hubs/ in it, or that ends in /api/health. It says nothing of
// whether the request will succeed.
func (h *Handler) Serves(r *http.Request) bool { return serves(escapedPath(r.URL)) }

// ServeHTTP answers one call, under any path prefix before /api. The checks
// come in the order of the emulator: path and method, api-version, token,
// query, body.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Supported-Versions", supportedVersions)
	c := &call{handler: h, w: w, r: r}
	answer, err := c.serve()
	if err != nil {
		c.fail(err)
		return
	}
	writeAnswer(w, r, answer)
}

// call is one request on its way through the handler.
type call struct {
	handler *Handler
	w       http.ResponseWriter
	r       *http.Request
	hub     hub
	route   *route
	target
	query query
	// base is the base URL under which the caller knows the service.
	base string
}

func (c *call) serve() (answer, error) {
	var err error
	if c.target, c.route, err = findRoute(c.r.Method, escapedPath(c.r.URL), c.limits()); err != nil {
		return answer{}, err
	}
	if err := checkVersion(c.r.URL.RawQuery); err != nil {
		return answer{}, err
	}
	if c.route.open {
		return c.route.run(c)
	}
	if c.base, err = c.authenticate(); err != nil {
		return answer{}, err
	}
	if limit := int64(c.handler.opts.MaxCalls); limit > 0 {
		if !c.handler.enter(limit) {
			c.handler.core.Metrics.Overflow(telemetry.QueueREST)
			return answer{}, errBusy
		}
		defer c.handler.running.Add(-1)
	}
	if c.query, err = parseQuery(c.r.URL.RawQuery); err != nil {
		return answer{}, err
	}
	c.hub = c.handler.open(c.hubName)
	return c.route.run(c)
}

// enter counts a call, unless too many run.
func (h *Handler) enter(limit int64) bool {
	if h.running.Add(1) <= limit {
		return true
	}
	h.running.Add(-1)
	return false
}

// limits bound names and metadata.
func (c *call) limits() *protocol.Limits { return &c.handler.core.Limits }

// limited is the context of the one thing that the call does.
func (c *call) limited() (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.r.Context(), c.handler.opts.Timeout)
}

func (c *call) countRefused(status int) {
	c.handler.core.Metrics.Refused.Add(context.WithoutCancel(c.r.Context()), 1,
		metric.WithAttributes(attribute.String("reason", fmt.Sprintf("rest_%d", status))))
}

// health is true while the client is open. It asks nobody: a probe must not
// take every node out of service because Redis is away for a moment.
func (c *call) health() (answer, error) {
	select {
	case <-c.handler.core.Closed:
		return answer{}, unavailable(gateway.ErrClosed)
	default:
		return answer{status: http.StatusOK}, nil
	}
}
