package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/message-gateway/gateway"
)

// arguments are those of all operations.
type arguments struct {
	// For the application's hooks.
	User   string `json:"user"`
	Status int    `json:"status"`
	Change change `json:"change"`
	Gate   string `json:"gate"`

	// For the three sends.
	ID        string          `json:"id"`
	Payload   json.RawMessage `json:"payload"`
	Type      string          `json:"type"`
	TimeoutMs int64           `json:"timeoutMs"`
	RetryMs   int64           `json:"retryMs"`
	NoWait    bool            `json:"noWait"`

	// For hubs.
	Hub        string            `json:"hub"`
	Connection string            `json:"connection"`
	Group      string            `json:"group"`
	Groups     []string          `json:"groups"`
	DataType   string            `json:"dataType"`
	Excluded   []string          `json:"excluded"`
	Filter     string            `json:"filter"`
	Reason     string            `json:"reason"`
	TTLSeconds int64             `json:"ttlSeconds"`
	ExpiryMs   int64             `json:"expiryMs"`
	Metadata   map[string]string `json:"metadata"`
	Permission string            `json:"permission"`
	Roles      []string          `json:"roles"`
	Endpoint   string            `json:"endpoint"`
}

type operation func(ctx context.Context, s *server, raw json.RawMessage) (any, error)

// do makes an operation of a function that returns a result.
func do(f func(ctx context.Context, s *server, a *arguments) (any, error)) operation {
	return func(ctx context.Context, s *server, raw json.RawMessage) (any, error) {
		var a arguments
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &a); err != nil {
				return nil, err
			}
		}
		return f(ctx, s, &a)
	}
}

// done makes an operation of a function without result.
func done(f func(ctx context.Context, s *server, a *arguments) error) operation {
	return do(func(ctx context.Context, s *server, a *arguments) (any, error) { return "done", f(ctx, s, a) })
}

// onHub makes an operation of a method of a hub.
func onHub(f func(ctx context.Context, h *gateway.Hub, a *arguments) error) operation {
	return done(func(ctx context.Context, s *server, a *arguments) error { return f(ctx, s.client.Hub(a.Hub), a) })
}

var operations = map[string]operation{
	"shutdown":    done(func(ctx context.Context, s *server, _ *arguments) error { return s.shutdown(ctx) }),
	"drop":        do(func(_ context.Context, s *server, _ *arguments) (any, error) { return s.conns.cut(), nil }),
	"connections": do(func(_ context.Context, s *server, _ *arguments) (any, error) { return s.node.Connections(), nil }),

	"refuse": done(func(_ context.Context, s *server, a *arguments) error {
		s.hooks.mu.Lock()
		defer s.hooks.mu.Unlock()
		s.hooks.refused[a.User] = a.Status
		return nil
	}),
	"change": done(func(_ context.Context, s *server, a *arguments) error {
		s.hooks.mu.Lock()
		defer s.hooks.mu.Unlock()
		s.hooks.changed[a.User] = a.Change
		return nil
	}),
	"release": done(func(_ context.Context, s *server, a *arguments) error {
		close(s.hooks.gate(a.Gate))
		return nil
	}),

	"realtime": done(func(ctx context.Context, s *server, a *arguments) error {
		payload, err := a.payload()
		if err != nil {
			return err
		}
		return s.client.SendRealtime(ctx, a.User, payload)
	}),
	"reliable": do(func(ctx context.Context, s *server, a *arguments) (any, error) {
		payload, err := a.payload()
		if err != nil {
			return nil, err
		}
		return s.client.SendReliable(ctx, a.User, payload, gateway.WithRetryInterval(millis(a.RetryMs)))
	}),
	"command": do(sendCommand),
	"await": do(func(ctx context.Context, s *server, a *arguments) (any, error) {
		return commandResult(s.client.AwaitCommand(ctx, a.ID))
	}),
	"message": do(func(ctx context.Context, s *server, a *arguments) (any, error) { return s.client.Message(ctx, a.ID) }),
	"online": do(func(ctx context.Context, s *server, a *arguments) (any, error) {
		online, err := s.client.Online(ctx, a.User)
		return online[a.User], err
	}),

	"token": do(func(ctx context.Context, s *server, a *arguments) (any, error) {
		opts := []gateway.TokenOption{gateway.WithRoles(a.Roles...), gateway.WithGroups(a.Groups...), gateway.WithLifetime(millis(a.TimeoutMs))}
		if a.Endpoint != "" {
			opts = append(opts, gateway.WithEndpoint(a.Endpoint))
		}
		return s.client.Hub(a.Hub).ClientAccessToken(ctx, a.User, opts...)
	}),

	"sendToAll": onHub(func(ctx context.Context, h *gateway.Hub, a *arguments) error {
		return a.send(func(p any, o []gateway.HubOption) error { return h.SendToAll(ctx, p, o...) })
	}),
	"sendToGroup": onHub(func(ctx context.Context, h *gateway.Hub, a *arguments) error {
		return a.send(func(p any, o []gateway.HubOption) error { return h.SendToGroup(ctx, a.Group, p, o...) })
	}),
	"sendToUser": onHub(func(ctx context.Context, h *gateway.Hub, a *arguments) error {
		return a.send(func(p any, o []gateway.HubOption) error { return h.SendToUser(ctx, a.User, p, o...) })
	}),
	"sendToConnection": onHub(func(ctx context.Context, h *gateway.Hub, a *arguments) error {
		return a.send(func(p any, o []gateway.HubOption) error { return h.SendToConnection(ctx, a.Connection, p, o...) })
	}),
	"closeConnection": onHub(func(ctx context.Context, h *gateway.Hub, a *arguments) error {
		return h.CloseConnection(ctx, a.Connection, gateway.WithReason(a.Reason))
	}),
	"addConnectionToGroup": onHub(func(ctx context.Context, h *gateway.Hub, a *arguments) error {
		return h.AddConnectionToGroup(ctx, a.Group, a.Connection, gateway.WithExpiry(millis(a.ExpiryMs)))
	}),
	"addUserToGroup": onHub(func(ctx context.Context, h *gateway.Hub, a *arguments) error {
		return h.AddUserToGroup(ctx, a.Group, a.User, gateway.WithExpiry(millis(a.ExpiryMs)))
	}),
	"removeUserFromGroup": onHub(func(ctx context.Context, h *gateway.Hub, a *arguments) error {
		return h.RemoveUserFromGroup(ctx, a.Group, a.User)
	}),
	"grantPermission": onHub(func(ctx context.Context, h *gateway.Hub, a *arguments) error {
		return h.GrantPermission(ctx, gateway.Permission(a.Permission), a.Connection, a.Group)
	}),
	"revokePermission": onHub(func(ctx context.Context, h *gateway.Hub, a *arguments) error {
		return h.RevokePermission(ctx, gateway.Permission(a.Permission), a.Connection, a.Group)
	}),
	"connectionExists": do(func(ctx context.Context, s *server, a *arguments) (any, error) {
		return s.client.Hub(a.Hub).ConnectionExists(ctx, a.Connection)
	}),
	"groupExists": do(func(ctx context.Context, s *server, a *arguments) (any, error) {
		return s.client.Hub(a.Hub).GroupExists(ctx, a.Group)
	}),
	"userExists": do(func(ctx context.Context, s *server, a *arguments) (any, error) {
		return s.client.Hub(a.Hub).UserExists(ctx, a.User)
	}),
	"list": do(func(ctx context.Context, s *server, a *arguments) (any, error) {
		list := []gateway.GroupConnection{}
		for c, err := range s.client.Hub(a.Hub).ListConnectionsInGroup(ctx, a.Group) {
			if err != nil {
				return nil, err
			}
			list = append(list, c)
		}
		return list, nil
	}),
}

