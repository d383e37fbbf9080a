package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/message-gateway/gateway/internal/jsonvalid"
)

// encodeReliable writes the envelope of a reliable message by hand: there is
// one for every message that is sent, and encoding/json would read the payload
// twice, byte by byte. Members that are empty are left out. The payload keeps
// its white space.
func (e *Envelope) encodeReliable() (json.RawMessage, error) {
	payload, kind := Unwrap(orNull(e.Payload))
	if !jsonvalid.Syntax(payload) {
		return nil, fmt.Errorf("encode: payload of message %s: %w", e.ID, errNotJSON)
	}
	const names = `{"kind":"reliable","id":"","seq":9223372036854775807,"payload":,"payloadType":"binary","sender":{"type":"","id":""},"sentAt":""}`
	out := make([]byte, 0, len(names)+len(timeLayout)+len(e.ID)+len(payload)+len(e.Sender.Type)+len(e.Sender.ID))
	out = append(out, `{"kind":"reliable","id":`...)
	out = appendString(out, e.ID)
	if e.Seq != 0 {
		out = append(out, `,"seq":`...)
		out = strconv.AppendInt(out, e.Seq, 10)
	}
	out = append(out, `,"payload":`...)
	out = append(out, payload...)
	if kind != JSON {
		out = append(out, `,"payloadType":`...)
		out = appendString(out, kind.String())
	}
	out = append(out, `,"sender":{`...)
	if e.Sender.Type != "" {
		out = append(out, `"type":`...)
		out = appendString(out, e.Sender.Type)
	}
	if e.Sender.ID != "" {
		if e.Sender.Type != "" {
			out = append(out, ',')
		}
		out = append(out, `"id":`...)
		out = appendString(out, e.Sender.ID)
	}
	out = append(out, '}')
	if !e.SentAt.IsZero() {
		out = append(out, `,"sentAt":"`...)
		out = e.SentAt.UTC().AppendFormat(out, timeLayout)
		out = append(out, '"')
	}
	return append(out, '}'), nil
}

var errNotJSON = errors.New("not JSON")

// appendString appends s as a JSON string.
func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) // strings always encode
			return append(out, quoted...)
		}
	}
	out = append(out, '"')
	out = append(out, s...)
	return append(out, '"')
}
