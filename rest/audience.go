package rest

import (
	"net/url"
	"slices"
	"strings"

	"github.com/message-gateway/gateway/internal/protocol"
)

// resource is what a call is for: the audience of its token must mean the same
// (specification, section 2.2).
type resource struct {
	// host is the host that the caller asked for, and prefixes what may stand
	// before /api there.
	host     string
	prefixes []string
	// endpoints are the configured base URLs, each with its own prefix.
	endpoints []string
	// path is the path of the operation, with the values of target in its
	// braces; query is as it was on the wire.
	path   string
	target target
	query  string
	limits *protocol.Limits
}

// base reports whether an audience is for this resource, and returns the base
// URL under which the caller knows the service.
//
// The audience is the URL of the call at host or at one of the endpoints, with
// either scheme, with or without the query, without regard to case, default
// ports or a trailing slash. Its path may be as on the wire, or unescaped. A
// query, if there is one, must mean the same as that of the call.
//
// Whatever the audience is, it is for one resource at most, regardless of the
// calls that it is compared with: see meaning.
func (r *resource) base(audience string) (base string, ok bool) {
	scheme, rest, ok := strings.Cut(audience, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "http" && scheme != "https" {
		return "", false
	}
	rest, query, _ := strings.Cut(rest, "?")
	if query != "" && !sameQuery(query, r.query) {
		return "", false
	}
	authority, path, ok := strings.Cut(rest, "/")
	if !ok || authority == "" {
		return "", false
	}
	prefix, operation, target, ok := meaning("/"+strings.TrimSuffix(path, "/"), r.limits)
	if !ok || operation != r.path || !target.same(&r.target) {
		return "", false
	}
	for _, known := range r.known(scheme, authority) {
		if samePrefix(prefix, known) {
			return scheme + "://" + authority + known, true
		}
	}
	return "", false
}

// meaning finds the one resource that a path of an audience is for, whatever
// the call. Without it a token for one resource might open another: the path
// users/a%2Fb is that of the user a/b on the wire, and that of the user a%2Fb
// unescaped.
//
//   - A path with escapes that are all valid is as it was on the wire.
//   - Any other path is read as it stands if there is an operation at it.
//   - Else it was unescaped as a whole, and slashes may belong to ids. None of
//     the words that stand behind an id is taken for a part of one, so that
//     there is one way to read it.
//
// As in findRoute, the first /api/ where there is an operation counts.
func meaning(path string, limits *protocol.Limits) (prefix, operation string, t target, ok bool) {
	_, err := url.PathUnescape(path)
	wire := err == nil && strings.Contains(path, "%")
	for start := range apis(path) {
		parts, segments := read(path[start+len("/api/"):], wire)
		if parts != nil {
			return path[:start], strings.Join(parts, "/"), t, t.fill(parts, segments, limits) == nil
		}
	}
	return "", "", t, false
}

// read returns the parts of the operation that a path is for, and what stands
// at their places, or nil.
func read(path string, wire bool) (parts, segments []string) {
	segments = strings.Split(path, "/")
	if wire {
		for i := range segments {
			segments[i], _ = url.PathUnescape(segments[i]) // meaning has seen that it can be
		}
	}
	for i := range routes {
		if slices.EqualFunc(routes[i].parts, segments, samePart) {
			return routes[i].parts, segments
		}
	}
	if wire {
		return nil, nil
	}
	for i := range routes {
		if joined := join(routes[i].parts, segments); joined != nil {
			return routes[i].parts, joined
		}
	}
	return nil, nil
}

// join puts the segments of ids together that were unescaped: whatever stands
// up to the next of the words behind ids. It returns nil if they do not fit.
func join(parts, segments []string) []string {
	joined := make([]string, 0, len(parts))
	for _, part := range parts {
		if len(segments) == 0 {
			return nil
		}
		n := 1
		switch part {
		case "{group}", "{user}", "{connection}":
			if n = slices.IndexFunc(segments, behindID); n < 0 {
				n = len(segments)
			}
		}
		value := strings.Join(segments[:n], "/")
		if !samePart(part, value) {
			return nil
		}
		joined, segments = append(joined, value), segments[n:]
	}
	if len(segments) > 0 {
		return nil
	}
	return joined
}

// behindID reports whether a segment is a word that stands behind an id in one
// of the paths.
func behindID(segment string) bool {
	return slices.ContainsFunc(wordsBehindIDs, func(word string) bool { return strings.EqualFold(word, segment) })
}

var wordsBehindIDs = func() (words []string) {
	for _, r := range routes {
		for i, part := range r.parts[1:] {
			if before := r.parts[i]; part[0] != '{' && before[0] == '{' && before != "{hub}" {
				words = append(words, part)
			}
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}()

// same reports whether two paths name the same. Case does not count in
// audiences, also not in that of ids.
func (t *target) same(other *target) bool {
	return strings.EqualFold(t.hubName, other.hubName) && strings.EqualFold(t.group, other.group) &&
		strings.EqualFold(t.user, other.user) && strings.EqualFold(t.connection, other.connection) &&
		t.permission == other.permission
}

// known are the prefixes that may stand before /api at an authority.
func (r *resource) known(scheme, authority string) []string {
	var found []string
	asked := withoutDefaultPort(scheme, authority)
	if strings.EqualFold(asked, withoutDefaultPort(scheme, r.host)) {
		found = append(found, r.prefixes...)
	}
	for _, endpoint := range r.endpoints {
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

// samePrefix also takes a prefix that was unescaped.
func samePrefix(prefix, known string) bool {
	if strings.EqualFold(prefix, known) {
		return true
	}
	decoded, err := url.PathUnescape(known)
	if err != nil {
		return false
	}
	asked, err := url.PathUnescape(prefix)
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
