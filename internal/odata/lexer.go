package odata

import (
	"strconv"
	"strings"
)

const space = " \t\r\n"

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenName
	tokenString
	tokenInt
	tokenPunctuation // ( ) ,
)

// lexeme is one token of a filter. text is its source, except that it is the
// unescaped text of a string.
type lexeme struct {
	kind tokenKind
	text string
	n    int64
	pos  int
}

// scan reads the token at p.pos into p.next.
func (p *parser) scan() error {
	src := p.source
	for p.pos < len(src) && strings.IndexByte(space, src[p.pos]) >= 0 {
		p.pos++
	}
	start := p.pos
	p.next = lexeme{pos: start}
	if start == len(src) {
		return nil
	}
	switch c := src[start]; {
	case c == '(' || c == ')' || c == ',':
		p.pos++
		p.next.kind, p.next.text = tokenPunctuation, src[start:p.pos]
		return nil
	case c == '\'':
		return p.scanString()
	case isDigit(c) || c == '-' && start+1 < len(src) && isDigit(src[start+1]):
		for p.pos++; p.pos < len(src) && (isDigit(src[p.pos]) || isNameByte(src[p.pos]) || src[p.pos] == '.'); p.pos++ {
		}
		text := src[start:p.pos]
		// 32 bits, as OData's Int32: a longer number, a fraction and a GUID are types
		// that filters do not have.
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return p.fail("Token '" + shorten(text) + "' is not supported.")
		}
		p.next.kind, p.next.text, p.next.n = tokenInt, text, n
		return nil
	case isNameByte(c):
		for p.pos++; p.pos < len(src) && (isNameByte(src[p.pos]) || isDigit(src[p.pos])); p.pos++ {
		}
		p.next.kind, p.next.text = tokenName, src[start:p.pos]
		return nil
	default:
		return p.fail("Unexpected character at position " + strconv.Itoa(start) + ".")
	}
}

func (p *parser) scanString() error {
	src, start := p.source, p.pos
	for end := start + 1; end < len(src); end++ {
		if src[end] != '\'' {
			continue
		}
		if end+1 < len(src) && src[end+1] == '\'' {
			end++
			continue
		}
		p.pos = end + 1
		p.next.kind = tokenString
		p.next.text = strings.ReplaceAll(src[start+1:end], "''", "'")
		return nil
	}
	return p.fail("The string at position " + strconv.Itoa(start) + " has no end.")
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
}
