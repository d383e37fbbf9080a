package rest

import (
	"context"

	"github.com/message-gateway/gateway"
)

// hub is the part of gateway.Hub that the data plane stands on.
type hub interface {
	sender
	closer
	grouper
	permitter
	ConnectionExists(ctx context.Context, connectionID string) (bool, error)
	GroupExists(ctx context.Context, group string) (bool, error)
	UserExists(ctx context.Context, userID string) (bool, error)
	ClientAccessToken(ctx context.Context, userID string, opts ...gateway.TokenOption) (gateway.ClientAccess, error)
}

type sender interface {
	SendToAll(ctx context.Context, payload any, opts ...gateway.HubOption) error
	SendToGroup(ctx context.Context, group string, payload any, opts ...gateway.HubOption) error
	SendToUser(ctx context.Context, userID string, payload any, opts ...gateway.HubOption) error
	SendToConnection(ctx context.Context, connectionID string, payload any, opts ...gateway.HubOption) error
}

type closer interface {
	CloseAllConnections(ctx context.Context, opts ...gateway.HubOption) error
	CloseGroupConnections(ctx context.Context, group string, opts ...gateway.HubOption) error
	CloseUserConnections(ctx context.Context, userID string, opts ...gateway.HubOption) error
	CloseConnection(ctx context.Context, connectionID string, opts ...gateway.HubOption) error
}

type grouper interface {
	AddConnectionToGroup(ctx context.Context, group, connectionID string, opts ...gateway.HubOption) error
	AddUserToGroup(ctx context.Context, group, userID string, opts ...gateway.HubOption) error
	AddConnectionsToGroups(ctx context.Context, groups []string, filter string, opts ...gateway.HubOption) error
	RemoveConnectionFromGroup(ctx context.Context, group, connectionID string) error
	RemoveConnectionFromAllGroups(ctx context.Context, connectionID string) error
	RemoveUserFromGroup(ctx context.Context, group, userID string) error
	RemoveUserFromAllGroups(ctx context.Context, userID string) error
	RemoveConnectionsFromGroups(ctx context.Context, groups []string, filter string) error
	GroupConnections(ctx context.Context, group, after string, limit int) ([]gateway.GroupConnection, error)
}

type permitter interface {
	GrantPermission(ctx context.Context, p gateway.Permission, connectionID, group string) error
	RevokePermission(ctx context.Context, p gateway.Permission, connectionID, group string) error
	HasPermission(ctx context.Context, p gateway.Permission, connectionID, group string) (bool, error)
}

var _ hub = (*gateway.Hub)(nil)
