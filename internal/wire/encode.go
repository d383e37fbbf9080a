package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/message-gateway/gateway/internal/jsonvalid"
)

// Encode returns the JSON of the envelope. It is written by hand: there is one
// for every message that is sent, and encoding/json would read the payload twice,
// byte by byte. Members that are empty are left out. The payload keeps its white
// space. A stored payload that is no JSON (which a column of type JSON prevents)
// is an error.
func (e *Envelope) Encode() (json.RawMessage, error) {
	var command CommandPayload
	payload := e.Payload
	if e.Type == Command {
		var err error
		if command, err = decodeCommandPayload(payload); err != nil {
			return nil, fmt.Errorf("payload of command %s: %w", e.ID, err)
		}
		payload = command.Data
	}
	payload, kind := Unwrap(orNull(payload))
	if e.Type != Command && !jsonvalid.Syntax(payload) {
		return nil, fmt.Errorf("encode: payload of message %s: %w", e.ID, errNotJSON)
	}
	const names = `{"kind":"reliable","id":"","seq":9223372036854775807,"requestId":"","type":"","payload":,"payloadType":"binary","sender":{"type":"","id":""},"sentAt":"","expiresAt":""}`
	out := make([]byte, 0, len(names)+2*len(timeLayout)+
		len(e.ID)+len(e.RequestID)+len(command.Type)+len(payload)+len(e.Sender.Type)+len(e.Sender.ID))
	nameOfData, nameOfType := `,"payload":`, `,"payloadType":`
	if e.Type == Command {
		out = append(out, `{"kind":"command"`...)
		nameOfData, nameOfType = `,"data":`, `,"dataType":`
	} else {
		out = append(out, `{"kind":"reliable"`...)
	}
	out = appendString(append(out, `,"id":`...), e.ID)
	if e.Seq != 0 {
		out = strconv.AppendInt(append(out, `,"seq":`...), e.Seq, 10)
	}
	if e.Type == Command {
		out = appendString(append(out, `,"requestId":`...), e.RequestID)
		out = appendString(append(out, `,"type":`...), command.Type)
	}
	out = append(append(out, nameOfData...), payload...)
	if kind != JSON {
		out = appendString(append(out, nameOfType...), kind.String())
	}
	out = e.Sender.append(append(out, `,"sender":`...))
	out = appendTime(out, `,"sentAt":"`, e.SentAt)
	if e.Type == Command {
		out = appendTime(out, `,"expiresAt":"`, e.ExpiresAt)
	}
	return append(out, '}'), nil
}

var errNotJSON = errors.New("not JSON")

// Encode returns the JSON of the column. The data must be JSON; nil stands for
// null.
func (p CommandPayload) Encode() json.RawMessage {
	data := orNull(p.Data)
	out := make([]byte, 0, len(`{"type":"","data":}`)+len(p.Type)+len(data))
	out = appendString(append(out, `{"type":`...), p.Type)
	out = append(append(out, `,"data":`...), data...)
	return append(out, '}')
}

// decodeCommandPayload reads a column. What Encode wrote, and the server kept as
// it was, needs no more than a look at the data.
func decodeCommandPayload(raw json.RawMessage) (p CommandPayload, err error) {
	if rest, ok := bytes.CutPrefix(raw, []byte(`{"type":"`)); ok {
		n := bytes.IndexFunc(rest, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r >= utf8.RuneSelf })
		data, ok := bytes.CutPrefix(rest[max(n, 0):], []byte(`","data":`))
		if data, closed := bytes.CutSuffix(data, []byte{'}'}); ok && closed && jsonvalid.Syntax(data) {
			return CommandPayload{Type: string(rest[:n]), Data: data}, nil
		}
	}
	return readCommandPayload(raw)
}

// readCommandPayload is decodeCommandPayload for any writer's JSON.
func readCommandPayload(raw json.RawMessage) (p CommandPayload, err error) {
	err = json.Unmarshal(raw, &p)
	return p, err
}

func (s Sender) append(out []byte) []byte {
	out = append(out, '{')
	if s.Type != "" {
		out = appendString(append(out, `"type":`...), s.Type)
	}
	if s.ID != "" {
		if s.Type != "" {
			out = append(out, ',')
		}
		out = appendString(append(out, `"id":`...), s.ID)
	}
	return append(out, '}')
}

const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// appendTime appends a time behind its name, or nothing for the zero time.
func appendTime(out []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return out
	}
	return append(t.UTC().AppendFormat(append(out, name...), timeLayout), '"')
}

// appendString appends s as a JSON string.
func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(s) // strings always encode
			return append(out, quoted...)
		}
	}
	out = append(append(out, '"'), s...)
	return append(out, '"')
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
