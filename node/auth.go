package node

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/message-gateway/gateway/internal/token"
	"github.com/message-gateway/gateway/internal/ws"
)

// authenticate finds out who the device is and asks OnConnect.
func (n *Node) authenticate(ctx context.Context, r *http.Request, t target, subprotocol string) (*ConnectRequest, error) {
	request := &ConnectRequest{Hub: t.hub, Subprotocols: ws.OfferedSubprotocols(r), Subprotocol: subprotocol, Request: r}
	var err error
	if n.opts.Authenticator != nil {
		request.Identity, err = n.opts.Authenticator(r)
		if err != nil {
			return nil, refusal(err, http.StatusUnauthorized)
		}
	} else {
		claims, err := token.Verify(accessToken(r), token.MaxLength, n.core.AccessKeys, token.Audience(t.hub, r.Host, t.prefix, n.core.Endpoints))
		if err != nil {
			return nil, &RefuseError{Status: http.StatusUnauthorized, Message: err.Error()}
		}
		request.Identity = Identity{UserID: claims.UserID, Roles: claims.Roles, Groups: claims.Groups, Claims: claims.All}
	}
	if n.opts.OnConnect != nil {
		if err := n.opts.OnConnect(ctx, request); err != nil {
			return nil, refusal(err, http.StatusForbidden)
		}
	}
	if request.Subprotocol != "" && !slices.Contains(request.Subprotocols, request.Subprotocol) {
		n.core.Log.Error("OnConnect chose a subprotocol that the device did not offer", "subprotocol", request.Subprotocol)
		return nil, &RefuseError{Status: http.StatusInternalServerError, Message: "internal error"}
	}
	if len(request.Groups) > n.opts.MaxGroups {
		return nil, &RefuseError{Status: http.StatusBadRequest, Message: "too many groups"}
	}
	for _, group := range request.Groups {
		if !n.core.Limits.ValidGroup(group) {
			return nil, &RefuseError{Status: http.StatusBadRequest, Message: "a group name is not valid"}
		}
	}
	return request, nil
}

// refusal turns the error of a hook into an answer. Its text reaches the
// device only if the hook made it a *RefuseError on purpose.
func refusal(err error, status int) error {
	if refused := (*RefuseError)(nil); errors.As(err, &refused) {
		return refused
	}
	return &RefuseError{Status: status, Message: http.StatusText(status)}
}

func (n *Node) refuseError(w http.ResponseWriter, err error) {
	refused := &RefuseError{Status: http.StatusInternalServerError, Message: "internal error"}
	errors.As(err, &refused)
	status := refused.Status
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	n.refuse(w, "unauthorized", status, refused.Message)
}

// accessToken is the token of a handshake: the query parameter, or the header
// for clients that keep secrets out of URLs.
func accessToken(r *http.Request) string {
	if raw := lowerQuery(r.URL.Query()).Get("access_token"); raw != "" {
		return raw
	}
	scheme, raw, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(raw)
	}
	return ""
}

// originAllowed guards against web pages of other sites that use the cookies
// of their visitors.
func (n *Node) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if n.opts.Origins == nil {
		if n.opts.Authenticator == nil {
			return true
		}
		u, err := url.Parse(origin)
		return err == nil && strings.EqualFold(u.Host, r.Host)
	}
	for _, pattern := range n.opts.Origins {
		if matchOrigin(pattern, origin) {
			return true
		}
	}
	return false
}

func matchOrigin(pattern, origin string) bool {
	if pattern == "*" || strings.EqualFold(pattern, origin) {
		return true
	}
	scheme, domain, ok := strings.Cut(pattern, "://*.")
	if !ok {
		return false
	}
	rest, ok := strings.CutPrefix(strings.ToLower(origin), strings.ToLower(scheme)+"://")
	if !ok {
		return false
	}
	label, parent, _ := strings.Cut(rest, ".")
	return label != "" && strings.EqualFold(parent, domain)
}
