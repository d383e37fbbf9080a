package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/message-gateway/gateway/internal/jsonvalid"
)

// Payloads that are no JSON values travel inside JSON, so that every reader of
// the contract sees a JSON value: text as {"$text":"…"}, bytes as
// {"$binary":"<base64>"}. The two keys are reserved for this.
const (
	textKey   = `{"$text":`
	binaryKey = `{"$binary":`
)

// PayloadType tells how a device gets a payload.
type PayloadType int

// The payload types.
const (
	JSON PayloadType = iota
	Text
	Binary
)

// String is the name of the type in an envelope.
func (t PayloadType) String() string {
	switch t {
	case Text:
		return "text"
	case Binary:
		return "binary"
	default:
		return "json"
	}
}

// WrapText returns the JSON form of a text payload.
func WrapText(s string) json.RawMessage {
	quoted, _ := json.Marshal(s) // strings always encode
	return append(append([]byte(textKey), quoted...), '}')
}

// WrapBinary returns the JSON form of a binary payload.
func WrapBinary(b []byte) json.RawMessage {
	raw := append([]byte(binaryKey), '"')
	return append(base64.StdEncoding.AppendEncode(raw, b), '"', '}')
}

// Unwrap returns the inner JSON string of a wrapped payload and its type, or
// the payload itself and JSON. A value that merely resembles a wrapped one is
// JSON.
func Unwrap(payload json.RawMessage) (json.RawMessage, PayloadType) {
	trimmed := bytes.TrimSpace(payload)
	// The cheap test first: nearly no payload is wrapped.
	if len(trimmed) < 2 || trimmed[0] != '{' || !bytes.HasPrefix(bytes.TrimLeft(trimmed[1:], " \t\r\n"), []byte(`"$`)) {
		return payload, JSON
	}
	var wrapped map[string]json.RawMessage
	if json.Unmarshal(trimmed, &wrapped) != nil || len(wrapped) != 1 {
		return payload, JSON
	}
	if inner, ok := wrapped["$text"]; ok {
		var s string
		if isString(inner) && json.Unmarshal(inner, &s) == nil {
			return inner, Text
		}
	}
	if inner, ok := wrapped["$binary"]; ok {
		var b []byte
		if isString(inner) && json.Unmarshal(inner, &b) == nil {
			return inner, Binary
		}
	}
	return payload, JSON
}

// isString tells a JSON string from null, which decodes into anything, and from
// an array of numbers, which decodes into bytes.
func isString(inner json.RawMessage) bool { return len(inner) > 0 && inner[0] == '"' }

// Sender says who sent a message.
type Sender struct {
	Type string `json:"type,omitempty"`
	ID   string `json:"id,omitempty"`
}

// Envelope is what a device receives for a reliable message or a command.
type Envelope struct {
	Type        PushType
	ID          string
	Seq         int64
	Payload     json.RawMessage // as stored: for a command {"type":…,"data":…}
	Sender      Sender
	SentAt      time.Time
	RequestID   string
	ExpiresAt   time.Time
	PayloadType PayloadType
}

// CommandPayload is the payload column of a command.
type CommandPayload struct {
	Type string          `json:"type"`
	Data json.RawMessage `json:"data"`
}

// Hint tells nodes about a stored message, on the channel Names.Deliver (ours).
// It holds all that a node needs to deliver without reading the row.
type Hint struct {
	ID            string        `json:"id"`
	Type          PushType      `json:"k"`
	Seq           int64         `json:"seq,omitempty"`
	RequestID     string        `json:"req,omitempty"`
	ResponseQueue string        `json:"rq,omitempty"`
	RetryInterval time.Duration `json:"ri,omitempty"`
	// ExpiresAt is in microseconds since 1970, by the clock of the database.
	ExpiresAt int64 `json:"exp,omitempty"`
	// SentAt is when it was sent, likewise.
	SentAt int64 `json:"at,omitempty"`
	// TraceParent and TraceState are the trace of the send, if that is sampled.
	TraceParent string `json:"tp,omitempty"`
	TraceState  string `json:"ts,omitempty"`
	// Origin is how a node came to know the message, if not by the hint.
	Origin   Origin          `json:"-"`
	Envelope json.RawMessage `json:"-"`
}

// Origin says how a node came to know a message.
type Origin string

// The origins.
const (
	FromHint         Origin = "hint"
	FromNotification Origin = "notification"
	FromCatchUp      Origin = "catch_up"
	FromRound        Origin = "round"
	FromTakeover     Origin = "takeover"
)

// errHint is returned for a hint that this version does not understand; the
// message is in the database all the same.
var errHint = errors.New("not a delivery hint")

// Encode returns the bytes to publish: a line of JSON, then the envelope, so
// that a node passes the envelope on without parsing it.
func (h *Hint) Encode() []byte {
	head, _ := json.Marshal(h) // strings and numbers always encode
	buf := make([]byte, 0, len(head)+1+len(h.Envelope))
	return append(append(append(buf, head...), '\n'), h.Envelope...)
}

// DecodeHint reads what Encode wrote. The envelope is a copy.
func DecodeHint(b []byte) (*Hint, error) {
	head, envelope, ok := bytes.Cut(b, []byte{'\n'})
	if !ok {
		return nil, errHint
	}
	var h Hint
	if err := json.Unmarshal(head, &h); err != nil {
		return nil, fmt.Errorf("%w: %w", errHint, err)
	}
	if h.ID == "" || (h.Type != Reliable && h.Type != Command) {
		return nil, errHint
	}
	if !jsonvalid.Syntax(envelope) {
		return nil, fmt.Errorf("%w: envelope is not JSON", errHint)
	}
	h.Envelope = bytes.Clone(envelope)
	return &h, nil
}

// Expiry returns ExpiresAt as a time, zero if there is none.
func (h *Hint) Expiry() time.Time {
	if h.ExpiresAt == 0 {
		return time.Time{}
	}
	return time.UnixMicro(h.ExpiresAt)
}

// DeviceError is a device's answer that says the command failed. It travels as
// {"error":{"code":"…","message":"…"}} in command_response and to the waiting
// client, so that SDKs that do not know it still see what happened.
type DeviceError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Encode returns the response JSON of the error.
func (e DeviceError) Encode() json.RawMessage {
	raw, _ := json.Marshal(struct { // strings always encode
		Error DeviceError `json:"error"`
	}{e})
	return raw
}

// ParseDeviceError recognises exactly what Encode writes: an object with the
// one member "error" that has the two string members and no other.
func ParseDeviceError(response json.RawMessage) (DeviceError, bool) {
	if !bytes.Contains(response, []byte(`"error"`)) && bytes.IndexByte(response, '\\') < 0 {
		return DeviceError{}, false // most answers; a key with escapes could be the word as well
	}
	var outer map[string]json.RawMessage
	if json.Unmarshal(response, &outer) != nil || len(outer) != 1 {
		return DeviceError{}, false
	}
	var inner map[string]*string
	if json.Unmarshal(outer["error"], &inner) != nil || len(inner) != 2 {
		return DeviceError{}, false
	}
	code, message := inner["code"], inner["message"]
	if code == nil || message == nil {
		return DeviceError{}, false
	}
	return DeviceError{Code: *code, Message: *message}, true
}
