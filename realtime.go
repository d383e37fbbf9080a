package gateway

import (
	"context"
	"fmt"

	"github.com/message-gateway/gateway/internal/bus"
)

// SendRealtime sends payload to the devices of a user that are connected now,
// at most once.
//
// A nil error means that the message was handed to the bus, not that anyone
// received it: an offline user misses it for good, and so does a device whose
// connection breaks at that moment. Nothing is doubled. The messages that one
// goroutine sends to a user arrive in order; those of several goroutines in
// any order. Calls that run at the same time share round trips.
//
// payload is any value that encoding/json encodes; a json.RawMessage passes
// through without being encoded again; [Text] and [Binary] reach devices as
// text and bytes.
// [FailIfOffline] is the only option that applies.
//
// Errors: those that match ErrInvalidArgument, ErrUserOffline, ErrOverloaded,
// ErrClosed, the end of ctx, or that of the bus, with its address: also that it did
// not answer for ten seconds, though ctx goes on.
func (c *Client) SendRealtime(ctx context.Context, userID string, payload any, opts ...SendOption) error {
	ctx, s := c.begin(ctx, realtimeSend, userID)
	err := c.sendRealtime(ctx, userID, payload, opts)
	c.end(ctx, s, 1, err)
	if err != nil {
		return fmt.Errorf("gateway: send realtime: %w", err)
	}
	return nil
}

var (
	realtimeOptions = []string{"FailIfOffline"}
	noOptions       sendOptions // of a send without any; only read
)

func (c *Client) sendRealtime(ctx context.Context, userID string, payload any, opts []SendOption) error {
	if err := c.usable(ctx); err != nil {
		return err
	}
	o := &noOptions
	if len(opts) > 0 {
		var err error
		if o, err = parseOptions(opts, realtimeOptions); err != nil {
			return err
		}
	}
	if err := checkUserID(userID, c.knownLimits()); err != nil {
		return err
	}
	raw, err := c.encodePayload(payload)
	if err != nil {
		return err
	}
	if err := c.checkOnline(ctx, userID, o); err != nil {
		return err
	}
	err = c.realtime.Publish(ctx, bus.Publication{Channel: c.core.Names.Realtime(userID), Payload: raw})
	return c.translate(err)
}

// Online says of each user whether a device of theirs is connected to a node,
// in the default hub: whether anyone is subscribed to the user's realtime
// channel, a gateway of another make as well. It is a snapshot. A node that
// died without closing its connection to the bus counts until the bus notices
// (Redis: its setting tcp-keepalive, 300 s by default).
//
// Errors: those that match ErrInvalidArgument, ErrClosed, the end of ctx, or
// that of the bus.
func (c *Client) Online(ctx context.Context, userIDs ...string) (map[string]bool, error) {
	if err := c.usable(ctx); err != nil {
		return nil, fmt.Errorf("gateway: online: %w", err)
	}
	channels := make([]string, len(userIDs))
	for i, id := range userIDs {
		if err := checkUserID(id, c.knownLimits()); err != nil {
			return nil, fmt.Errorf("gateway: online: %w", err)
		}
		channels[i] = c.core.Names.Realtime(id)
	}
	online := make(map[string]bool, len(userIDs))
	if len(userIDs) == 0 {
		return online, nil
	}
	counts, err := c.core.Bus.Subscribers(ctx, false, channels)
	if err != nil {
		return nil, fmt.Errorf("gateway: online: %s: %w", c.core.BusName, c.translate(err))
	}
	for i, id := range userIDs {
		online[id] = counts[i] > 0
	}
	return online, nil
}

// checkOnline is the FailIfOffline option.
func (c *Client) checkOnline(ctx context.Context, userID string, o *sendOptions) error {
	if !o.failIfOffline {
		return nil
	}
	counts, err := c.core.Bus.Subscribers(ctx, false, []string{c.core.Names.Realtime(userID)})
	if err != nil {
		return fmt.Errorf("%s: %w", c.core.BusName, c.translate(err))
	}
	if counts[0] == 0 {
		return ErrUserOffline
	}
	return nil
}
