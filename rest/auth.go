package rest

import (
	"net/http"
	"strings"

	"github.com/message-gateway/gateway/internal/token"
)

// authenticate checks the token of a call and returns the base URL that it was
// signed for: the service's address as the caller knows it, which is worth
// more than a header that proxies rewrite.
func (c *call) authenticate() (base string, err error) {
	asked := resource{
		host: c.r.Host, prefixes: c.prefixes(), endpoints: c.handler.opts.Endpoints,
		path: c.route.path, target: c.target, query: c.r.URL.RawQuery, limits: c.limits(),
	}
	// The URL is in the token, with all of a long filter, in base64.
	limit := token.MaxLength + 2*(len(c.resource)+len(c.r.URL.RawQuery))
	_, err = token.Verify(bearer(c.r.Header), limit, c.handler.core.AccessKeys, func(audience string) bool {
		found, ok := asked.base(audience)
		if ok {
			base = found
		}
		return ok
	})
	if err != nil {
		return "", errUnauthorized
	}
	return base, nil
}

// prefixes are what stands before /api in the path, and what stood there on
// the wire, if a handler in front of this one removed it.
func (c *call) prefixes() []string {
	prefixes := []string{c.prefix}
	wire, _, _ := strings.Cut(c.r.RequestURI, "?")
	if _, rest, absolute := strings.Cut(wire, "://"); absolute && !strings.HasPrefix(wire, "/") {
		_, wire, _ = strings.Cut(rest, "/")
		wire = "/" + wire
	}
	if prefix, ok := strings.CutSuffix(wire, c.resource); ok && prefix != c.prefix {
		prefixes = append(prefixes, prefix)
	}
	return prefixes
}

// bearer returns the token of the one Authorization header, or nothing.
func bearer(header http.Header) string {
	values := header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	scheme, raw, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(raw)
}
