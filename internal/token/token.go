// Package token signs and checks the client access tokens of Azure Web PubSub
// (specification, section 2.1): JWT, HS256 over the bytes of the access key as
// printed.
package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// leeway is the clock skew allowed on exp and nbf.
const leeway = 5 * time.Minute

// MaxLength bounds the tokens of devices before anything is parsed.
const MaxLength = 64 << 10

// Errors that say why a token is refused, without showing it.
var (
	ErrMissing  = errors.New("no access token")
	ErrInvalid  = errors.New("access token is not valid")
	ErrExpired  = errors.New("access token is expired or not valid yet")
	ErrAudience = errors.New("access token is for another hub or address")
)

// Claims are the parts of a client access token.
type Claims struct {
	Audience  string
	UserID    string
	Roles     []string
	Groups    []string
	IssuedAt  time.Time
	ExpiresAt time.Time
	// All holds every claim as strings, as the connect event forwards them.
	// Sign does not use it.
	All map[string][]string
}

// Sign returns the signed token.
func Sign(key string, c Claims) (string, error) {
	claims := jwt.MapClaims{
		"aud": c.Audience,
		"iat": jwt.NewNumericDate(c.IssuedAt),
		"exp": jwt.NewNumericDate(c.ExpiresAt),
	}
	if c.UserID != "" {
		claims["sub"] = c.UserID
	}
	if len(c.Roles) > 0 {
		claims["role"] = c.Roles
	}
	if len(c.Groups) > 0 {
		claims["webpubsub.group"] = c.Groups
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(key))
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return signed, nil
}

// Verify checks signature and times with any of the keys, and that accept
// takes one of the audiences. It looks at no token longer than limit bytes. The
// error is one of the package's, and never holds the token.
func Verify(raw string, limit int, keys []string, accept func(audience string) bool) (Claims, error) {
	if raw == "" {
		return Claims{}, ErrMissing
	}
	if len(raw) > limit {
		return Claims{}, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, limit)
	}
	verification := jwt.VerificationKeySet{}
	for _, key := range keys {
		verification.Keys = append(verification.Keys, []byte(key))
	}
	if len(keys) == 0 {
		return Claims{}, fmt.Errorf("%w: no key to check it with", ErrInvalid)
	}
	claims := jwt.MapClaims{}
	_, err := jwt.ParseWithClaims(raw, claims, func(*jwt.Token) (any, error) { return verification, nil },
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithJSONNumber())
	switch {
	case errors.Is(err, jwt.ErrTokenExpired), errors.Is(err, jwt.ErrTokenNotValidYet):
		return Claims{}, ErrExpired
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return Claims{}, fmt.Errorf("%w: wrong signature or algorithm", ErrInvalid)
	case err != nil:
		return Claims{}, fmt.Errorf("%w: malformed", ErrInvalid)
	}
	audiences, err := claims.GetAudience()
	if err != nil {
		return Claims{}, fmt.Errorf("%w: aud is neither a string nor a list", ErrInvalid)
	}
	c := Claims{All: flatten(claims)}
	for _, audience := range audiences {
		if accept(audience) {
			c.Audience = audience
		}
	}
	if c.Audience == "" {
		return Claims{}, ErrAudience
	}
	if c.UserID, err = claims.GetSubject(); err != nil {
		return Claims{}, fmt.Errorf("%w: sub is no string", ErrInvalid)
	}
	c.Roles, c.Groups = c.All["role"], c.All["webpubsub.group"]
	if expires, err := claims.GetExpirationTime(); err == nil && expires != nil {
		c.ExpiresAt = expires.Time
	}
	return c, nil
}

// flatten turns each claim into a list of strings. Lists keep their strings;
// what is no string is written as JSON.
func flatten(claims jwt.MapClaims) map[string][]string {
	all := make(map[string][]string, len(claims))
	for name, value := range claims {
		values, ok := value.([]any)
		if !ok {
			values = []any{value}
		}
		list := make([]string, 0, len(values))
		for _, v := range values {
			if s, ok := v.(string); ok {
				list = append(list, s)
				continue
			}
			if raw, err := json.Marshal(v); err == nil {
				list = append(list, string(raw))
			}
		}
		all[name] = list
	}
	return all
}

// Audience accepts the audiences of a hub: {base}/client/hubs/{hub}, for the
// host that the client asked for (with either scheme, and any path prefix that
// the request had) and for the configured endpoints, without regard to case,
// default ports or a trailing slash.
func Audience(hub, host, prefix string, endpoints []string) func(string) bool {
	accepted := map[string]bool{}
	add := func(base string) { accepted[normalise(base+"/client/hubs/"+hub)] = true }
	add("http://" + host + prefix)
	add("https://" + host + prefix)
	for _, endpoint := range endpoints {
		// Behind a TLS terminator the scheme of the hop is not the public one.
		for _, scheme := range []string{"http://", "https://"} {
			if _, rest, ok := strings.Cut(endpoint, "://"); ok {
				add(scheme + strings.TrimSuffix(rest, "/"))
			}
		}
	}
	delete(accepted, "") // of a host or an endpoint that makes no URL
	return func(audience string) bool { return accepted[normalise(audience)] }
}

// normalise returns "" for what is no URL.
func normalise(raw string) string {
	u, err := url.Parse(strings.ToLower(raw))
	if err != nil {
		return ""
	}
	host := u.Host
	switch {
	case u.Scheme == "http":
		host = strings.TrimSuffix(host, ":80")
	case u.Scheme == "https":
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host + strings.TrimSuffix(u.Path, "/")
}
