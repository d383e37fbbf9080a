package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/message-gateway/gateway"
)

func (c *call) addConnectionToGroup() (answer, error) {
	return c.do(http.StatusOK, func(ctx context.Context) error {
		err := c.hub.AddConnectionToGroup(ctx, c.group, c.connection)
		if errors.Is(err, gateway.ErrConnectionNotFound) {
			return connectionMissing(codeConnectionMissing, c.connection)
		}
		return err
	})
}

func (c *call) removeConnectionFromGroup() (answer, error) {
	return c.do(http.StatusNoContent, func(ctx context.Context) error {
		return c.hub.RemoveConnectionFromGroup(ctx, c.group, c.connection)
	})
}

func (c *call) removeConnectionFromAllGroups() (answer, error) {
	return c.do(http.StatusNoContent, func(ctx context.Context) error {
		return c.hub.RemoveConnectionFromAllGroups(ctx, c.connection)
	})
}

func (c *call) addUserToGroup() (answer, error) {
	return c.do(http.StatusOK, func(ctx context.Context) error {
		err := c.hub.AddUserToGroup(ctx, c.group, c.user)
		if errors.Is(err, gateway.ErrUserNotConnected) {
			return &problem{
				status: http.StatusNotFound, code: codeUserMissing, missing: true,
				message: "User `" + c.user + "` has no connection.", target: "User",
			}
		}
		return err
	})
}

func (c *call) removeUserFromGroup() (answer, error) {
	return c.do(http.StatusNoContent, func(ctx context.Context) error {
		return c.hub.RemoveUserFromGroup(ctx, c.group, c.user)
	})
}

func (c *call) removeUserFromAllGroups() (answer, error) {
	return c.do(http.StatusNoContent, func(ctx context.Context) error {
		return c.hub.RemoveUserFromAllGroups(ctx, c.user)
	})
}

func (c *call) addToGroups() (answer, error) {
	return c.changeGroups(func(ctx context.Context, groups []string, filter string) error {
		return c.hub.AddConnectionsToGroups(ctx, groups, filter)
	})
}

func (c *call) removeFromGroups() (answer, error) {
	return c.changeGroups(c.hub.RemoveConnectionsFromGroups)
}

// changeGroups takes groups and a filter from the body. No filter means every
// connection.
func (c *call) changeGroups(change func(ctx context.Context, groups []string, filter string) error) (answer, error) {
	media, convert, err := contentType(c.r.Header)
	if err != nil {
		return answer{}, err
	}
	if media != mediaJSON {
		return answer{}, unsupportedMedia("The content type must be " + mediaJSON + ".")
	}
	body, err := c.body()
	if err != nil {
		return answer{}, err
	}
	var request struct {
		Groups []string `json:"groups"`
		Filter string   `json:"filter"`
	}
	if body = convert(body); !utf8.Valid(body) || json.Unmarshal(body, &request) != nil {
		return answer{}, badRequest("", "The request body is not a valid groups request.")
	}
	if len(request.Groups) == 0 || slices.ContainsFunc(request.Groups, func(g string) bool { return !c.limits().ValidGroup(g) }) {
		return answer{}, badRequest("groups", "A nonempty list of valid group names is required.")
	}
	if err := c.checkFilter(request.Filter); err != nil {
		return answer{}, err
	}
	return c.do(http.StatusOK, func(ctx context.Context) error { return change(ctx, request.Groups, request.Filter) })
}
