package gateway

import (
	"fmt"
	"time"

	"github.com/message-gateway/gateway/internal/odata"
	"github.com/message-gateway/gateway/internal/protocol"
)

// HubOption changes one call on a Hub.
type HubOption func(*hubOptions) error

type hubOptions struct {
	excluded []string
	filter   string
	reason   string
	ttl      time.Duration
	expiry   time.Duration
	metadata map[string]string
	given    map[string]bool
}

// Names of options, for the calls that take them.
const (
	optExcluding = "Excluding"
	optFilter    = "WithFilter"
	optReason    = "WithReason"
	optTTL       = "WithMessageTTL"
	optExpiry    = "WithExpiry"
	optMetadata  = "WithMetadata"
)

// MaxMessageTTL is the longest WithMessageTTL, as in Azure Web PubSub.
const MaxMessageTTL = protocol.MaxTTLSeconds * time.Second

// Excluding leaves these connections out.
func Excluding(connectionIDs ...string) HubOption {
	return hubOption(optExcluding, func(o *hubOptions) error {
		o.excluded = append(o.excluded, connectionIDs...)
		return nil
	})
}

// WithFilter chooses connections by an OData expression over userId,
// connectionId and groups, such as "userId ne null and 'vip' in groups". Build
// it with FilterString where it holds values. A bad filter is ErrInvalidFilter.
// Syntax: https://learn.microsoft.com/azure/azure-web-pubsub/reference-odata-filter
func WithFilter(filter string) HubOption {
	return hubOption(optFilter, func(o *hubOptions) error {
		if _, err := odata.Parse(filter); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidFilter, err)
		}
		o.filter = filter
		return nil
	})
}

// FilterString quotes a value for use in a filter.
func FilterString(value string) string { return odata.Quote(value) }

// WithReason says why connections are closed; devices with a PubSub
// subprotocol are told.
func WithReason(reason string) HubOption {
	return hubOption(optReason, func(o *hubOptions) error {
		o.reason = reason
		return nil
	})
}

// WithMessageTTL drops a message that waits longer than this for a device
// whose connection is broken to recover. Whole seconds count. 0 means no limit.
func WithMessageTTL(ttl time.Duration) HubOption {
	return hubOption(optTTL, func(o *hubOptions) error {
		if ttl < 0 || ttl > MaxMessageTTL || ttl%time.Second != 0 {
			return fmt.Errorf("%w: message TTL %v is not in whole seconds between 0 and %v", ErrInvalidTimeout, ttl, MaxMessageTTL)
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

// WithMetadata sends names and values along with a message. The limits are
// those of Azure Web PubSub: names of at most 256 bytes made of HTTP token
// characters, ASCII values of at most 1024, 8 KiB in all.
func WithMetadata(metadata map[string]string) HubOption {
	return hubOption(optMetadata, func(o *hubOptions) error {
		if err := protocol.ValidateMetadata(metadata); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidArgument, err)
		}
		o.metadata = metadata
		return nil
	})
}

func hubOption(name string, set func(*hubOptions) error) HubOption {
	return func(o *hubOptions) error {
		o.given[name] = true
		return set(o)
	}
}

func parseHubOptions(opts []HubOption, allowed []string) (*hubOptions, error) {
	o := &hubOptions{given: map[string]bool{}}
	for _, opt := range opts {
		if err := opt(o); err != nil {
			return nil, err
		}
	}
	return o, refuseOthers(o.given, allowed)
}
