package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/message-gateway/gateway"
)

// maxSend is the largest body of a request in bytes.
const maxSend = 64 << 10

// maxTimeout bounds a command of the form.
const maxTimeout = 10 * time.Minute

// order is what the form sends.
type order struct {
	Kind string `json:"kind"`
	User string `json:"user"`
	// Payload is JSON, or, with Text, any text.
	Payload string `json:"payload"`
	Text    bool   `json:"text"`
	// Type and TimeoutSeconds are for commands.
	Type           string `json:"type"`
	TimeoutSeconds int    `json:"timeoutSeconds"`
}

// receipt says what was sent. The page looks at the message to see what
// becomes of it.
type receipt struct {
	// ID is the message id; empty for a realtime message, which is not stored.
	ID string `json:"id,omitempty"`
	// Online says whether the user had a connection on any node at that moment.
	Online bool `json:"online"`
}

var sender = gateway.WithSender("server", "console")

// send sends a message of one of the three kinds. It does not wait for a
// command's answer.
func (h *Handler) send(ctx context.Context, r *http.Request) (any, error) {
	o, payload, err := readOrder(r)
	if err != nil {
		return nil, err
	}
	online, err := h.client.Online(ctx, o.User)
	if err != nil {
		return nil, err
	}
	result := receipt{Online: online[o.User]}
	switch o.Kind {
	case "realtime":
		err = h.client.SendRealtime(ctx, o.User, payload)
	case "reliable":
		result.ID, err = h.client.SendReliable(ctx, o.User, payload, sender)
	case "command":
		timeout := time.Duration(o.TimeoutSeconds) * time.Second
		if timeout <= 0 || timeout > maxTimeout {
			return nil, badRequest("The timeout is not between 1 and %d seconds.", int(maxTimeout.Seconds()))
		}
		var res *gateway.CommandResult
		res, err = h.client.SendCommand(ctx, o.User, o.Type, payload, sender, gateway.NoWait(), gateway.WithTimeout(timeout))
		if res != nil {
			result.ID = res.MessageID
		}
	default:
		return nil, badRequest("The kind is none of realtime, reliable and command.")
	}
	if err != nil {
		return nil, err
	}
	h.core.Log.Info("sent from the console", "kind", o.Kind, "user_id", o.User, "message_id", result.ID)
	return result, nil
}

func readOrder(r *http.Request) (o order, payload any, err error) {
	var tooLarge *http.MaxBytesError
	switch err := json.NewDecoder(r.Body).Decode(&o); {
	case errors.As(err, &tooLarge):
		return o, nil, &problem{http.StatusRequestEntityTooLarge, "The message is larger than 64 KiB."}
	case err != nil:
		return o, nil, badRequest("The request is not valid JSON.")
	case o.Text:
		return o, gateway.Text(o.Payload), nil
	case !json.Valid([]byte(o.Payload)):
		return o, nil, badRequest("The payload is not valid JSON. Send it as text, or put a string in quotes.")
	}
	return o, json.RawMessage(o.Payload), nil
}
