package gateway

import (
	"context"
	"errors"
	"fmt"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/roles"
)

// Permission is what a connection may do with groups.
type Permission string

// The permissions.
const (
	// PermissionJoinLeaveGroup: join and leave.
	PermissionJoinLeaveGroup Permission = "joinLeaveGroup"
	// PermissionSendToGroup: publish.
	PermissionSendToGroup Permission = "sendToGroup"
)

// ConnectionExists reports whether the hub has this connection. One that broke
// and can still be recovered exists.
func (h *Hub) ConnectionExists(ctx context.Context, connectionID string) (bool, error) {
	return h.exists(ctx, "connection", h.names().HubConnection(h.key, connectionID), checkConnectionID(connectionID))
}

// GroupExists reports whether the group has at least one connection.
func (h *Hub) GroupExists(ctx context.Context, group string) (bool, error) {
	return h.exists(ctx, "group", h.names().HubGroup(h.key, group), h.checkGroup(group))
}

// UserExists reports whether the user has at least one connection in the hub.
func (h *Hub) UserExists(ctx context.Context, userID string) (bool, error) {
	return h.exists(ctx, "user", h.names().HubUser(h.key, userID), checkHubUser(userID))
}

func (h *Hub) exists(ctx context.Context, target, channel string, bad error) (bool, error) {
	n, err := h.count(ctx, channel, bad)
	if err != nil {
		return false, fmt.Errorf("gateway: %s exists: %w", target, err)
	}
	return n > 0, nil
}

// count asks the nodes, rather than the bus who is subscribed: a node that
// died a moment ago may still be subscribed, but does not answer.
func (h *Hub) count(ctx context.Context, channel string, bad error) (int, error) {
	if _, err := h.prepare(ctx, bad, nil, nil); err != nil {
		return 0, err
	}
	return h.call(ctx, channel, control.Call{Op: control.OpCount})
}

// call asks every node that is concerned and adds up how many connections
// there were.
func (h *Hub) call(ctx context.Context, channel string, call control.Call) (int, error) {
	replies, err := h.ask(ctx, channel, call)
	total := 0
	for _, r := range replies {
		total += r.Count
	}
	return total, err
}

func (h *Hub) ask(ctx context.Context, channel string, call control.Call) ([]*control.Reply, error) {
	replies, err := h.client.calls.Call(ctx, channel, call)
	if errors.Is(err, control.ErrUnanswered) {
		return replies, fmt.Errorf("%w: %w", ErrNodeUnanswered, err)
	}
	return replies, h.client.translate(err)
}

// CloseConnection closes one connection. A connection that does not exist is
// no error. The device may connect again: to keep it out, refuse it in the
// node's OnConnect. Options: WithReason.
func (h *Hub) CloseConnection(ctx context.Context, connectionID string, opts ...HubOption) error {
	return h.close(ctx, "connection", h.names().HubConnection(h.key, connectionID), checkConnectionID(connectionID), opts, optReason)
}

// CloseAllConnections closes every connection of the hub. Options: WithReason,
// Excluding.
func (h *Hub) CloseAllConnections(ctx context.Context, opts ...HubOption) error {
	return h.close(ctx, "all connections", h.names().HubAll(h.key), nil, opts, optReason, optExcluding)
}

// CloseGroupConnections closes every connection in a group. Options:
// WithReason, Excluding.
func (h *Hub) CloseGroupConnections(ctx context.Context, group string, opts ...HubOption) error {
	return h.close(ctx, "group connections", h.names().HubGroup(h.key, group), h.checkGroup(group), opts, optReason, optExcluding)
}

// CloseUserConnections closes every connection of a user. Options: WithReason,
// Excluding.
func (h *Hub) CloseUserConnections(ctx context.Context, userID string, opts ...HubOption) error {
	return h.close(ctx, "user connections", h.names().HubUser(h.key, userID), checkHubUser(userID), opts, optReason, optExcluding)
}

func (h *Hub) close(ctx context.Context, target, channel string, bad error, opts []HubOption, allowed ...string) error {
	o, err := h.prepare(ctx, bad, opts, allowed)
	if err == nil {
		_, err = h.call(ctx, channel, control.Call{Op: control.OpClose, Reason: o.reason, Excluded: o.excluded})
	}
	if err != nil {
		return fmt.Errorf("gateway: close %s: %w", target, err)
	}
	return nil
}

// GrantPermission lets a connection do something with one group, or with any
// group if that is empty. Wildcards are not interpreted. Errors also:
// ErrConnectionNotFound, ErrTooManyPermissions.
func (h *Hub) GrantPermission(ctx context.Context, p Permission, connectionID, group string) error {
	return h.permission(ctx, "grant", control.OpGrant, p, connectionID, group, true)
}

// RevokePermission forbids it, also where a role allows it. The connection
// stays in groups that it is in. A connection that does not exist is no error.
func (h *Hub) RevokePermission(ctx context.Context, p Permission, connectionID, group string) error {
	return h.permission(ctx, "revoke", control.OpRevoke, p, connectionID, group, false)
}

func (h *Hub) permission(ctx context.Context, verb string, op control.Op, p Permission, connectionID, group string, mustExist bool) error {
	replies, err := h.permissionCall(ctx, op, p, connectionID, group)
	found := false
	for _, r := range replies {
		found = found || r.Count > 0
		if err == nil && r.Full {
			err = ErrTooManyPermissions
		}
	}
	if err == nil && mustExist && !found {
		err = ErrConnectionNotFound
	}
	if err != nil {
		return fmt.Errorf("gateway: %s permission: %w", verb, err)
	}
	return nil
}

// HasPermission reports whether a connection may do something with one group,
// or with any group if that is empty. A connection that does not exist may not.
func (h *Hub) HasPermission(ctx context.Context, p Permission, connectionID, group string) (bool, error) {
	replies, err := h.permissionCall(ctx, control.OpCheck, p, connectionID, group)
	if err != nil {
		return false, fmt.Errorf("gateway: check permission: %w", err)
	}
	for _, r := range replies {
		if r.Allowed {
			return true, nil
		}
	}
	return false, nil
}

func (h *Hub) permissionCall(ctx context.Context, op control.Op, p Permission, connectionID, group string) ([]*control.Reply, error) {
	bad := checkConnectionID(connectionID)
	if group != "" {
		bad = errors.Join(bad, h.checkGroup(group))
	}
	parsed, ok := roles.ParsePermission(string(p))
	if !ok {
		bad = errors.Join(bad, ErrInvalidPermission)
	}
	if _, err := h.prepare(ctx, bad, nil, nil); err != nil {
		return nil, err
	}
	return h.ask(ctx, h.names().HubConnection(h.key, connectionID), control.Call{Op: op, Permission: parsed.String(), Group: group})
}
