package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/message-gateway/gateway/internal/jsonvalid"
	"github.com/message-gateway/gateway/internal/wire"
)

// Text is a payload that devices receive as text: dataType "text" for PubSub
// clients, a bare text frame for clients without subprotocol. In the wire
// contract, whose payloads are JSON, it travels as {"$text":"…"}; an object
// with just this member is reserved for it. Invalid UTF-8 is replaced.
type Text string

// Binary is a payload that devices receive as bytes: dataType "binary" for
// PubSub clients, a binary frame for clients without subprotocol. In the wire
// contract it travels as {"$binary":"<base64>"}; an object with just this
// member is reserved for it.
type Binary []byte

// encodePayload returns the JSON value of a payload. A json.RawMessage passes
// through as it is, and belongs to the caller, who may change it after the send
// has returned: who needs it for longer clones it.
func (c *Client) encodePayload(payload any) (json.RawMessage, error) {
	var raw json.RawMessage
	switch p := payload.(type) {
	case Text:
		raw = wire.WrapText(string(p))
	case Binary:
		raw = wire.WrapBinary(p)
	case json.RawMessage:
		if !jsonvalid.Valid(p) {
			return nil, fmt.Errorf("%w: the json.RawMessage is not valid", ErrInvalidPayload)
		}
		raw = p
	default:
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(payload); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalidPayload, err)
		}
		raw = bytes.TrimSuffix(buf.Bytes(), []byte{'\n'})
	}
	return raw, c.checkSize(len(raw))
}

func (c *Client) checkSize(n int) error {
	if n > c.core.MaxPayload {
		return fmt.Errorf("%w: %d bytes, the limit is %d", ErrPayloadTooLarge, n, c.core.MaxPayload)
	}
	return nil
}
