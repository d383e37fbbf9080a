package protocol

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a JSON string that is also safe inside JavaScript
// source: U+2028 and U+2029 are escaped, and bytes that are not UTF-8 become U+FFFD.
// It writes what encoding/json writes without HTML escaping, as a test asserts.
func appendJSONString[S ~string | ~[]byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			dst = append(dst, s[start:i]...)
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\b':
				dst = append(dst, '\\', 'b')
			case '\f':
				dst = append(dst, '\\', 'f')
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
			}
			i++
			start = i
			continue
		}
		// The conversion of a short slice does not allocate.
		r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
		switch {
		case r == utf8.RuneError && size == 1:
			dst = append(append(dst, s[start:i]...), `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029':
			dst = append(append(dst, s[start:i]...), `\u202`...)
			dst = append(dst, hexDigits[r&0xf])
			start = i + size
		}
		i += size
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// appendJSONData appends `"dataType":...,"data":...`. Both are always there, since
// the JavaScript client drops a message without them (section 3.3).
func appendJSONData(dst []byte, d Data) []byte {
	switch d.Type {
	case JSON:
		dst = append(dst, `"dataType":"json","data":`...)
		if len(d.Bytes) == 0 {
			return append(dst, `null`...)
		}
		return append(dst, d.Bytes...)
	case Binary:
		dst = append(dst, `"dataType":"binary","data":"`...)
	case Protobuf:
		dst = append(dst, `"dataType":"protobuf","data":"`...)
	default:
		dst = append(dst, `"dataType":"text","data":`...)
		return appendJSONString(dst, d.Bytes)
	}
	dst = base64.StdEncoding.AppendEncode(dst, d.Bytes)
	return append(dst, '"')
}

// appendJSONMap appends an object of strings, in the order of its keys so that equal
// frames have equal bytes.
func appendJSONMap(dst []byte, entries map[string]string) []byte {
	dst = append(dst, '{')
	for i, key := range slices.Sorted(maps.Keys(entries)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, key)
		dst = append(dst, ':')
		dst = appendJSONString(dst, entries[key])
	}
	return append(dst, '}')
}

// appendJSONError appends `"error":{...}`.
func appendJSONError(dst []byte, e *ErrorDetail) []byte {
	dst = append(dst, `"error":{"name":`...)
	dst = appendJSONString(dst, e.Name)
	dst = append(dst, `,"message":`...)
	dst = appendJSONString(dst, e.Message)
	if e.UserErrorCode != "" {
		dst = append(dst, `,"userErrorCode":`...)
		dst = appendJSONString(dst, e.UserErrorCode)
	}
	return append(dst, '}')
}

func appendJSONConnected(dst []byte, c Connected) []byte {
	dst = append(dst, `{"type":"system","event":"connected",`...)
	if c.UserID != "" {
		dst = append(dst, `"userId":`...)
		dst = appendJSONString(dst, c.UserID)
		dst = append(dst, ',')
	}
	dst = append(dst, `"connectionId":`...)
	dst = appendJSONString(dst, c.ConnectionID)
	if c.ReconnectionToken != "" {
		dst = append(dst, `,"reconnectionToken":`...)
		dst = appendJSONString(dst, c.ReconnectionToken)
	}
	return append(dst, '}')
}

func appendJSONDisconnected(dst []byte, message string) []byte {
	dst = append(dst, `{"type":"system","event":"disconnected","message":`...)
	dst = appendJSONString(dst, message)
	return append(dst, '}')
}

func appendJSONAck(dst []byte, ackID uint64, failure *ErrorDetail) []byte {
	dst = append(dst, `{"type":"ack","ackId":`...)
	dst = strconv.AppendUint(dst, ackID, 10)
	if failure == nil {
		return append(dst, `,"success":true}`...)
	}
	dst = append(dst, `,"success":false,`...)
	dst = appendJSONError(dst, failure)
	return append(dst, '}')
}

