package token

import (
	"errors"
	"net/url"
	"strings"
	"time"
)

// ErrEndpoint means that the endpoint of an Access is no base URL.
var ErrEndpoint = errors.New("endpoint must be an http or https URL")

// Access is what a device needs to connect.
type Access struct {
	// URL is the WebSocket URL with the token in it.
	URL string
	// Token is the signed token.
	Token string
	// ExpiresAt is when it expires, in whole seconds as the token has it.
	ExpiresAt time.Time
}

// NewAccess signs a token for a hub under the base URL endpoint. The audience
// and the times of the claims are set here. The hub's name is not checked.
func NewAccess(key, endpoint, hub string, c Claims, lifetime time.Duration) (Access, error) {
	base, err := url.Parse(strings.TrimSuffix(endpoint, "/"))
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return Access{}, ErrEndpoint
	}
	audience := base.JoinPath("client", "hubs", hub)
	c.Audience = audience.String()
	c.IssuedAt = time.Now()
	c.ExpiresAt = c.IssuedAt.Add(lifetime)
	signed, err := Sign(key, c)
	if err != nil {
		return Access{}, err
	}
	ws := *audience
	ws.Scheme = strings.Replace(ws.Scheme, "http", "ws", 1)
	ws.RawQuery = url.Values{"access_token": {signed}}.Encode()
	return Access{URL: ws.String(), Token: signed, ExpiresAt: c.ExpiresAt.Truncate(time.Second)}, nil
}
