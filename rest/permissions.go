package rest

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/message-gateway/gateway"
)

func parsePermission(name string) (gateway.Permission, bool) {
	for _, p := range []gateway.Permission{gateway.PermissionJoinLeaveGroup, gateway.PermissionSendToGroup} {
		if strings.EqualFold(name, string(p)) {
			return p, true
		}
	}
	return "", false
}

// permissionGroup is the group that a permission is for; empty is any. An
// empty name is refused: it is a mistake rather than the wish for all groups.
func (c *call) permissionGroup() (string, error) {
	group, given, err := c.query.one("targetName")
	if err == nil && given && !c.limits().ValidGroup(group) {
		err = badRequest("targetName", "Invalid group name.")
	}
	return group, err
}

func (c *call) grant() (answer, error) {
	return c.changePermission(http.StatusOK, func(ctx context.Context, group string) error {
		return c.hub.GrantPermission(ctx, c.permission, c.connection, group)
	})
}

func (c *call) revoke() (answer, error) {
	return c.changePermission(http.StatusNoContent, func(ctx context.Context, group string) error {
		return c.hub.RevokePermission(ctx, c.permission, c.connection, group)
	})
}

func (c *call) changePermission(status int, change func(ctx context.Context, group string) error) (answer, error) {
	group, err := c.permissionGroup()
	if err != nil {
		return answer{}, err
	}
	return c.do(status, func(ctx context.Context) error {
		err := change(ctx, group)
		switch {
		case errors.Is(err, gateway.ErrConnectionNotFound):
			return connectionMissing(codeGrantMissing, c.connection)
		case errors.Is(err, gateway.ErrTooManyPermissions):
			return &problem{
				status: http.StatusConflict, code: codeConflict, missing: true,
				message: "Connection `" + c.connection + "` has too many permissions for single groups.", target: "Connection",
			}
		}
		return err
	})
}

// checkPermission answers 404 to a connection without the permission as to one
// that does not exist.
func (c *call) checkPermission() (answer, error) {
	group, err := c.permissionGroup()
	if err != nil {
		return answer{}, err
	}
	return c.do(http.StatusOK, func(ctx context.Context) error {
		allowed, err := c.hub.HasPermission(ctx, c.permission, c.connection, group)
		if err == nil && !allowed {
			return connectionMissing(codeGrantMissing, c.connection)
		}
		return err
	})
}
