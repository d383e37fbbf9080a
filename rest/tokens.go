package rest

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/message-gateway/gateway"
)

// generateToken makes a token of the kind that holders of the key can also
// make by themselves, for the address under which the caller knows the service.
func (c *call) generateToken() (answer, error) {
	user, _, err := c.query.one("userId")
	if err != nil {
		return answer{}, err
	}
	minutes, err := c.query.number("minutesToExpire", 1, int(gateway.MaxTimeout/time.Minute), int(gateway.DefaultTokenLifetime/time.Minute))
	if err != nil {
		return answer{}, err
	}
	if err := c.checkClientType(); err != nil {
		return answer{}, err
	}
	groups := c.query["group"]
	if slices.ContainsFunc(groups, func(g string) bool { return !c.limits().ValidGroup(g) }) {
		return answer{}, badRequest("group", "Invalid group name.")
	}
	ctx, cancel := c.limited()
	defer cancel()
	access, err := c.hub.ClientAccessToken(ctx, user, gateway.WithLifetime(time.Duration(minutes)*time.Minute),
		gateway.WithRoles(c.query["role"]...), gateway.WithGroups(groups...), gateway.WithEndpoint(c.base))
	if err != nil {
		return answer{}, err
	}
	c.w.Header().Set("Cache-Control", "no-store")
	return answer{status: http.StatusOK, body: struct {
		Token string `json:"token"`
	}{access.Token}}, nil
}

func (c *call) checkClientType() error {
	kind, _, err := c.query.one("clientType")
	switch strings.ToLower(kind) {
	case "", "default":
		return err
	case "mqtt", "socketio":
		return &problem{
			status: http.StatusNotImplemented, code: codeNotImplemented, target: "clientType",
			message: "Tokens for MQTT and Socket.IO clients are not supported.",
		}
	default:
		return badRequest("clientType", "Invalid clientType.")
	}
}
