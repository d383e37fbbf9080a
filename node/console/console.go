// Package console is a web page that shows what a node does: its connections,
// users and groups, how much goes in and out, what waits for a user and in
// which state, and a form that sends a message of each kind and shows what
// becomes of it. It is off unless asked for:
//
//	n, err := node.New(client, node.Options{Console: &console.Options{Token: token}})
//	mux.Handle("/console/", n)
//
// What it lists is what its own node holds, and it says so; counts and messages
// that are true for all nodes are marked as that. It loads nothing from
// elsewhere, and what it costs is bounded: lists come in pages, and only
// few requests are worked on at the same time.
//
// Put TLS in front of it: the token and the session travel with each request.
package console

import (
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/core"
)

// maxRequests bounds the requests for data that are worked on at the same time;
// one more is answered with 429.
const maxRequests = 16

// Handler is an http.Handler that serves a console. All methods may be called
// from several goroutines.
type Handler struct {
	client *gateway.Client
	core   *core.Core
	node   Source
	opts   Options
	auth   auth
	origin *http.CrossOriginProtection
	slots  chan struct{}

	// cluster is what all nodes were last asked for.
	clusterMu sync.Mutex
	cluster   cluster
}

// New returns the console of a node on the client that the node works on. A
// program sets node.Options.Console instead. It makes no call. Errors: those
// that match ErrInvalidOptions.
func New(client *gateway.Client, node Source, opts Options) (*Handler, error) {
	c := core.Of(client)
	if c == nil || node == nil {
		return nil, errors.New("console: client or node is nil")
	}
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	return &Handler{
		client: client, core: c, node: node, opts: opts,
		auth:   auth{token: []byte(opts.Token), lifetime: opts.SessionLifetime, now: time.Now},
		origin: http.NewCrossOriginProtection(), slots: make(chan struct{}, maxRequests),
	}, nil
}

// Serves reports whether the path of a request belongs to the console. It says
// nothing of whether the request will succeed.
func (h *Handler) Serves(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, h.opts.Path) || r.URL.Path == strings.TrimSuffix(h.opts.Path, "/")
}

// ServeHTTP answers one request. A proxy may serve the console under another
// prefix: every address in the page is relative.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	protect(w.Header())
	rest, inside := strings.CutPrefix(r.URL.Path, h.opts.Path)
	if !inside {
		seeOther(w, path.Base(h.opts.Path)+"/")
		return
	}
	e, ok := endpoints[rest]
	if !ok {
		http.Error(w, "There is no such page.", http.StatusNotFound)
		return
	}
	if r.Method != e.method && (e.method != http.MethodGet || r.Method != http.MethodHead) {
		w.Header().Set("Allow", e.method)
		http.Error(w, "The method is not allowed here.", http.StatusMethodNotAllowed)
		return
	}
	if err := h.origin.Check(r); err != nil {
		h.countRefused(r, "cross_origin")
		http.Error(w, "The request comes from another site.", http.StatusForbidden)
		return
	}
	e.serve(h, w, r)
}

// endpoint is a path below Options.Path.
type endpoint struct {
	method string
	serve  func(h *Handler, w http.ResponseWriter, r *http.Request)
}

var endpoints = allEndpoints()

func allEndpoints() map[string]endpoint {
	all := map[string]endpoint{
		"":                {http.MethodGet, (*Handler).page},
		"login":           {http.MethodPost, (*Handler).login},
		"logout":          {http.MethodPost, (*Handler).logout},
		"api/overview":    {http.MethodGet, data((*Handler).overview)},
		"api/connections": {http.MethodGet, data((*Handler).connections)},
		"api/users":       {http.MethodGet, data((*Handler).users)},
		"api/groups":      {http.MethodGet, data((*Handler).groups)},
		"api/group":       {http.MethodGet, data((*Handler).group)},
		"api/messages":    {http.MethodGet, data((*Handler).messages)},
		"api/message":     {http.MethodGet, data((*Handler).message)},
		"api/send":        {http.MethodPost, data((*Handler).send)},
	}
	for name := range assets {
		all[name] = endpoint{http.MethodGet, func(_ *Handler, w http.ResponseWriter, r *http.Request) { asset(w, r, name) }}
	}
	return all
}

// protect sets what keeps browsers from being used against the console: no
// script but its own, no other site around it, nothing kept.
func protect(header http.Header) {
	header.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "+
		"img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("X-Frame-Options", "DENY")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
}

// seeOther redirects to an address relative to the one that was asked for;
// http.Redirect would make it absolute, which is wrong behind a prefix.
func seeOther(w http.ResponseWriter, relative string) {
	w.Header().Set("Location", relative)
	w.WriteHeader(http.StatusSeeOther)
}
