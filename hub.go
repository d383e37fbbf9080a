package gateway

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode/utf8"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/telemetry"
	"github.com/message-gateway/gateway/internal/wire"
)

// Hub is everything that Azure Web PubSub's service clients offer for one hub:
// messages to connections, users, groups and everyone; groups, permissions,
// existence, and closing. All methods may be called from several goroutines.
//
// Messages are at most once: a nil error means that the message was handed to
// the bus. A device with a reliable subprotocol whose connection breaks gets
// what it missed if it recovers in time. The messages that one goroutine sends
// to one target arrive in order. A send costs one publish, whatever the number
// of receivers.
//
// Everything else is true across nodes: a nil error means that every node that
// holds a connection concerned has done it. Connections that come later are
// not touched. Errors are those that match ErrInvalidArgument, the ones that a
// method names, ErrNodeUnanswered, ErrClosed, the end of ctx, or that of the
// bus.
type Hub struct {
	client *Client
	name   string
	key    string // the name without regard to case
}

// Hub returns the hub of this name. It makes no call; a bad name is
// ErrInvalidHub on each use. Names that differ in case only are the same hub.
func (c *Client) Hub(name string) *Hub {
	return &Hub{client: c, name: name, key: strings.ToLower(name)}
}

// Name is the name of the hub as it was given.
func (h *Hub) Name() string { return h.name }

// ClientAccessToken makes a token with which a device of the user connects to
// this hub; see Client.ClientAccessToken.
func (h *Hub) ClientAccessToken(ctx context.Context, userID string, opts ...TokenOption) (ClientAccess, error) {
	access, err := h.client.clientAccessToken(ctx, h.name, userID, opts)
	if err != nil {
		return ClientAccess{}, fmt.Errorf("gateway: client access token: %w", err)
	}
	return access, nil
}

// SendToAll sends to every connection of the hub. Options: Excluding,
// WithFilter, WithMessageTTL, WithMetadata, WithIdempotencyKey.
func (h *Hub) SendToAll(ctx context.Context, payload any, opts ...HubOption) error {
	return h.send(ctx, "all", h.names().HubAll(h.key), nil, payload, opts, optExcluding, optFilter, optTTL, optMetadata, optKey)
}

// SendToGroup sends to every connection in a group. An empty group is no
// error. Options: Excluding, WithFilter, WithMessageTTL, WithMetadata, WithIdempotencyKey.
func (h *Hub) SendToGroup(ctx context.Context, group string, payload any, opts ...HubOption) error {
	return h.send(ctx, "group", h.names().HubGroup(h.key, group), h.checkGroup(group), payload, opts, optExcluding, optFilter, optTTL, optMetadata, optKey)
}

// SendToUser sends to every connection of a user. A user without any is no
// error. Options: WithFilter, WithMessageTTL, WithMetadata,
// WithIdempotencyKey.
func (h *Hub) SendToUser(ctx context.Context, userID string, payload any, opts ...HubOption) error {
	return h.send(ctx, "user", h.names().HubUser(h.key, userID), checkHubUser(userID), payload, opts, optFilter, optTTL, optMetadata, optKey)
}

// SendToConnection sends to one connection. A connection that does not exist
// is no error. Options: WithMessageTTL, WithMetadata, WithIdempotencyKey.
func (h *Hub) SendToConnection(ctx context.Context, connectionID string, payload any, opts ...HubOption) error {
	return h.send(ctx, "connection", h.names().HubConnection(h.key, connectionID), checkConnectionID(connectionID), payload, opts, optTTL, optMetadata, optKey)
}

func (h *Hub) names() wire.Names { return h.client.core.Names }

// send publishes one message for a channel; bad is what is wrong with the
// target.
func (h *Hub) send(ctx context.Context, target, channel string, bad error, payload any, opts []HubOption, allowed ...string) error {
	ctx, s := h.client.begin(ctx, hubSend, "")
	if s.span.IsRecording() {
		s.span.SetAttributes(telemetry.KeyHub.String(h.name))
	}
	err := h.trySend(ctx, channel, bad, payload, opts, allowed)
	h.client.end(ctx, s, 1, err)
	if err != nil {
		return fmt.Errorf("gateway: send to %s: %w", target, err)
	}
	return nil
}

func (h *Hub) trySend(ctx context.Context, channel string, bad error, payload any, opts []HubOption, allowed []string) error {
	o, err := h.prepare(ctx, bad, opts, allowed)
	if err != nil {
		return err
	}
	kind, data, err := h.client.hubPayload(payload)
	if err != nil {
		return err
	}
	message := control.Message{
		ID: rand.Uint64(), DataType: kind.String(), Excluded: o.excluded, Filter: o.filter,
		TTLSeconds: int(o.ttl.Seconds()), Metadata: o.metadata, Data: data,
	}
	if o.key != "" {
		message.Identify(channel, o.key)
	}
	message.SetTrace(h.client.core.Tracer.Of(ctx))
	err = h.client.realtime.Publish(ctx, bus.Publication{Channel: channel, Payload: message.Encode(), Sharded: true})
	return h.client.translate(err)
}

// prepare checks what every call on a hub needs.
func (h *Hub) prepare(ctx context.Context, bad error, opts []HubOption, allowed []string) (*hubOptions, error) {
	if err := h.client.usable(ctx); err != nil {
		return nil, err
	}
	if !h.client.core.Limits.ValidHub(h.name) {
		return nil, fmt.Errorf("%w: %q", ErrInvalidHub, h.name)
	}
	if bad != nil {
		return nil, bad
	}
	return h.parseOptions(opts, allowed)
}

// hubPayload is the payload of a hub message: unlike the wire contract, the
// hubs' own channels carry text and bytes as they are.
func (c *Client) hubPayload(payload any) (protocol.DataType, []byte, error) {
	switch p := payload.(type) {
	case Text:
		return protocol.Text, []byte(strings.ToValidUTF8(string(p), "\uFFFD")), c.checkSize(len(p))
	case Binary:
		return protocol.Binary, p, c.checkSize(len(p))
	default:
		raw, err := c.encodePayload(payload)
		return protocol.JSON, raw, err
	}
}

func (h *Hub) checkGroup(group string) error {
	if !utf8.ValidString(group) || !h.client.core.Limits.ValidGroup(group) {
		return ErrInvalidGroup
	}
	return nil
}

func checkHubUser(userID string) error {
	switch {
	case userID == "":
		return ErrEmptyUserID
	case !utf8.ValidString(userID):
		return fmt.Errorf("%w: not valid UTF-8", ErrInvalidUserID)
	}
	return nil
}

func checkConnectionID(id string) error {
	if id == "" || !utf8.ValidString(id) {
		return ErrInvalidConnectionID
	}
	return nil
}
