package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/message-gateway/gateway/internal/token"
)

// ClientAccess is what a device needs to connect.
type ClientAccess struct {
	// URL is the WebSocket URL with the token in it; it is a secret.
	URL string
	// Token is the client access token (JWT, HS256) as Azure Web PubSub
	// defines it.
	Token string
	// ExpiresAt is when the token stops being accepted for new connections. A
	// connection that is open then stays open.
	ExpiresAt time.Time
}

// DefaultTokenLifetime is the lifetime of a token unless WithLifetime says
// otherwise, as in the official SDKs.
const DefaultTokenLifetime = time.Hour

// TokenOption changes one token.
type TokenOption func(*tokenOptions) error

type tokenOptions struct {
	lifetime      time.Duration
	roles, groups []string
	endpoint      string
}

// WithLifetime sets how long a token can be used to connect. 0 means
// DefaultTokenLifetime; less than a second is an error.
func WithLifetime(d time.Duration) TokenOption {
	return func(o *tokenOptions) error {
		if d != 0 && (d < time.Second || d > MaxTimeout) {
			return fmt.Errorf("%w: lifetime %v is not between 1s and %v", ErrInvalidTimeout, d, MaxTimeout)
		}
		o.lifetime = d
		return nil
	}
}

// WithRoles sets the roles of the connection, such as
// "webpubsub.sendToGroup.room1". The default is none.
func WithRoles(roles ...string) TokenOption {
	return func(o *tokenOptions) error {
		o.roles = append(o.roles, roles...)
		return nil
	}
}

// WithGroups sets the groups that the connection joins by itself. The default
// is none.
func WithGroups(groups ...string) TokenOption {
	return func(o *tokenOptions) error {
		o.groups = append(o.groups, groups...)
		return nil
	}
}

// WithEndpoint sets the base URL under which the device reaches the nodes, such
// as https://push.example.com. The default is the first of Config.Endpoints.
func WithEndpoint(endpoint string) TokenOption {
	return func(o *tokenOptions) error {
		o.endpoint = endpoint
		return nil
	}
}

// ClientAccessToken makes a token with which a device of the user connects to
// the default hub. An empty userID makes an anonymous connection, which the
// three sends cannot reach. It makes no call: a nil error means that the token
// is well formed. Errors: ErrNoAccessKey, ErrNoEndpoint, those that match
// ErrInvalidArgument, ErrClosed.
func (c *Client) ClientAccessToken(ctx context.Context, userID string, opts ...TokenOption) (ClientAccess, error) {
	access, err := c.clientAccessToken(ctx, c.core.DefaultHub, userID, opts)
	if err != nil {
		return ClientAccess{}, fmt.Errorf("gateway: client access token: %w", err)
	}
	return access, nil
}

func (c *Client) clientAccessToken(ctx context.Context, hub, userID string, opts []TokenOption) (ClientAccess, error) {
	if err := c.usable(ctx); err != nil {
		return ClientAccess{}, err
	}
	if !utf8.ValidString(userID) {
		return ClientAccess{}, fmt.Errorf("%w: not valid UTF-8", ErrInvalidUserID)
	}
	if !c.core.Limits.ValidHub(hub) {
		return ClientAccess{}, fmt.Errorf("%w: %q", ErrInvalidHub, hub)
	}
	var o tokenOptions
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return ClientAccess{}, err
		}
	}
	if len(c.core.AccessKeys) == 0 {
		return ClientAccess{}, ErrNoAccessKey
	}
	if o.endpoint == "" && len(c.core.Endpoints) > 0 {
		o.endpoint = c.core.Endpoints[0]
	}
	if o.endpoint == "" {
		return ClientAccess{}, ErrNoEndpoint
	}
	access, err := token.NewAccess(c.core.AccessKeys[0], o.endpoint, hub,
		token.Claims{UserID: userID, Roles: o.roles, Groups: o.groups}, or(o.lifetime, DefaultTokenLifetime))
	if errors.Is(err, token.ErrEndpoint) {
		err = fmt.Errorf("%w: %w", ErrInvalidArgument, err)
	}
	return ClientAccess(access), err
}
