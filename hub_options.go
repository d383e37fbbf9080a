package gateway

import (
	"fmt"
	"time"

	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/odata"
)

// HubOption changes one call on a Hub.
type HubOption func(*hubOptions) error

type hubOptions struct {
	core     *core.Core // whose limits hold
	excluded []string
	filter   string
	reason   string
	ttl      time.Duration
	expiry   time.Duration
	metadata map[string]string
	key      string
	given    []string
}

// Names of options, for the calls that take them.
const (
	optExcluding = "Excluding"
	optFilter    = "WithFilter"
	optReason    = "WithReason"
	optTTL       = "WithMessageTTL"
	optExpiry    = "WithExpiry"
	optMetadata  = "WithMetadata"
	optKey       = "WithIdempotencyKey"
)

// Excluding leaves these connections out.
func Excluding(connectionIDs ...string) HubOption {
	return hubOption(optExcluding, func(o *hubOptions) error {
		o.excluded = append(o.excluded, connectionIDs...)
		return nil
	})
}

// WithFilter chooses connections by an OData expression over userId,
// connectionId and groups, such as "userId ne null and 'vip' in groups". Build
// it with Filter where it holds values. A bad filter is ErrInvalidFilter.
// Syntax: https://learn.microsoft.com/azure/azure-web-pubsub/reference-odata-filter
func WithFilter(filter string) HubOption {
	return hubOption(optFilter, func(o *hubOptions) error {
		if _, err := odata.Parse(filter, o.core.Filter); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidFilter, err)
		}
		o.filter = filter
		return nil
	})
}

// WithReason says why connections are closed; devices with a PubSub
// subprotocol are told.
func WithReason(reason string) HubOption {
	return hubOption(optReason, func(o *hubOptions) error {
		o.reason = reason
		return nil
	})
}

// WithMessageTTL drops a message that waits longer than this for a device
// whose connection is broken to recover, in whole seconds up to
// Limits.MessageTTL. 0 means no limit.
func WithMessageTTL(ttl time.Duration) HubOption {
	return hubOption(optTTL, func(o *hubOptions) error {
		if longest := time.Duration(o.core.Limits.TTLSeconds) * time.Second; ttl < 0 || ttl > longest || ttl%time.Second != 0 {
			return fmt.Errorf("%w: message TTL %v is not in whole seconds between 0 and %v", ErrInvalidTimeout, ttl, longest)
		}
		o.ttl = ttl
		return nil
	})
}

// WithExpiry ends a membership after this time. 0 means that it lasts as long
// as the connection.
func WithExpiry(d time.Duration) HubOption {
	return hubOption(optExpiry, func(o *hubOptions) error {
		o.expiry = d
		return checkDuration("expiry", d)
	})
}

// WithMetadata sends names and values along with a message: names made of HTTP
// token characters, ASCII values, both as large as Limits permits.
func WithMetadata(metadata map[string]string) HubOption {
	return hubOption(optMetadata, func(o *hubOptions) error {
		if err := o.core.Limits.ValidateMetadata(metadata); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidArgument, err)
		}
		o.metadata = metadata
		return nil
	})
}

// maxIdempotencyKey bounds a key of WithIdempotencyKey in bytes.
const maxIdempotencyKey = 1024

// WithIdempotencyKey makes a send that may be repeated: after an error of
// unknown outcome, the same send with the same key, from any process, reaches
// only the nodes that have not got it. They remember it for five minutes, and
// no more sends than node.Options.MaxIdempotencyKeys. A key counts together
// with the target, the payload and the options: another message with the same
// one is another message. A device that moves to another node between two
// attempts may get both, or, if it came after the first, none. The key has 1 to
// 1024 bytes. The default is none: each attempt is a message of its own.
func WithIdempotencyKey(key string) HubOption {
	return hubOption(optKey, func(o *hubOptions) error {
		if key == "" || len(key) > maxIdempotencyKey {
			return fmt.Errorf("%w: the idempotency key has not 1 to %d bytes", ErrInvalidArgument, maxIdempotencyKey)
		}
		o.key = key
		return nil
	})
}

func hubOption(name string, set func(*hubOptions) error) HubOption {
	return func(o *hubOptions) error {
		o.given = append(o.given, name)
		return set(o)
	}
}

func (h *Hub) parseOptions(opts []HubOption, allowed []string) (*hubOptions, error) {
	o := &hubOptions{core: h.client.core}
	for _, opt := range opts {
		if err := opt(o); err != nil {
			return nil, err
		}
	}
	return o, refuseOthers(o.given, allowed)
}
