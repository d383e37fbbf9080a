package protocol

import (
	"unicode/utf16"
	"unicode/utf8"
)

// The scanner below walks JSON that encoding/json has found valid (json.Valid) and
// that is valid UTF-8. It relies on both: it checks no syntax itself. Walking the
// source instead of decoding into maps keeps JSON payloads byte for byte as they
// were sent and makes the small frames free of allocations.

// members iterates over the members of one JSON object.
type members struct {
	src []byte
	pos int
}

// objectMembers starts at an object's source text. ok is false for other values.
func objectMembers(src []byte) (m members, ok bool) {
	pos := skipSpace(src, 0)
	if pos >= len(src) || src[pos] != '{' {
		return members{}, false
	}
	return members{src: src, pos: pos + 1}, true
}

// next returns the source texts of the next name (a quoted string) and value.
func (m *members) next() (name, value []byte, ok bool) {
	pos := skipSpace(m.src, m.pos)
	if m.src[pos] == ',' {
		pos = skipSpace(m.src, pos+1)
	}
	if m.src[pos] == '}' {
		return nil, nil, false
	}
	end := skipString(m.src, pos)
	name = m.src[pos:end]
	pos = skipSpace(m.src, end)   // at the colon
	pos = skipSpace(m.src, pos+1) // at the value
	end = skipValue(m.src, pos)   // after it
	value, m.pos = m.src[pos:end], end
	return name, value, true
}

func skipSpace(src []byte, pos int) int {
	for pos < len(src) && (src[pos] == ' ' || src[pos] == '\n' || src[pos] == '\t' || src[pos] == '\r') {
		pos++
	}
	return pos
}

// skipString expects a quote at pos and returns the position after its partner.
func skipString(src []byte, pos int) int {
	for pos++; src[pos] != '"'; pos++ {
		if src[pos] == '\\' {
			pos++
		}
	}
	return pos + 1
}

// skipValue returns the position after the value at pos. It does not recurse, so
// deep nesting costs no stack.
func skipValue(src []byte, pos int) int {
	switch src[pos] {
	case '"':
		return skipString(src, pos)
	case '{', '[':
		for depth := 0; ; {
			switch src[pos] {
			case '"':
				pos = skipString(src, pos)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			pos++
			if depth == 0 {
				return pos
			}
		}
	default: // number, true, false, null
		for pos < len(src) && !contains(",]} \n\t\r", src[pos]) {
			pos++
		}
		return pos
	}
}

func isString(value []byte) bool { return len(value) > 0 && value[0] == '"' }

func isNull(value []byte) bool { return len(value) > 0 && value[0] == 'n' }

// unquote returns the characters of a quoted string. Without an escape in it the
// result aliases value.
func unquote(value []byte) []byte {
	body := value[1 : len(value)-1]
	for i, c := range body {
		if c == '\\' {
			return appendUnescaped(append(make([]byte, 0, len(body)), body[:i]...), body[i:])
		}
	}
	return body
}

// appendUnescaped resolves escapes like encoding/json: half a surrogate pair becomes
// U+FFFD. The result is never longer than body.
func appendUnescaped(dst, body []byte) []byte {
	for i := 0; i < len(body); {
		if body[i] != '\\' {
			dst = append(dst, body[i])
			i++
			continue
		}
		c := body[i+1]
		i += 2
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(body[i:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(body) >= i+6 && body[i] == '\\' && body[i+1] == 'u' {
					pair = utf16.DecodeRune(r, hex4(body[i+2:]))
				}
				if r = pair; r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default: // quote, backslash, slash
			dst = append(dst, c)
		}
	}
	return dst
}

func hex4(digits []byte) rune {
	var r rune
	for _, c := range digits[:4] {
		switch {
		case c <= '9':
			r = r<<4 | rune(c-'0')
		default:
			r = r<<4 | rune(lowerASCII(c)-'a'+10)
		}
	}
	return r
}
