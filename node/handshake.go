package node

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/roles"
	"github.com/message-gateway/gateway/internal/ws"
)

// handshake answers one request on the client path.
func (n *Node) handshake(w http.ResponseWriter, r *http.Request) {
	target, err := parseTarget(r.URL, &n.core.Limits)
	if err != nil {
		n.refuse(w, "bad_request", http.StatusBadRequest, err.Error())
		return
	}
	if err := ws.CheckUpgrade(r); err != nil {
		var bad *ws.HandshakeError
		status := http.StatusBadRequest
		if errors.As(err, &bad) && bad.Status != http.StatusUpgradeRequired {
			status = bad.Status // a plain GET is 400 (specification, section 1.1)
		}
		n.refuse(w, "no_websocket", status, err.Error())
		return
	}
	if !n.originAllowed(r) {
		n.refuse(w, "origin", http.StatusForbidden, "origin is not allowed")
		return
	}
	address := n.rates.addressKey(r)
	if !n.admitRate(w, n.rates.addressConnections, address, "rate_address") {
		return
	}
	name, sub, _ := protocol.Negotiate(ws.OfferedSubprotocols(r))
	if target.recovery() {
		n.recover(w, r, target, name, sub, address)
		return
	}
	if !n.admit() {
		n.refuse(w, "too_many", http.StatusTooManyRequests, "too many connections")
		return
	}
	accepted := false
	defer func() {
		if !accepted {
			n.count.Add(-1)
		}
	}()
	ctx, cancel := context.WithTimeout(r.Context(), n.opts.HandlerTimeout)
	defer cancel()
	request, err := n.authenticate(ctx, r, target, name)
	if err != nil {
		n.refuseError(w, err)
		return
	}
	if !n.admitRate(w, n.rates.userConnections, request.UserID, "rate_user") {
		return
	}
	name = request.Subprotocol
	sub, _ = protocol.ParseSubprotocol(name)
	s := newSession(n, newConnectionID(), target.hub, name, sub, request.UserID)
	s.perms, s.connectionState, s.simple = roles.Parse(request.Roles, n.opts.permissions()), request.State, target.simple
	groups := distinct(request.Groups)
	if err := s.subscribe(ctx, groups); err != nil {
		n.core.Log.Warn("device refused, its channels are not subscribed", "user_id", s.userID, "error", err)
		w.Header().Set("Retry-After", "1")
		n.refuse(w, "bus", http.StatusServiceUnavailable, "try again later")
		return
	}
	accepted = true // dismiss counts it from now on
	s.enter(groups)
	conn, err := ws.Accept(w, r, n.wsOptions(name))
	if err != nil {
		s.abandon()
		n.countRefused("upgrade")
		return
	}
	n.serving.Add(1) // the handshake itself is counted, so this cannot race with Shutdown
	go s.run(conn, address)
}

// admit counts one more connection, unless there are too many. It comes before
// the slow part of a handshake, since many may knock at once.
func (n *Node) admit() bool {
	for {
		count := n.count.Load()
		if limit := n.opts.MaxConnections; limit > 0 && count >= int64(limit) {
			return false
		}
		if n.count.CompareAndSwap(count, count+1) {
			return true
		}
	}
}

func (n *Node) wsOptions(subprotocol string) ws.Options {
	// A recovery sends a full outbox at once; what a reliable device may leave
	// unacknowledged must fit beside the answers to its own frames.
	return ws.Options{
		Subprotocol: subprotocol, MaxMessage: n.opts.MaxFrame,
		QueueFrames: n.opts.MaxQueue + 128, QueueBytes: n.opts.MaxQueueBytes + 1<<20,
	}
}

// target is what a handshake asks for.
type target struct {
	hub string
	// prefix is what stands before /client in the path.
	prefix                          string
	connectionID, reconnectionToken string
	simple                          simpleMode
}

// simpleMode says what the frames of a device without subprotocol mean: events,
// or messages for a group, if that is not empty.
type simpleMode struct {
	group  string
	noEcho bool
}

func (t target) recovery() bool { return t.connectionID != "" && t.reconnectionToken != "" }

var (
	errPath = errors.New("path is not /client/hubs/{hub}")
	errHub  = errors.New("hub name is not valid")
	errMode = errors.New("webpubsub_mode, group and noEcho do not fit together")
)

// parseTarget reads the two forms of the client path; the names of query
// parameters are matched without regard to case, as the emulator does.
func parseTarget(u *url.URL, limits *protocol.Limits) (target, error) {
	var t target
	query := lowerQuery(u.Query())
	path := u.EscapedPath()
	if i := strings.LastIndex(path, "/client/hubs/"); i >= 0 {
		hub, err := url.PathUnescape(path[i+len("/client/hubs/"):])
		if err != nil {
			return t, errHub
		}
		t.prefix, t.hub = path[:i], strings.TrimSuffix(hub, "/")
	} else if prefix, ok := strings.CutSuffix(strings.TrimSuffix(path, "/"), "/client"); ok {
		t.prefix, t.hub = prefix, query.Get("hub")
	} else {
		return t, errPath
	}
	if !limits.ValidHub(t.hub) {
		return t, errHub
	}
	t.connectionID, t.reconnectionToken = query.Get("awps_connection_id"), query.Get("awps_reconnection_token")
	var err error
	t.simple, err = parseSimpleMode(query, limits)
	return t, err
}

// parseSimpleMode checks the parameters also where the device offers a
// subprotocol, with which they have no effect, as the emulator does.
func parseSimpleMode(query url.Values, limits *protocol.Limits) (simpleMode, error) {
	last := func(name string) (string, bool) {
		values := query[name]
		if len(values) == 0 {
			return "", false
		}
		return values[len(values)-1], true
	}
	mode, _ := last("webpubsub_mode")
	group, _ := last("group")
	noEcho, hasNoEcho := last("noecho")
	switch {
	case mode == "" || strings.EqualFold(mode, "sendEvent"):
		return simpleMode{}, nil
	case !strings.EqualFold(mode, "sendToGroup") || !limits.ValidGroup(group):
		return simpleMode{}, errMode
	case hasNoEcho && !strings.EqualFold(noEcho, "true") && !strings.EqualFold(noEcho, "false"):
		return simpleMode{}, errMode
	}
	return simpleMode{group: strings.Clone(group), noEcho: strings.EqualFold(noEcho, "true")}, nil
}

// distinct drops repeated names: each group is subscribed once.
func distinct(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

func lowerQuery(query url.Values) url.Values {
	lower := make(url.Values, len(query))
	for name, values := range query {
		name = strings.ToLower(name)
		lower[name] = append(lower[name], values...)
	}
	return lower
}

func (n *Node) refuse(w http.ResponseWriter, reason string, status int, text string) {
	n.countRefused(reason)
	refuse(w, status, text)
}

func (n *Node) countRefused(reason string) {
	n.core.Metrics.Refused.Add(context.Background(), 1, metric.WithAttributes(attribute.String("reason", reason)))
}

func refuse(w http.ResponseWriter, status int, text string) { http.Error(w, text, status) }
