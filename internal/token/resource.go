package token

import (
	"net/url"
	"slices"
	"strings"
)

// Resource is what a call of the REST data plane is for (specification,
// section 2.2). All parts are as they stood on the wire.
type Resource struct {
	// Host is the host that the caller asked for, and Prefixes what may stand
	// before Path there.
	Host     string
	Prefixes []string
	// Path is escaped, from /api on; Query is the raw query.
	Path, Query string
	// Endpoints are the configured base URLs, each with its own prefix.
	Endpoints []string
}

// Base reports whether an audience is for this resource, and returns the part
// of it before Path: the base URL under which the caller knows the service.
//
// The audience is the URL of the call at Host or at one of the Endpoints, with
// either scheme, with or without the query, without regard to case, default
// ports or a trailing slash. Escapes are compared by what they mean, segment
// by segment, so that a token for one id never fits another path. A query, if
// there is one, must mean the same as that of the call.
func (r Resource) Base(audience string) (base string, ok bool) {
	scheme, rest, ok := strings.Cut(audience, "://")
	lower := strings.ToLower(scheme)
	if !ok || lower != "http" && lower != "https" {
		return "", false
	}
	rest, query, _ := strings.Cut(rest, "?")
	if query != "" && !sameQuery(query, r.Query) {
		return "", false
	}
	authority, path, ok := strings.Cut(rest, "/")
	if !ok || authority == "" {
		return "", false
	}
	path = "/" + strings.TrimSuffix(path, "/")
	for _, prefix := range r.prefixes(lower, authority) {
		if samePath(path, prefix+r.Path) {
			return lower + "://" + authority + prefix, true
		}
	}
	return "", false
}

// prefixes are what may stand before Path at an authority.
func (r Resource) prefixes(scheme, authority string) []string {
	var found []string
	asked := withoutDefaultPort(scheme, authority)
	if strings.EqualFold(asked, withoutDefaultPort(scheme, r.Host)) {
		found = append(found, r.Prefixes...)
	}
	for _, endpoint := range r.Endpoints {
		u, err := url.Parse(endpoint)
		if err == nil && strings.EqualFold(asked, withoutDefaultPort(strings.ToLower(u.Scheme), u.Host)) {
			found = append(found, strings.TrimSuffix(u.EscapedPath(), "/"))
		}
	}
	return found
}

func withoutDefaultPort(scheme, host string) string {
	if scheme == "http" {
		return strings.TrimSuffix(host, ":80")
	}
	return strings.TrimSuffix(host, ":443")
}

func samePath(audience, path string) bool {
	for {
		a, restA, moreA := strings.Cut(audience, "/")
		b, restB, moreB := strings.Cut(path, "/")
		if moreA != moreB || !sameSegment(a, b) {
			return false
		}
		if !moreA {
			return true
		}
		audience, path = restA, restB
	}
}

// sameSegment also takes an audience whose path was unescaped as a whole.
func sameSegment(audience, segment string) bool {
	if strings.EqualFold(audience, segment) {
		return true
	}
	decoded, err := url.PathUnescape(segment)
	if err != nil {
		return false
	}
	if strings.EqualFold(audience, decoded) {
		return true
	}
	asked, err := url.PathUnescape(audience)
	return err == nil && strings.EqualFold(asked, decoded)
}

func sameQuery(audience, query string) bool {
	if strings.EqualFold(audience, query) {
		return true
	}
	a, errA := url.ParseQuery(audience)
	b, errB := url.ParseQuery(query)
	if errA != nil || errB != nil || len(a) != len(b) {
		return false
	}
	for name, values := range a {
		if !slices.EqualFunc(values, b[name], strings.EqualFold) {
			return false
		}
	}
	return true
}
