package odata

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func ann() *Subject {
	return &Subject{
		UserID: "Ann", ConnectionID: "c-1", Protocol: "json.webpubsub.azure.v1",
		Groups: GroupSet{"g1": {}, "room.7": {}, "it's": {}},
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	anonymous := &Subject{ConnectionID: "c-2"}
	emoji := &Subject{UserID: "a😀ä"}
	for _, tc := range []struct {
		filter  string
		subject *Subject
		want    bool
	}{
		{"", ann(), true},
		{" \t\r\n", ann(), true},
		{"true", ann(), true},
		{"false", ann(), false},

		// properties
		{"userId eq 'Ann'", ann(), true},
		{"USERID eq 'Ann' and ConnectionID eq 'c-1' and pRoToCoL eq 'json.webpubsub.azure.v1'", ann(), true},
		{"userId eq 'ann'", ann(), false},
		{"userId ne 'ann'", ann(), true},
		{"'Ann' eq userId", ann(), true},
		{"userId eq null", ann(), false},
		{"userId eq null", anonymous, true},
		{"null eq userId", anonymous, true},
		{"userId ne null", anonymous, false},
		{"userId eq ''", anonymous, false},
		{"protocol eq null", anonymous, true},
		{"connectionId eq null", &Subject{}, false},
		{"null eq null", ann(), true},

		// types that differ are unequal
		{"userId eq 5", ann(), false},
		{"userId ne 5", ann(), true},
		{"true eq 1", ann(), false},

		// numbers
		{"length(userId) eq 3", ann(), true},
		{"length(userId) ne 3", ann(), false},
		{"length(userId) gt 2", ann(), true},
		{"length(userId) gt 3", ann(), false},
		{"length(userId) ge 3", ann(), true},
		{"length(userId) lt 3", ann(), false},
		{"length(userId) le 3", ann(), true},
		{"-2147483648 lt 2147483647", ann(), true},
		{"-1 lt 0", ann(), true},

		// null is neither less nor more
		{"length(userId) gt 0", anonymous, false},
		{"length(userId) le 0", anonymous, false},
		{"length(userId) eq null", anonymous, true},
		{"null lt 1", ann(), false},
		{"1 ge null", ann(), false},

		// in
		{"'g1' in groups", ann(), true},
		{"'G1' in groups", ann(), false},
		{"'g1' in GROUPS", ann(), true},
		{"'it''s' in groups", ann(), true},
		{"userId in groups", anonymous, false},
		{"null in groups", ann(), false},
		{"1 in groups", ann(), false},
		{"'g1' in groups", anonymous, false},
		{"userId in ('Bob', 'Ann')", ann(), true},
		{"userId in ('Bob')", ann(), false},
		{"userId in ('Doe, John','Ann')", ann(), true},
		{"userId in (null, 'Bob')", anonymous, true},
		{"userId in ('Bob')", anonymous, false},
		{"length(userId) in (1,2,3)", ann(), true},
		{"length(userId) in ('3')", ann(), false},
		{"not ('g9' in groups)", ann(), true},

		// functions
		{"length(groups) eq 3", ann(), true},
		{"length(groups) eq 0", anonymous, true},
		{"length(null) eq null", ann(), true},
		{"tolower(userId) eq 'ann'", ann(), true},
		{"toupper(userId) eq 'ANN'", ann(), true},
		{"tolower(userId) eq null", anonymous, true},
		{"trim(' \t a b ') eq 'a b'", ann(), true},
		{"concat(userId,'!') eq 'Ann!'", ann(), true},
		{"concat(userId,'!') eq '!'", anonymous, true},
		{"concat('!',userId) eq '!'", anonymous, true},
		{"concat(userId,null) eq null", anonymous, true},
		{"contains(userId,'nn')", ann(), true},
		{"contains(userId,'N')", ann(), false},
		{"contains(userId,'')", ann(), true},
		{"contains(userId,'')", anonymous, false},
		{"contains(userId,null)", ann(), false},
		{"startswith(userId,'An')", ann(), true},
		{"startswith(userId,'n')", ann(), false},
		{"endswith(userId,'nn')", ann(), true},
		{"endswith(userId,'A')", ann(), false},
		{"indexof(userId,'n') eq 1", ann(), true},
		{"indexof(userId,'x') eq -1", ann(), true},
		{"indexof(userId,'') eq 0", ann(), true},
		{"indexof(userId,'x') eq -1", anonymous, true},
		{"substring(userId,1) eq 'nn'", ann(), true},
		{"substring(userId,3) eq ''", ann(), true},
		{"substring(userId,4) eq null", ann(), true},
		{"substring(userId,-1) eq null", ann(), true},
		{"substring(userId,0,1) eq 'A'", ann(), true},
		{"substring(userId,1,1) eq 'n'", ann(), true},
		{"substring(userId,1,3) eq null", ann(), true},
		{"substring(userId,1,-1) eq null", ann(), true},
		{"substring(userId,0) eq null", anonymous, true},
		{"substring(connectionId,length(userId)) eq null", anonymous, true},
		{"substring(connectionId,0,length(userId)) eq null", anonymous, true},

		// UTF-16 code units
		{"length(userId) eq 4", emoji, true},
		{"indexof(userId,'ä') eq 3", emoji, true},
		{"substring(userId,3) eq 'ä'", emoji, true},
		{"substring(userId,1,2) eq '😀'", emoji, true},
		{"substring(userId,0,2) eq 'a\ufffd'", emoji, true},

		// precedence: not, in, comparison, and, or
		{"true or true and false", ann(), true},
		{"(true or true) and false", ann(), false},
		{"false and false or true", ann(), true},
		{"not false and false", ann(), false},
		{"not (false and false)", ann(), true},
		{"not not true", ann(), true},
		{"not false eq true", ann(), true},
		{"not contains(userId,'x') and true", ann(), true},
		{"true eq 'g1' in groups", ann(), true},
		{"'g1' in groups eq false", ann(), false},
		{"1 eq 1 eq true", ann(), true},
		{"2 gt 1 eq false", ann(), false},
		{"not (length(userId) gt 5)", ann(), true},
		{"((userId eq 'Ann'))", ann(), true},
		{"userId\teq\n'Ann'", ann(), true},
		{"length((userId))eq(3)", ann(), true},
		{"contains(concat(tolower(userId),'-x'), '-') and (length(groups) gt 5 or 'g1' in groups)", ann(), true},
	} {
		f, err := parse(tc.filter)
		require.NoError(t, err, tc.filter)
		require.Equal(t, tc.want, f.Match(tc.subject), tc.filter)
		require.Equal(t, tc.filter, f.String())
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string]string{
		// the official examples
		"( not 'a' )":   "Invalid syntax for 'not 'a'': Type 'string', expect 'bool'.",
		"userId lt 1":   "Invalid syntax for 'userId lt 1': Type 'string', expect 'int'.",
		"invalid(ab,c)": "Invalid syntax for 'invalid(ab,c)': Token 'invalid(ab,c)' is not supported.",
		"ab eq 1":       "Invalid syntax for 'ab eq 1': Token 'ab' is not supported.",

		// types
		"userId":                    "Invalid syntax for 'userId': Type 'string', expect 'bool'.",
		"5":                         "Invalid syntax for '5': Type 'int', expect 'bool'.",
		"null":                      "Invalid syntax for 'null': Type 'null', expect 'bool'.",
		"groups":                    "Invalid syntax for 'groups': Type 'collection', expect 'bool'.",
		"not length(userId) gt 5":   "Invalid syntax for 'not length(userId)': Type 'int', expect 'bool'.",
		"not 'a' in groups":         "Invalid syntax for 'not 'a'': Type 'string', expect 'bool'.",
		"true and userId":           "Invalid syntax for 'true and userId': Type 'string', expect 'bool'.",
		"1 or (true and true)":      "Invalid syntax for '1 or (true and true)': Type 'int', expect 'bool'.",
		"1 gt true":                 "Invalid syntax for '1 gt true': Type 'bool', expect 'int'.",
		"groups eq groups":          "Invalid syntax for 'groups eq groups': Type 'collection', expect 'string'.",
		"'a' in userId":             "Invalid syntax for ''a' in userId': Type 'string', expect 'collection'.",
		"groups in groups":          "Invalid syntax for 'groups in groups': Type 'collection', expect 'string'.",
		"true and 'a' in group":     "Invalid syntax for ''a' in group': Token 'group' is not supported.",
		"not ab":                    "Invalid syntax for 'not ab': Token 'ab' is not supported.",
		"concat(userId,1) eq 'a'":   "Invalid syntax for 'concat(userId,1)': Type 'int', expect 'string'.",
		"contains(groups,'a')":      "Invalid syntax for 'contains(groups,'a')': Type 'collection', expect 'string'.",
		"substring('a','b') eq 'a'": "Invalid syntax for 'substring('a','b')': Type 'string', expect 'int'.",
		"substring('a',null) eq ''": "Invalid syntax for 'substring('a',null)': Type 'null', expect 'int'.",
		"length(5) eq 1":            "Invalid syntax for 'length(5)': Invalid token 'length(5)'.",
		"length() eq 1":             "Invalid syntax for 'length()': Invalid token 'length()'.",
		"contains('a''b')":          "Invalid syntax for 'contains('a''b')': Invalid token 'contains('a''b')'.",
		"substring('a',1,2,3) eq 1": "Invalid syntax for 'substring('a',1,2,3)': Invalid token 'substring('a',1,2,3)'.",
		"LENGTH(userId) eq 1":       "Invalid syntax for 'LENGTH(userId)': Token 'LENGTH(userId)' is not supported.",
		"tolower(ab) eq 'a'":        "Invalid syntax for 'tolower(ab)': Token 'ab' is not supported.",

		// syntax
		"userId eq":               "Invalid syntax for 'userId eq': Unexpected end of the filter.",
		"userId eq 'a' )":         "Invalid syntax for 'userId eq 'a' )': Unexpected ')' at position 14.",
		"(userId eq 'a'":          "Invalid syntax for '(userId eq 'a'': Unexpected end of the filter.",
		"userId eq 'a":            "Invalid syntax for 'userId eq 'a': The string at position 10 has no end.",
		"userId EQ 'a'":           "Invalid syntax for 'userId EQ 'a'': Unexpected 'EQ' at position 7.",
		"userId = 'a'":            "Invalid syntax for 'userId = 'a'': Unexpected character at position 7.",
		"eq 'a'":                  "Invalid syntax for 'eq 'a'': Unexpected 'eq' at position 0.",
		"userId in ('a',)":        "Invalid syntax for 'userId in ('a',)': Unexpected ')' at position 15.",
		"userId in ()":            "Invalid syntax for 'userId in ()': Unexpected ')' at position 11.",
		"userId in ('a' 'b')":     "Invalid syntax for 'userId in ('a' 'b')': Unexpected 'b' at position 15.",
		"userId in (userId)":      "Invalid syntax for 'userId in (userId)': Unexpected 'userId' at position 11.",
		"contains(userId,)":       "Invalid syntax for 'contains(userId,)': Unexpected ')' at position 16.",
		"length(userId) gt 1.5":   "Invalid syntax for 'length(userId) gt 1.5': Token '1.5' is not supported.",
		"length(userId) gt 12ab":  "Invalid syntax for 'length(userId) gt 12ab': Token '12ab' is not supported.",
		"1 lt 2147483648":         "Invalid syntax for '1 lt 2147483648': Token '2147483648' is not supported.",
		"userId eq 'a' userId":    "Invalid syntax for 'userId eq 'a' userId': Unexpected 'userId' at position 14.",
		"- 1 lt 1":                "Invalid syntax for '- 1 lt 1': Unexpected character at position 0.",
		"userId eq \x00":          "Invalid syntax for 'userId eq \x00': Unexpected character at position 10.",
		"userId eq '\xff'":        "Invalid syntax for 'userId eq '\ufffd'': The filter is not valid UTF-8.",
		"groups/any(g: g eq 'a')": "Invalid syntax for 'groups/any(g: g eq 'a')': Unexpected character at position 6.",
	} {
		_, err := parse(filter)
		require.EqualError(t, err, want, filter)
		var typed *Error
		require.ErrorAs(t, err, &typed)
	}
}

func parse(source string) (*Filter, error) { return Parse(source, DefaultLimits()) }

func TestLimits(t *testing.T) {
	t.Parallel()
	t.Run("default", func(t *testing.T) {
		t.Parallel()
		testLimits(t, DefaultLimits())
	})
	t.Run("small", func(t *testing.T) {
		t.Parallel()
		testLimits(t, Limits{Length: 200, Clauses: 3, Depth: 8})
	})
	t.Run("largest", func(t *testing.T) {
		t.Parallel()
		testLimits(t, MaxLimits())
	})
}

// testLimits goes to each limit and one beyond it.
func testLimits(t *testing.T, l Limits) {
	nested := func(n int) string { return strings.Repeat("(", n) + "true" + strings.Repeat(")", n) }
	clauses := func(n int) string {
		return strings.TrimSuffix(strings.Repeat("userId eq 'a' or ", n), " or ")
	}
	call := func(n int) string {
		return strings.Repeat("trim(", n) + "userId" + strings.Repeat(")", n) + " eq 'Ann'"
	}
	length := func(n int) string {
		const head, tail = "userId in ('Ann','", "')"
		return head + strings.Repeat("x", n-len(head)-len(tail)) + tail
	}
	for _, tc := range []struct {
		name string
		good string
		bad  string
	}{
		{"parentheses", nested(l.Depth), nested(l.Depth + 1)},
		{"not", strings.Repeat("not ", l.Depth) + "true", strings.Repeat("not ", l.Depth+1) + "true"},
		{"calls", call(l.Depth), call(l.Depth + 1)},
		{"clauses", clauses(l.Clauses-1) + " or true", clauses(l.Clauses) + " or true"},
		{"comparisons", "1" + strings.Repeat(" ne 2", l.Clauses), "1" + strings.Repeat(" ne 2", l.Clauses+1)},
		{"in", "true", "1" + strings.Repeat(" in (2)", l.Clauses+1)},
		{"and", strings.Repeat("true and ", l.Clauses-1) + "true", strings.Repeat("true and ", l.Clauses) + "true"},
		{"length", length(l.Length), length(l.Length + 1)},
	} {
		f, err := Parse(tc.good, l)
		require.NoError(t, err, tc.name)
		require.True(t, f.Match(ann()), tc.name)
		_, err = Parse(tc.bad, l)
		var typed *Error
		require.ErrorAs(t, err, &typed, tc.name)
		require.Less(t, len(err.Error()), 1000, tc.name)
	}
	// Far beyond any limit, nothing overflows the stack.
	for _, s := range []string{"(", "not ", "trim(", "true and ", "1 eq "} {
		_, err := Parse(strings.Repeat(s, l.Length/len(s)), l)
		require.Error(t, err, s)
	}
}

func TestErrorIsShortened(t *testing.T) {
	t.Parallel()
	_, err := parse(strings.Repeat("ä", 5000))
	require.Error(t, err)
	require.True(t, utf8.ValidString(err.Error()))
	require.Less(t, len(err.Error()), 400)
}

func TestQuote(t *testing.T) {
	t.Parallel()
	require.Equal(t, "'o''x'", Quote("o'x"))
	rapid.Check(t, func(t *rapid.T) {
		user := rapid.StringN(1, -1, -1).Draw(t, "user")
		f, err := parse("userId eq " + Quote(user) + " and userId in (" + Quote(user) + ")")
		require.NoError(t, err)
		require.True(t, f.Match(&Subject{UserID: user}))
		require.False(t, f.Match(&Subject{UserID: user + "'"}))
	})
}

// expression draws a random valid expression of a kind, with parentheses around each
// operation so that its normal form is its source.
func expression(t *rapid.T, want kind, depth int) string {
	pick := func(options ...string) string { return rapid.SampledFrom(options).Draw(t, "pick") }
	if depth == 0 {
		switch want {
		case kindBool:
			return pick("true", "false")
		case kindInt:
			return strconv.Itoa(rapid.IntRange(-5, 5).Draw(t, "int"))
		default:
			return pick("userId", "connectionId", "protocol", "null", "''", "'a''b'", "'😀'", "' Ann'")
		}
	}
	str := func() string { return expression(t, kindString, depth-1) }
	num := func() string { return expression(t, kindInt, depth-1) }
	boolean := func() string { return expression(t, kindBool, depth-1) }
	switch want {
	case kindBool:
		switch rapid.IntRange(0, 6).Draw(t, "bool") {
		case 0:
			return "(" + boolean() + " " + pick("and", "or", "eq", "ne") + " " + boolean() + ")"
		case 1:
			return "(not " + boolean() + ")"
		case 2:
			return "(" + num() + " " + pick("eq", "ne", "gt", "ge", "lt", "le") + " " + num() + ")"
		case 3:
			return "(" + str() + " " + pick("eq", "ne") + " " + str() + ")"
		case 4:
			return "(" + str() + " in " + pick("groups", "('a')", "('a',null,5)") + ")"
		case 5:
			return pick("contains", "startswith", "endswith") + "(" + str() + "," + str() + ")"
		default:
			return boolean()
		}
	case kindInt:
		return pick("length("+str()+")", "length(groups)", "indexof("+str()+","+str()+")", num())
	default:
		return pick(pick("tolower", "toupper", "trim")+"("+str()+")", "concat("+str()+","+str()+")",
			"substring("+str()+","+num()+")", "substring("+str()+","+num()+","+num()+")", str())
	}
}

// Any expression that the type rules allow parses, evaluates, and has a normal form
// with the same meaning.
func TestGeneratedExpressions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		source := expression(t, kindBool, rapid.IntRange(0, 5).Draw(t, "depth"))
		f, err := parse(source)
		var typed *Error
		if errors.As(err, &typed) && strings.Contains(err.Error(), "clauses") {
			t.Skip("too many clauses")
		}
		require.NoError(t, err, source)
		again, err := parse(f.root.String())
		require.NoError(t, err, f.root.String())
		for _, s := range []*Subject{ann(), {}, {UserID: "a'b"}, {UserID: "😀", ConnectionID: "😀ä"}} {
			require.Equal(t, f.Match(s), again.Match(s), source)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"userId eq 'o''x'", "not (length(userId) gt 5) and 'g1' in groups or userId in ('a',null,1,true)",
		"contains(tolower(trim(userId)),'x') eq false", "substring(concat(userId,'😀'),1,indexof(userId,'n')) ne protocol",
		"((", "'", "-1 lt 0", "a(b(c),", "userId in ()",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		filter, err := parse(source)
		if err != nil {
			var typed *Error
			if !errors.As(err, &typed) || typed.Detail == "" {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		again, err := parse(filter.root.String())
		// The normal form has parentheses that the source may do without.
		if err != nil && !strings.Contains(err.Error(), "deep") && !strings.Contains(err.Error(), "longer") {
			t.Fatalf("%q has the normal form %q: %v", source, filter.root.String(), err)
		}
		for _, s := range []*Subject{ann(), {}} {
			if got := filter.Match(s); err == nil && got != again.Match(s) {
				t.Fatalf("%q and its normal form differ", source)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	f, err := parse("userId ne null and ('vip' in groups or startswith(userId,'An')) and not (userId in ('Bob','Eve'))")
	require.NoError(b, err)
	s := ann()
	b.ReportAllocs()
	for b.Loop() {
		f.Match(s)
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, err := parse("userId ne null and ('vip' in groups or startswith(userId,'An'))")
		require.NoError(b, err)
	}
}