// payload is the payload in Go's form.
func (a *arguments) payload() (any, error) {
	switch a.DataType {
	case "", "json":
		return a.Payload, nil
	case "text", "binary":
		var s string
		if err := json.Unmarshal(a.Payload, &s); err != nil {
			return nil, err
		}
		if a.DataType == "text" {
			return gateway.Text(s), nil
		}
		raw, err := base64.StdEncoding.DecodeString(s)
		return gateway.Binary(raw), err
	default:
		return nil, fmt.Errorf("there is no data type %q", a.DataType)
	}
}

func (a *arguments) send(send func(payload any, opts []gateway.HubOption) error) error {
	payload, err := a.payload()
	if err != nil {
		return err
	}
	var opts []gateway.HubOption
	if len(a.Excluded) > 0 {
		opts = append(opts, gateway.Excluding(a.Excluded...))
	}
	if a.Filter != "" {
		opts = append(opts, gateway.WithFilter(a.Filter))
	}
	if a.TTLSeconds > 0 {
		opts = append(opts, gateway.WithMessageTTL(time.Duration(a.TTLSeconds)*time.Second))
	}
	if len(a.Metadata) > 0 {
		opts = append(opts, gateway.WithMetadata(a.Metadata))
	}
	return send(payload, opts)
}

func sendCommand(ctx context.Context, s *server, a *arguments) (any, error) {
	opts := []gateway.SendOption{gateway.WithTimeout(millis(a.TimeoutMs)), gateway.WithRetryInterval(millis(a.RetryMs))}
	if a.NoWait {
		opts = append(opts, gateway.NoWait())
	}
	return commandResult(s.client.SendCommand(ctx, a.User, a.Type, a.Payload, opts...))
}

// commandResult tells a device's failure and a timeout from other errors.
func commandResult(res *gateway.CommandResult, err error) (any, error) {
	var failed *gateway.CommandError
	switch {
	case errors.As(err, &failed):
		return map[string]any{"messageId": res.MessageID, "deviceError": map[string]string{"code": failed.Code, "message": failed.Message}}, nil
	case errors.Is(err, gateway.ErrCommandTimeout):
		return map[string]any{"messageId": res.MessageID, "timedOut": true}, nil
	case err != nil:
		return nil, err
	}
	return map[string]any{"messageId": res.MessageID, "response": res.Response, "late": res.Late}, nil
}
