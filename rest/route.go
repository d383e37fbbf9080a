package rest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/protocol"
)

// maxPath bounds paths before anything is looked for in them. The longest
// group that gateway.Limits permits takes 48 KiB with every byte escaped.
const maxPath = 64 << 10

// route is one operation.
type route struct {
	method string
	// path is what follows /api; a part in braces stands for one value.
	path  string
	run   func(*call) (answer, error)
	parts []string
	// open calls need no token.
	open bool
	// send says that repeating the call repeats a message.
	send bool
}

// routes is every operation of section 5.2.
var routes = compile([]route{
	{method: http.MethodHead, path: "health", run: (*call).health, open: true},
	{method: http.MethodPost, path: "hubs/{hub}/:send", run: (*call).sendToAll, send: true},
	{method: http.MethodPost, path: "hubs/{hub}/groups/{group}/:send", run: (*call).sendToGroup, send: true},
	{method: http.MethodPost, path: "hubs/{hub}/users/{user}/:send", run: (*call).sendToUser, send: true},
	{method: http.MethodPost, path: "hubs/{hub}/connections/{connection}/:send", run: (*call).sendToConnection, send: true},
	{method: http.MethodPost, path: "hubs/{hub}/:closeConnections", run: (*call).closeAll},
	{method: http.MethodPost, path: "hubs/{hub}/groups/{group}/:closeConnections", run: (*call).closeGroup},
	{method: http.MethodPost, path: "hubs/{hub}/users/{user}/:closeConnections", run: (*call).closeUser},
	{method: http.MethodDelete, path: "hubs/{hub}/connections/{connection}", run: (*call).closeConnection},
	{method: http.MethodHead, path: "hubs/{hub}/connections/{connection}", run: (*call).connectionExists},
	{method: http.MethodHead, path: "hubs/{hub}/groups/{group}", run: (*call).groupExists},
	{method: http.MethodHead, path: "hubs/{hub}/users/{user}", run: (*call).userExists},
	{method: http.MethodGet, path: "hubs/{hub}/groups/{group}/connections", run: (*call).list},
	{method: http.MethodPut, path: "hubs/{hub}/groups/{group}/connections/{connection}", run: (*call).addConnectionToGroup},
	{method: http.MethodDelete, path: "hubs/{hub}/groups/{group}/connections/{connection}", run: (*call).removeConnectionFromGroup},
	{method: http.MethodDelete, path: "hubs/{hub}/connections/{connection}/groups", run: (*call).removeConnectionFromAllGroups},
	{method: http.MethodPut, path: "hubs/{hub}/users/{user}/groups/{group}", run: (*call).addUserToGroup},
	{method: http.MethodDelete, path: "hubs/{hub}/users/{user}/groups/{group}", run: (*call).removeUserFromGroup},
	{method: http.MethodDelete, path: "hubs/{hub}/users/{user}/groups", run: (*call).removeUserFromAllGroups},
	{method: http.MethodPost, path: "hubs/{hub}/:addToGroups", run: (*call).addToGroups},
	{method: http.MethodPost, path: "hubs/{hub}/:removeFromGroups", run: (*call).removeFromGroups},
	{method: http.MethodPut, path: "hubs/{hub}/permissions/{permission}/connections/{connection}", run: (*call).grant},
	{method: http.MethodHead, path: "hubs/{hub}/permissions/{permission}/connections/{connection}", run: (*call).checkPermission},
	{method: http.MethodDelete, path: "hubs/{hub}/permissions/{permission}/connections/{connection}", run: (*call).revoke},
	{method: http.MethodPost, path: "hubs/{hub}/:generateToken", run: (*call).generateToken},
})

// maxParts is one more than the parts of the longest route.
const maxParts = 7

func compile(list []route) []route {
	for i := range list {
		list[i].parts = strings.Split(list[i].path, "/")
	}
	return list
}

// target is what a path names.
type target struct {
	// prefix is what stands before /api, resource what comes from there on;
	// both are escaped as they were.
	prefix, resource string

	hubName, group, user, connection string
	permission                       gateway.Permission
}

// escapedPath is the path as it was on the wire, also where URL.EscapedPath
// gives up on it: beside a byte that should have been escaped, that one would
// turn the %2F of an id into a slash.
func escapedPath(u *url.URL) string {
	if path, err := url.PathUnescape(u.RawPath); err == nil && u.RawPath != "" && path == u.Path {
		return u.RawPath
	}
	return u.EscapedPath()
}

// findRoute looks for the operation of an escaped path. A prefix may itself
// hold /api/: the first place where a known path follows counts.
func findRoute(method, path string, limits *protocol.Limits) (target, *route, error) {
	if len(path) > maxPath {
		return target{}, nil, errURITooLong
	}
	for start := range apis(path) {
		segments, err := unescapeAll(path[start+len("/api/"):])
		if err != nil {
			return target{}, nil, err
		}
		found, allowed := match(method, segments)
		switch {
		case found != nil:
			t := target{prefix: path[:start], resource: path[start:]}
			return t, found, t.fill(found.parts, segments, limits)
		case len(allowed) > 0:
			return target{}, nil, methodNotAllowed(allowed)
		}
	}
	return target{}, nil, errNoRoute
}

// apis goes through the places of /api/ in a path.
func apis(path string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		const api = "/api/"
		for i := 0; i+len(api) <= len(path); i++ {
			if path[i] == '/' && strings.EqualFold(path[i:i+len(api)], api) && !yield(i) {
				return
			}
		}
	}
}

func serves(path string) bool {
	for i := range apis(path) {
		rest := strings.ToLower(path[i+len("/api/") : min(len(path), i+len("/api/health")+1)])
		if rest == "health" || strings.HasPrefix(rest, "hubs/") {
			return true
		}
	}
	return false
}

// unescapeAll splits what follows /api; nil if it is too long for any route.
// It escapes nothing twice, and cleans nothing.
func unescapeAll(path string) ([]string, error) {
	segments := strings.SplitN(path, "/", maxParts)
	if len(segments) == maxParts {
		return nil, nil
	}
	for i, escaped := range segments {
		segment, err := url.PathUnescape(escaped)
		if err != nil {
			return nil, badRequest("", "The path has an escape that is not valid.")
		}
		segments[i] = segment
	}
	return segments, nil
}

// match returns the route, or else the methods of the routes that have this
// path.
func match(method string, segments []string) (found *route, allowed []string) {
	for i := range routes {
		r := &routes[i]
		if !slices.EqualFunc(r.parts, segments, samePart) {
			continue
		}
		if r.method == method {
			return r, nil
		}
		allowed = append(allowed, r.method)
	}
	return nil, allowed
}

func samePart(part, segment string) bool {
	if part[0] == '{' {
		return segment != ""
	}
	return strings.EqualFold(part, segment)
}

// fill takes the values from the segments, and refuses those that cannot be.
func (t *target) fill(parts, segments []string, limits *protocol.Limits) error {
	for i, part := range parts {
		if part[0] != '{' {
			continue
		}
		name, value := part[1:len(part)-1], segments[i]
		if !utf8.ValidString(value) {
			return badRequest(name, "The path is not valid UTF-8.")
		}
		ok := true
		switch name {
		case "hub":
			t.hubName, ok = value, limits.ValidHub(value)
		case "group":
			t.group, ok = value, limits.ValidGroup(value)
		case "user":
			t.user = value
		case "connection":
			t.connection = value
		case "permission":
			t.permission, ok = parsePermission(value)
		}
		if !ok {
			return badRequest(name, "Invalid "+name+" name.")
		}
	}
	return nil
}
