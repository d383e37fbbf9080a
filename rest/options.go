package rest

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/message-gateway/gateway/internal/core"
)

// Options say how a Handler behaves. The zero value is a working one. Zero
// means the default in every field. What names, metadata, filters and pages of
// lists may be is set in gateway.Config.Limits, for all processes of an
// installation.
type Options struct {
	// MaxBody is the largest body of a request in bytes; a larger one is
	// refused with 413. Messages are bound by Config.MaxPayload as well.
	// Default: Config.MaxPayload of the client, which is 1 MiB by default.
	MaxBody int
	// Endpoints are the public base URLs under which service clients reach the
	// handler, such as https://push.example.com or https://example.com/push.
	// Tokens may be for any of them, and for the host that was asked for.
	// Default: Config.Endpoints of the client.
	Endpoints []string
	// MaxCalls bounds the calls that run at the same time, counted after their
	// token was checked; more are refused with 429. Default: no bound.
	MaxCalls int
	// Timeout bounds one call, from when its body is read. Default: 30 s.
	Timeout time.Duration
	// ReadTimeout bounds how long a body may take to arrive; a slower one is
	// refused with 408. A ReadTimeout of the http.Server takes its place.
	// Default: 30 s.
	ReadTimeout time.Duration
	// Logger gets the calls that failed through no fault of the caller.
	// Tokens, queries and bodies are never logged. Default: the client's.
	Logger *slog.Logger
}

const defaultTimeout = 30 * time.Second

// ErrInvalidOptions is returned by New for options out of bounds.
var ErrInvalidOptions = errors.New("invalid options")

func (o Options) withDefaults(c *core.Core) Options {
	o.MaxBody = or(o.MaxBody, c.MaxPayload)
	o.Timeout = or(o.Timeout, defaultTimeout)
	o.ReadTimeout = or(o.ReadTimeout, defaultTimeout)
	o.Logger = or(o.Logger, c.Log)
	if o.Endpoints == nil {
		o.Endpoints = c.Endpoints
	}
	return o
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func (o Options) validate() error {
	for name, negative := range map[string]bool{
		"MaxBody": o.MaxBody < 0, "MaxCalls": o.MaxCalls < 0,
		"Timeout": o.Timeout < 0, "ReadTimeout": o.ReadTimeout < 0,
	} {
		if negative {
			return fmt.Errorf("%w: %s is negative", ErrInvalidOptions, name)
		}
	}
	for _, endpoint := range o.Endpoints {
		u, err := url.Parse(endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil {
			return fmt.Errorf("%w: Endpoints must be http or https URLs without query, such as https://push.example.com", ErrInvalidOptions)
		}
	}
	return nil
}
