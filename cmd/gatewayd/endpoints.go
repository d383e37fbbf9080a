package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/pprof"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// readyTimeout bounds one look at the backends, and readyAge is how long
	// its outcome is given to others: whoever reaches /readyz could otherwise
	// keep the backends busy with it.
	readyTimeout = 2 * time.Second
	readyAge     = time.Second
)

var errStopping = errors.New("shutting down")

// readiness says whether devices should come here. Its methods may be called
// from several goroutines.
type readiness struct {
	ping     func(context.Context) error
	stopping atomic.Bool

	mu sync.Mutex // held while the backends are asked: the others wait for that
	at time.Time
	// outcome is that of the look at the time at.
	outcome error
}

func (r *readiness) stop() { r.stopping.Store(true) }

// check is nil if the node is ready. It takes readyTimeout at most, and does not
// depend on who asks.
func (r *readiness) check() error {
	if r.stopping.Load() {
		return errStopping
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at.IsZero() || time.Since(r.at) > readyAge {
		ctx, cancel := context.WithTimeout(context.Background(), readyTimeout)
		defer cancel()
		r.outcome = r.ping(ctx)
		r.at = time.Now()
	}
	if r.stopping.Load() {
		return errStopping
	}
	return r.outcome
}

// endpoints are what the operator asks a node.
type endpoints struct {
	ready   *readiness
	metrics http.Handler
	pprof   bool
}

// public serves devices and service clients with node, the two checks, and,
// where asked for, the metrics. There is no http.ServeMux: it would redirect
// paths that service clients have signed.
func (e *endpoints) public(node http.Handler, withMetrics bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case path == "/healthz":
			alive(w, r)
		case path == "/readyz":
			// Strangers are not told which backend is down, nor where it is.
			e.serveReady(w, func(err error) string {
				if errors.Is(err, errStopping) {
					return err.Error()
				}
				return "a backend cannot be reached"
			})
		case path == "/metrics" && withMetrics:
			e.metrics.ServeHTTP(w, r)
		default:
			node.ServeHTTP(w, r)
		}
	})
}

// admin serves everything for the operator.
func (e *endpoints) admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", alive)
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		e.serveReady(w, error.Error)
	})
	mux.Handle("/metrics", e.metrics)
	if e.pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

func alive(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }

func (e *endpoints) serveReady(w http.ResponseWriter, describe func(error) string) {
	if err := e.ready.check(); err != nil {
		http.Error(w, describe(err), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}
