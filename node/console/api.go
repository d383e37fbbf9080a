package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/message-gateway/gateway"
)

// Bounds of what one request may ask for.
const (
	pageSize  = 50
	maxPage   = 200
	maxHubs   = 20
	dataLimit = 10 * time.Second
	// clusterAge is how old counts of all nodes may be: many open pages ask the
	// nodes no more often than one does.
	clusterAge = time.Second
)

// problem is an answer that says what is wrong with a request.
type problem struct {
	status int
	text   string
}

// Error is the text for the page.
func (p *problem) Error() string { return p.text }

func badRequest(format string, args ...any) error {
	return &problem{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

// data makes an endpoint of a function that returns what becomes JSON.
func data(f func(h *Handler, ctx context.Context, r *http.Request) (any, error)) func(*Handler, http.ResponseWriter, *http.Request) {
	return func(h *Handler, w http.ResponseWriter, r *http.Request) {
		if !h.auth.allowed(r) {
			h.countRefused(r, "no_session")
			writeJSON(w, http.StatusUnauthorized, failure{"Sign in first."})
			return
		}
		select {
		case h.slots <- struct{}{}:
			defer func() { <-h.slots }()
		default:
			w.Header().Set("Retry-After", "1")
			writeJSON(w, http.StatusTooManyRequests, failure{"Too many requests at the same time."})
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), dataLimit)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, maxSend)
		result, err := f(h, ctx, r)
		if err != nil {
			h.fail(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, result)
	}
}

type failure struct {
	Error string `json:"error"`
}

// fail tells what went wrong. The text of an error names backends with their
// addresses, and never holds a secret: the people here run them.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusServiceUnavailable
	var p *problem
	switch {
	case errors.As(err, &p):
		status = p.status
	case errors.Is(err, gateway.ErrInvalidArgument):
		status = http.StatusBadRequest
	case errors.Is(err, gateway.ErrMessageNotFound):
		status = http.StatusNotFound
	case errors.Is(err, gateway.ErrOverloaded):
		status = http.StatusTooManyRequests
	case r.Context().Err() == nil:
		h.core.Log.Warn("console request failed", "path", r.URL.Path, "error", err)
	}
	writeJSON(w, status, failure{err.Error()})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil { // a payload that the database holds and that is no JSON
		status, raw = http.StatusInternalServerError, []byte(`{"error":"The answer cannot be encoded."}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
}

// cluster is what all nodes say.
type cluster struct {
	at time.Time
	// nodes is how many nodes there are, 0 if nobody knows.
	nodes int
	// hubs counts the connections of the hubs of this node on all nodes.
	hubs map[string]int
	// problem says why something is missing.
	problem string
}

// askCluster counts on all nodes, at most once in clusterAge.
func (h *Handler) askCluster(ctx context.Context, hubs []Hub) cluster {
	h.clusterMu.Lock()
	defer h.clusterMu.Unlock()
	if time.Since(h.cluster.at) < clusterAge {
		return h.cluster
	}
	// Not the end of this one caller: the others wait for the answer as well.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dataLimit/2)
	defer cancel()
	c := cluster{hubs: map[string]int{}}
	var err error
	c.nodes, err = h.node.Nodes(ctx)
	for _, hub := range hubs {
		if err != nil {
			break // the others would fail as well, each after its time
		}
		c.hubs[hub.Name], err = h.node.Count(ctx, hub.Name, "")
	}
	if err != nil {
		c.problem = err.Error()
	}
	c.at = time.Now()
	h.cluster = c
	return c
}

type overview struct {
	Node
	Now        time.Time `json:"now"`
	DefaultHub string    `json:"defaultHub"`
	// Nodes and Hub.Everywhere are of all nodes, and null if they are not known.
	Nodes   *int          `json:"nodes"`
	Hubs    []overviewHub `json:"hubs"`
	Problem string        `json:"problem,omitempty"`
}

type overviewHub struct {
	Hub
	Everywhere *int `json:"everywhere"`
}

func (h *Handler) overview(ctx context.Context, _ *http.Request) (any, error) {
	hubs := h.node.Hubs(maxHubs)
	all := h.askCluster(ctx, hubs)
	o := overview{
		Node: h.node.Node(), Now: time.Now(), DefaultHub: h.core.DefaultHub,
		Hubs: make([]overviewHub, len(hubs)), Problem: all.problem,
	}
	if all.nodes > 0 {
		o.Nodes = &all.nodes
	}
	for i, hub := range hubs {
		o.Hubs[i].Hub = hub
		if n, ok := all.hubs[hub.Name]; ok {
			o.Hubs[i].Everywhere = &n
		}
	}
	return o, nil
}
