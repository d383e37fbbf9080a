package rest

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/protocol"
)

// Hub lets tests stand in for gateway.Hub.
type Hub = hub

// NewWithHubs is New with hubs of the test's own.
func NewWithHubs(client *gateway.Client, opts Options, open func(name string) Hub) (*Handler, error) {
	h, err := New(client, opts)
	if err == nil {
		h.open = open
	}
	return h, err
}

// Routes are method and path of every operation.
func Routes() (list [][2]string) {
	for _, r := range routes {
		list = append(list, [2]string{r.method, "/api/" + r.path})
	}
	return list
}

// BaseOf compares an audience with a call: the base URL that it is for, and
// what the call names, without regard to case; "" if there is no such operation.
func BaseOf(host string, endpoints []string, target, audience string) (base string, accepted bool, named string) {
	path, query, _ := strings.Cut(target, "?")
	limits := protocol.DefaultLimits()
	for _, method := range []string{"GET", "HEAD", "PUT", "POST", "DELETE"} {
		t, found, err := findRoute(method, path, &limits)
		if err != nil || found == nil {
			continue
		}
		r := resource{host: host, prefixes: []string{t.prefix}, endpoints: endpoints, path: found.path, target: t, query: query, limits: &limits}
		base, accepted = r.base(audience)
		return base, accepted, strings.Map(fold, fmt.Sprintf("%q %q %q %q %q %q %q", t.prefix, found.path, t.hubName, t.group, t.user, t.connection, t.permission))
	}
	return "", false, ""
}

// fold maps characters that strings.EqualFold takes for equal to one of them.
func fold(r rune) rune {
	least := r
	for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
		least = min(least, other)
	}
	return least
}
