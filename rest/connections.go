package rest

import (
	"context"
	"net/http"

	"github.com/message-gateway/gateway"
)

func (c *call) closeAll() (answer, error) {
	return c.close(c.hub.CloseAllConnections, excluded, reason)
}

func (c *call) closeGroup() (answer, error) {
	return c.close(func(ctx context.Context, opts ...gateway.HubOption) error {
		return c.hub.CloseGroupConnections(ctx, c.group, opts...)
	}, excluded, reason)
}

func (c *call) closeUser() (answer, error) {
	return c.close(func(ctx context.Context, opts ...gateway.HubOption) error {
		return c.hub.CloseUserConnections(ctx, c.user, opts...)
	}, excluded, reason)
}

func (c *call) closeConnection() (answer, error) {
	return c.close(func(ctx context.Context, opts ...gateway.HubOption) error {
		return c.hub.CloseConnection(ctx, c.connection, opts...)
	}, reason)
}

func (c *call) close(end func(ctx context.Context, opts ...gateway.HubOption) error, read ...option) (answer, error) {
	opts, err := c.query.options(read...)
	if err != nil {
		return answer{}, err
	}
	return c.do(http.StatusNoContent, func(ctx context.Context) error { return end(ctx, opts...) })
}

// do runs something that has no result, and answers with status.
func (c *call) do(status int, run func(ctx context.Context) error) (answer, error) {
	ctx, cancel := c.limited()
	defer cancel()
	if err := run(ctx); err != nil {
		return answer{}, err
	}
	return answer{status: status}, nil
}

func (c *call) connectionExists() (answer, error) {
	return c.exists(c.hub.ConnectionExists, c.connection)
}

func (c *call) groupExists() (answer, error) { return c.exists(c.hub.GroupExists, c.group) }

func (c *call) userExists() (answer, error) { return c.exists(c.hub.UserExists, c.user) }

func (c *call) exists(ask func(ctx context.Context, id string) (bool, error), id string) (answer, error) {
	ctx, cancel := c.limited()
	defer cancel()
	found, err := ask(ctx, id)
	switch {
	case err != nil:
		return answer{}, err
	case found:
		return answer{status: http.StatusOK}, nil
	default:
		return answer{status: http.StatusNotFound}, nil
	}
}
