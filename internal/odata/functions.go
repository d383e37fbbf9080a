package odata

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// function is one of the functions of section 5.5. Arguments beyond required may be
// left out. Strings may be null, ints may not be the literal null but can turn out
// null, as the length of an anonymous user's id does.
type function struct {
	params    []kind
	required  int
	countable bool // takes the collection of groups as well
	result    kind
	eval      func(args [3]value, n int) value
}

var functions = map[string]*function{
	"length": {params: []kind{kindString}, required: 1, countable: true, result: kindInt, eval: length},

	"tolower": transform(strings.ToLower),
	"toupper": transform(strings.ToUpper),
	"trim":    transform(strings.TrimSpace),

	"contains":   predicate(strings.Contains),
	"startswith": predicate(strings.HasPrefix),
	"endswith":   predicate(strings.HasSuffix),

	"indexof":   {params: []kind{kindString, kindString}, required: 2, result: kindInt, eval: indexOf},
	"concat":    {params: []kind{kindString, kindString}, required: 2, result: kindString, eval: concat},
	"substring": {params: []kind{kindString, kindInt, kindInt}, required: 2, result: kindString, eval: substring},
}

// Lengths and positions count UTF-16 code units. The official service and emulator
// are .NET programs whose strings consist of these, and filters must choose the same
// connections here as there. It matters beyond U+FFFF only: an emoji counts 2.

// length of a string or of the groups; null for null.
func length(args [3]value, _ int) value {
	switch v := args[0]; v.kind {
	case kindCollection:
		return integer(v.n)
	case kindString:
		return integer(units(v.s))
	default:
		return value{}
	}
}

// units is the length of s in UTF-16 code units.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r) // no -1: ranging yields no surrogates
	}
	return n
}

// transform is a function from a string to a string; null stays null.
func transform(f func(string) string) *function {
	return &function{params: []kind{kindString}, required: 1, result: kindString, eval: func(args [3]value, _ int) value {
		if args[0].kind != kindString {
			return value{}
		}
		return text(f(args[0].s))
	}}
}

// predicate is a test of two strings; false if one of them is null.
func predicate(f func(s, t string) bool) *function {
	return &function{params: []kind{kindString, kindString}, required: 2, result: kindBool, eval: func(args [3]value, _ int) value {
		return boolean(args[0].kind == kindString && args[1].kind == kindString && f(args[0].s, args[1].s))
	}}
}

// indexOf is -1 if the second string is not in the first, or if one of them is null.
func indexOf(args [3]value, _ int) value {
	if args[0].kind != kindString || args[1].kind != kindString {
		return integer(-1)
	}
	at := strings.Index(args[0].s, args[1].s)
	if at < 0 {
		return integer(-1)
	}
	return integer(units(args[0].s[:at]))
}

// concat takes a null for an empty string, but two of them are null.
func concat(args [3]value, _ int) value {
	if args[0].kind == kindNull && args[1].kind == kindNull {
		return value{}
	}
	return text(args[0].s + args[1].s)
}

// substring is null where the range is not within the string.
func substring(args [3]value, n int) value {
	if args[0].kind != kindString || args[1].kind != kindInt || n == 3 && args[2].kind != kindInt {
		return value{}
	}
	s, start := args[0].s, args[1].n
	size := int64(units(s))
	end := size
	if n == 3 {
		end = start + args[2].n // of 32-bit numbers: no overflow
	}
	if start < 0 || end < start || end > size {
		return value{}
	}
	if size == int64(len(s)) { // ASCII
		return text(s[start:end])
	}
	return text(cut(s, start, end))
}

// cut returns the code units from start to end. Half a surrogate pair at an edge
// becomes U+FFFD, since Go strings cannot hold it.
func cut(s string, start, end int64) string {
	encoded := utf16.Encode([]rune(s))[start:end]
	out := make([]byte, 0, len(s))
	for _, r := range utf16.Decode(encoded) {
		out = utf8.AppendRune(out, r)
	}
	return string(out)
}
