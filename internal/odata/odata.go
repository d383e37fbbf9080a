// Package odata evaluates the filters that choose connections when a backend sends
// to them or changes their groups: the part of OData of section 5.5 of
// azure-web-pubsub.md.
//
//	filter, err := odata.Parse("userId ne null and 'vip' in groups", odata.DefaultLimits())
//	filter.Match(&odata.Subject{UserID: "ann", Groups: groups})
//
// A filter is parsed and type-checked once and then cannot fail. It has these types:
// string, int, bool, the collection of groups, and null. An expression over a userId
// or protocol that is null is null too, with the exceptions that its function names.
package odata

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits bound a filter.
type Limits struct {
	// Length is in bytes.
	Length int
	// Clauses bounds the comparisons, and as well the operands of and/or.
	Clauses int
	// Depth bounds how deep parentheses, calls and not may be nested.
	Depth int
}

// DefaultLimits are those of section 5.5; the length is ours, enough for an in list of
// a thousand ids.
func DefaultLimits() Limits { return Limits{Length: 64 << 10, Clauses: 100, Depth: 100} }

// MaxLimits are the largest that there may be. Whoever reads a filter that was checked
// within unknown limits takes these.
func MaxLimits() Limits { return Limits{Length: 1 << 20, Clauses: 1000, Depth: 1000} }

// Error says why a filter is not valid. Its text is for the caller of the API.
type Error struct {
	Expression string // the part of the filter that is wrong
	Detail     string
}

// Error implements error.
func (e *Error) Error() string {
	return "Invalid syntax for '" + shorten(e.Expression) + "': " + e.Detail
}

// shorten keeps an error readable when the filter is long.
func shorten(s string) string {
	const limit = 256
	if len(s) <= limit {
		return s
	}
	end := limit
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// Groups are the groups that a connection is in.
type Groups interface {
	Has(group string) bool
	Len() int
}

// GroupSet is the plain implementation of [Groups].
type GroupSet map[string]struct{}

// Has implements [Groups].
func (g GroupSet) Has(group string) bool {
	_, ok := g[group]
	return ok
}

// Len implements [Groups].
func (g GroupSet) Len() int { return len(g) }

var _ Groups = GroupSet(nil)

// Subject is the connection that a filter is applied to.
type Subject struct {
	UserID       string // empty is null: the connection is anonymous
	ConnectionID string
	Protocol     string // the name of the subprotocol; empty is null: a simple client
	Groups       Groups // nil for none
}

// Filter is a valid filter. It is immutable and safe for concurrent use.
type Filter struct {
	source string
	root   *node
}

// Parse reads and type-checks a filter within limits. Its errors are *[Error]. An empty filter
// chooses every connection, as an absent one does.
func Parse(source string, limits Limits) (*Filter, error) {
	if strings.Trim(source, space) == "" {
		return &Filter{source: source, root: &node{op: opLiteral, value: boolean(true)}}, nil
	}
	switch {
	case len(source) > limits.Length:
		return nil, &Error{source, "The filter is longer than " + strconv.Itoa(limits.Length) + " bytes."}
	case !utf8.ValidString(source):
		return nil, &Error{strings.ToValidUTF8(source, "\uFFFD"), "The filter is not valid UTF-8."}
	}
	p := parser{source: source, limits: limits}
	root, err := p.filter()
	if err != nil {
		return nil, err
	}
	if err := check(root, source); err != nil {
		return nil, err
	}
	return &Filter{source: source, root: root}, nil
}

// String is the filter as it was written.
func (f *Filter) String() string { return f.source }

// Match reports whether the filter chooses a connection. A filter whose value is null
// does not.
func (f *Filter) Match(s *Subject) bool {
	return f.root.eval(s) == boolean(true)
}

// Quote makes a string literal of any text, for building filters:
//
//	"userId eq " + odata.Quote(name)
func Quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}
