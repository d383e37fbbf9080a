package gateway

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/message-gateway/gateway/internal/control"
)

// AddConnectionToGroup puts a connection into a group, whatever its
// permissions. Errors also: ErrConnectionNotFound. Options: WithExpiry.
func (h *Hub) AddConnectionToGroup(ctx context.Context, group, connectionID string, opts ...HubOption) error {
	n, err := h.join(ctx, h.names().HubConnection(h.key, connectionID), []string{group}, "", opts, checkConnectionID(connectionID))
	if err == nil && n == 0 {
		err = ErrConnectionNotFound
	}
	if err != nil {
		return fmt.Errorf("gateway: add connection to group: %w", err)
	}
	return nil
}

// AddUserToGroup puts the connections that a user has now into a group; later
// ones are not. Errors also: ErrUserNotConnected. Options: WithExpiry.
func (h *Hub) AddUserToGroup(ctx context.Context, group, userID string, opts ...HubOption) error {
	n, err := h.join(ctx, h.names().HubUser(h.key, userID), []string{group}, "", opts, checkHubUser(userID))
	if err == nil && n == 0 {
		err = ErrUserNotConnected
	}
	if err != nil {
		return fmt.Errorf("gateway: add user to group: %w", err)
	}
	return nil
}

// AddConnectionsToGroups puts the connections that the filter chooses into
// each of the groups; an empty filter chooses every connection of the hub.
// Options: WithExpiry.
func (h *Hub) AddConnectionsToGroups(ctx context.Context, groups []string, filter string, opts ...HubOption) error {
	if _, err := h.join(ctx, h.names().HubAll(h.key), groups, filter, opts, nil); err != nil {
		return fmt.Errorf("gateway: add connections to groups: %w", err)
	}
	return nil
}

func (h *Hub) join(ctx context.Context, channel string, groups []string, filter string, opts []HubOption, bad error) (int, error) {
	if bad == nil {
		bad = h.checkGroups(groups)
	}
	o, err := h.prepare(ctx, bad, append(slices.Clone(opts), WithFilter(filter)), []string{optExpiry, optFilter})
	if err != nil {
		return 0, err
	}
	call := control.Call{Op: control.OpJoin, Groups: groups, Filter: filter}
	if o.expiry > 0 {
		call.Until = h.client.core.Store.Now().Add(o.expiry).UnixMilli()
	}
	return h.call(ctx, channel, call)
}

// RemoveConnectionFromGroup takes a connection out of a group. One that is not
// there is no error.
func (h *Hub) RemoveConnectionFromGroup(ctx context.Context, group, connectionID string) error {
	return h.leave(ctx, "connection from group", h.names().HubConnection(h.key, connectionID), []string{group}, "", checkConnectionID(connectionID), h.checkGroup(group))
}

// RemoveConnectionFromAllGroups takes a connection out of all its groups.
func (h *Hub) RemoveConnectionFromAllGroups(ctx context.Context, connectionID string) error {
	return h.leave(ctx, "connection from all groups", h.names().HubConnection(h.key, connectionID), nil, "", checkConnectionID(connectionID))
}

// RemoveUserFromGroup takes every connection of a user out of a group.
func (h *Hub) RemoveUserFromGroup(ctx context.Context, group, userID string) error {
	return h.leave(ctx, "user from group", h.names().HubUser(h.key, userID), []string{group}, "", checkHubUser(userID), h.checkGroup(group))
}

// RemoveUserFromAllGroups takes every connection of a user out of all groups.
func (h *Hub) RemoveUserFromAllGroups(ctx context.Context, userID string) error {
	return h.leave(ctx, "user from all groups", h.names().HubUser(h.key, userID), nil, "", checkHubUser(userID))
}

// RemoveConnectionsFromGroups takes the connections that the filter chooses
// out of each of the groups; an empty filter chooses every connection.
func (h *Hub) RemoveConnectionsFromGroups(ctx context.Context, groups []string, filter string) error {
	return h.leave(ctx, "connections from groups", h.names().HubAll(h.key), groups, filter, h.checkGroups(groups))
}

func (h *Hub) leave(ctx context.Context, what, channel string, groups []string, filter string, checks ...error) error {
	var bad error
	for _, check := range checks {
		bad = cmp.Or(bad, check)
	}
	_, err := h.prepare(ctx, bad, []HubOption{WithFilter(filter)}, []string{optFilter})
	if err == nil {
		_, err = h.call(ctx, channel, control.Call{Op: control.OpLeave, Groups: groups, Filter: filter})
	}
	if err != nil {
		return fmt.Errorf("gateway: remove %s: %w", what, err)
	}
	return nil
}

func (h *Hub) checkGroups(groups []string) error {
	if len(groups) == 0 {
		return fmt.Errorf("%w: there is none", ErrInvalidGroup)
	}
	for _, group := range groups {
		if err := h.checkGroup(group); err != nil {
			return err
		}
	}
	return nil
}

// GroupConnection is a connection in a group.
type GroupConnection struct {
	ConnectionID string
	// UserID is empty for an anonymous connection.
	UserID string
}

// ListConnectionsInGroup goes through the connections in a group, in order of
// their ids, reading page after page; an error ends it. Connections that come
// or go meanwhile may be there or not.
func (h *Hub) ListConnectionsInGroup(ctx context.Context, group string) iter.Seq2[GroupConnection, error] {
	return func(yield func(GroupConnection, error) bool) {
		after, size := "", h.client.core.Page
		for {
			page, err := h.GroupConnections(ctx, group, after, size)
			if err != nil {
				yield(GroupConnection{}, err)
				return
			}
			for _, c := range page {
				if !yield(c, nil) {
					return
				}
			}
			if len(page) < size {
				return
			}
			after = page[len(page)-1].ConnectionID
		}
	}
}

// GroupConnections reads one page of a group's connections, in order of their
// ids: up to limit (at most Limits.Page) whose ids come after the given one.
// An unknown group is empty.
func (h *Hub) GroupConnections(ctx context.Context, group, after string, limit int) ([]GroupConnection, error) {
	bad := h.checkGroup(group)
	if largest := h.client.core.Page; limit < 1 || limit > largest {
		bad = cmp.Or(bad, fmt.Errorf("%w: limit %d is not between 1 and %d", ErrInvalidQuery, limit, largest))
	}
	_, err := h.prepare(ctx, bad, nil, nil)
	var replies []*control.Reply
	if err == nil {
		replies, err = h.ask(ctx, h.names().HubGroup(h.key, group), control.Call{Op: control.OpList, After: after, Limit: limit})
	}
	if err != nil {
		return nil, fmt.Errorf("gateway: list group: %w", err)
	}
	var all []GroupConnection
	for _, r := range replies {
		for _, c := range r.Connections {
			all = append(all, GroupConnection{ConnectionID: c.ID, UserID: c.UserID})
		}
	}
	slices.SortFunc(all, func(a, b GroupConnection) int { return cmp.Compare(a.ConnectionID, b.ConnectionID) })
	all = slices.CompactFunc(all, func(a, b GroupConnection) bool { return a.ConnectionID == b.ConnectionID })
	return all[:min(limit, len(all))], nil
}
