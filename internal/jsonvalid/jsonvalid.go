// Package jsonvalid checks JSON texts that callers hand over, several times as
// fast as encoding/json does: every payload of every send goes through it.
package jsonvalid

import (
	"encoding/binary"
	"unicode/utf8"
)

// maxDepth is how deep encoding/json lets arrays and objects be nested.
const maxDepth = 10000

// Valid reports whether data is one JSON value in valid UTF-8: whether
// json.Valid and utf8.Valid both hold. (RFC 8259.)
func Valid(data []byte) bool {
	s := scanner{data: data}
	return s.run() && (s.high&highBits == 0 || utf8.Valid(data))
}

// Syntax reports what json.Valid does: strings may hold any bytes.
func Syntax(data []byte) bool {
	s := scanner{data: data}
	return s.run()
}

type scanner struct {
	data []byte
	at   int
	// high has a high bit set if a string holds bytes beyond ASCII.
	high uint64
	// depth counts the arrays and objects that are open; objects has a bit set
	// for those of them that are objects, and deeper the same of those that have
	// no room there.
	depth   int
	objects uint64
	deeper  []bool
}

// open notes an array or object.
func (s *scanner) open(object bool) {
	if s.depth >= 64 {
		s.deeper = append(s.deeper, object)
	} else if s.objects <<= 1; object {
		s.objects |= 1
	}
	s.depth++
}

// inObject reports whether what was opened last is an object.
func (s *scanner) inObject() bool {
	if n := len(s.deeper); n > 0 {
		return s.deeper[n-1]
	}
	return s.objects&1 != 0
}

func (s *scanner) close() {
	s.depth--
	if n := len(s.deeper); n > 0 {
		s.deeper = s.deeper[:n-1]
	} else {
		s.objects >>= 1
	}
}

// run scans values and what stands between them, without recursion: how deep
// data is nested is up to strangers.
func (s *scanner) run() bool {
	for {
		if !s.value() {
			return false
		}
		// After a value: close what ends here, or go on to the next value.
		for {
			c := s.next()
			if s.depth == 0 {
				return c == 0 && s.at == len(s.data)
			}
			object := s.inObject()
			if c == ',' {
				s.at++
				if object && !s.name() {
					return false
				}
				break
			}
			if (object && c != '}') || (!object && c != ']') {
				return false
			}
			s.at++
			s.close()
		}
	}
}

// value scans a value, with the brackets that it opens, up to the end of the
// first value that is neither an array nor an object, or is an empty one.
func (s *scanner) value() bool {
	for {
		c := s.next()
		switch {
		case c == '"':
			return s.text()
		case c == '{' || c == '[':
			s.at++
			if s.depth == maxDepth {
				return false
			}
			// '}' and ']' follow their opening brackets by two in ASCII.
			if s.next() == c+2 {
				s.at++
				return true
			}
			s.open(c == '{')
			if c == '{' && !s.name() {
				return false
			}
		case c == '-' || '0' <= c && c <= '9':
			return s.number()
		case c == 't':
			return s.literal("true")
		case c == 'f':
			return s.literal("false")
		case c == 'n':
			return s.literal("null")
		default:
			return false
		}
	}
}

// name scans the name of a member and its colon.
func (s *scanner) name() bool {
	if s.next() != '"' || !s.text() || s.next() != ':' {
		return false
	}
	s.at++
	return true
}

// next skips white space and returns the byte that follows, or 0 at the end.
func (s *scanner) next() byte {
	for ; s.at < len(s.data); s.at++ {
		switch c := s.data[s.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) literal(word string) bool {
	if len(s.data)-s.at < len(word) || string(s.data[s.at:s.at+len(word)]) != word {
		return false
	}
	s.at += len(word)
	return true
}

// number scans -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number() bool {
	s.pass("-", "")
	if !s.pass("0", "") && !s.digits() {
		return false
	}
	if s.pass(".", "") && !s.digits() {
		return false
	}
	if s.pass("e", "E") {
		s.pass("+", "-")
		return s.digits()
	}
	return true
}

func (s *scanner) pass(a, b string) bool {
	if s.at < len(s.data) {
		if c := s.data[s.at]; c == a[0] || b != "" && c == b[0] {
			s.at++
			return true
		}
	}
	return false
}

func (s *scanner) digits() bool {
	from := s.at
	for s.at < len(s.data) && '0' <= s.data[s.at] && s.data[s.at] <= '9' {
		s.at++
	}
	return s.at > from
}

// The bytes of a word, all at once.
const (
	ones     = 0x0101010101010101
	highBits = 0x80 * ones
)

// text scans a string. It takes eight bytes at a time as long as none of them
// ends the string, begins an escape or is a control character.
func (s *scanner) text() bool {
	data, at := s.data, s.at+1
	for {
		for ; at+8 <= len(data); at += 8 {
			word := binary.LittleEndian.Uint64(data[at:])
			quote, escape := word^('"'*ones), word^('\\'*ones)
			// A byte is zero, or below 0x20, if subtracting borrows from its
			// high bit, which was not set before. Bytes above such a one may
			// seem to be so too; it is found first.
			found := (quote-ones)&^quote | (escape-ones)&^escape | (word-0x20*ones)&^word
			if found&highBits != 0 {
				break
			}
			s.high |= word
		}
		for end := min(at+8, len(data)); at < end; at++ {
			switch c := data[at]; {
			case c == '"':
				s.at = at + 1
				return true
			case c < 0x20:
				return false
			case c == '\\':
				n := escapeLength(data[at+1:])
				if n == 0 {
					return false
				}
				at += n // and the backslash
				end = at + 1
			default:
				s.high |= uint64(c)
			}
		}
		if at >= len(data) {
			return false
		}
	}
}

// escapeLength is how many bytes of an escape follow its backslash; 0 if it is
// none.
func escapeLength(data []byte) int {
	if len(data) == 0 {
		return 0
	}
	switch data[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if len(data) < 5 {
			return 0
		}
		for _, c := range data[1:5] {
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return 0
			}
		}
		return 5
	}
	return 0
}