func appendJSONInvokeResponse(dst []byte, r *Response) []byte {
	dst = append(dst, `{"type":"invokeResponse","invocationId":`...)
	dst = appendJSONString(dst, r.InvocationID)
	if r.Error != nil {
		dst = append(dst, `,"success":false,`...)
		dst = appendJSONError(dst, r.Error)
	} else {
		dst = append(dst, `,"success":true,`...)
		dst = appendJSONData(dst, r.Data)
	}
	if len(r.Metadata) > 0 {
		dst = append(dst, `,"metadata":`...)
		dst = appendJSONMap(dst, r.Metadata)
	}
	return append(dst, '}')
}

func appendJSONStreamAck(dst []byte, streamID string, expected uint64) []byte {
	dst = append(dst, `{"type":"streamAck","streamId":`...)
	dst = appendJSONString(dst, streamID)
	dst = append(dst, `,"expectedSequenceId":`...)
	dst = strconv.AppendUint(dst, expected, 10)
	return append(dst, '}')
}

func appendJSONStreamNack(dst []byte, streamID string, expected uint64, reason ErrorDetail) []byte {
	dst = append(dst, `{"type":"streamNack","streamId":`...)
	dst = appendJSONString(dst, streamID)
	dst = append(dst, `,"expectedSequenceId":`...)
	dst = strconv.AppendUint(dst, expected, 10)
	dst = append(dst, `,"name":`...)
	dst = appendJSONString(dst, reason.Name)
	dst = append(dst, `,"message":`...)
	dst = appendJSONString(dst, reason.Message)
	return append(dst, '}')
}

func appendJSONStreamClosed(dst []byte, streamID string, failure *ErrorDetail) []byte {
	dst = append(dst, `{"type":"streamClosed","streamId":`...)
	dst = appendJSONString(dst, streamID)
	if failure != nil {
		dst = append(dst, ',')
		dst = appendJSONError(dst, failure)
	}
	return append(dst, '}')
}

// appendJSONMessage appends a message frame without its opening brace and sequenceId.
func appendJSONMessage(dst []byte, m *Message) []byte {
	if m.Group == "" {
		dst = append(dst, `"type":"message","from":"server",`...)
	} else {
		dst = append(dst, `"type":"message","from":"group","group":`...)
		dst = appendJSONString(dst, m.Group)
		dst = append(dst, ',')
		if m.FromUserID != "" {
			dst = append(dst, `"fromUserId":`...)
			dst = appendJSONString(dst, m.FromUserID)
			dst = append(dst, ',')
		}
	}
	dst = appendJSONData(dst, m.Data)
	if len(m.Metadata) > 0 {
		dst = append(dst, `,"metadata":`...)
		dst = appendJSONMap(dst, m.Metadata)
	}
	if s := m.Stream; s != nil {
		dst = append(dst, `,"stream":{"streamId":`...)
		dst = appendJSONString(dst, s.StreamID)
		dst = append(dst, `,"streamSequenceId":`...)
		dst = strconv.AppendUint(dst, s.SequenceID, 10)
		if s.EndOfStream {
			dst = append(dst, `,"endOfStream":true`...)
		}
		if s.Error != nil {
			dst = append(dst, ',')
			dst = appendJSONError(dst, s.Error)
		}
		dst = append(dst, '}')
	}
	return append(dst, '}')
}

// appendJSONGroupState appends a group state frame without its opening brace and
// sequenceId.
func appendJSONGroupState(dst []byte, g *GroupState) []byte {
	if g.Snapshot {
		dst = append(dst, `"type":"groupStateSnapshot","group":`...)
	} else {
		dst = append(dst, `"type":"groupStateUpdate","group":`...)
	}
	dst = appendJSONString(dst, g.Group)
	dst = append(dst, `,"items":[`...)
	for i, item := range g.Items {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"connectionId":`...)
		dst = appendJSONString(dst, item.ConnectionID)
		if item.UserID != "" {
			dst = append(dst, `,"userId":`...)
			dst = appendJSONString(dst, item.UserID)
		}
		if item.State != nil {
			dst = append(dst, `,"state":`...)
			dst = appendJSONMap(dst, item.State)
		}
		dst = append(dst, `,"updatedAt":`...)
		dst = strconv.AppendInt(dst, item.UpdatedAt, 10)
		dst = append(dst, '}')
	}
	return append(dst, `]}`...)
}
