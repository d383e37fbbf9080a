package roles

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPatternMatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern  string
		match    []string
		mismatch []string
	}{
		{"room", []string{"room"}, []string{"", "Room", "room.", "rooms", "aroom"}},
		{"*", []string{"", "room", "größe"}, []string{".", "a.b"}},
		{"**", []string{"", ".", "a.b.c"}, nil},
		{"***", []string{"", ".", "a.b.c"}, nil},
		{"?", []string{"a", "ä", "😀", "*"}, []string{"", ".", "ab"}},
		{"room.*", []string{"room.", "room.7"}, []string{"room", "room.7.8", "xroom.7"}},
		{"room.**", []string{"room.", "room.7.8"}, []string{"room"}},
		{"*.*", []string{".", "a.b"}, []string{"a", "a.b.c"}},
		{"*.*.*.*.*", []string{"a.b.c.d.e", "...."}, []string{"a.b.c.d", "a.b.c.d.e.f"}},
		{"a?c", []string{"abc", "aäc"}, []string{"a.c", "ac", "abbc"}},
		{"?*", []string{"a", "ab"}, []string{"", ".", "a."}},
		{"*?", []string{"a", "ab"}, []string{"", ".", "a."}},
		{"**?", []string{"a", "a.b", ".b"}, []string{"", ".", "a."}},
		{`\*`, []string{"*"}, []string{"a", `\*`}},
		{`\?\\`, []string{`?\`}, []string{`a\`}},
		{`a\**`, []string{"a*", "a*b"}, []string{"a", "ab"}},
		{"**.log", []string{".log", "a.b.log"}, []string{"log", "a.logs"}},
		{"a**b*c", []string{"abc", "a.b.bc", "axbyc"}, []string{"ab.c", "abcd"}},
		{"**aab", []string{"aaaab"}, []string{"aaaa"}},
	} {
		p, _, err := ParsePattern(tc.pattern)
		require.NoError(t, err, tc.pattern)
		require.Equal(t, tc.pattern, p.String())
		for _, name := range tc.match {
			require.True(t, p.Match(name), "%q should match %q", tc.pattern, name)
		}
		for _, name := range tc.mismatch {
			require.False(t, p.Match(name), "%q should not match %q", tc.pattern, name)
		}
	}
}

func TestParsePattern(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]error{
		"": ErrPatternEmpty, `a\`: ErrPatternEscape, `a\b`: ErrPatternEscape, `\.`: ErrPatternEscape,
	} {
		_, _, err := ParsePattern(pattern)
		require.ErrorIs(t, err, want, pattern)
	}
	for pattern, want := range map[string]int{
		"a": 0, "?": 0, "******": 6, "*.*.*.*.*.*": 6, "**.**.**": 6, `\**\**\**\**\**`: 5, `\*`: 0,
	} {
		_, stars, err := ParsePattern(pattern)
		require.NoError(t, err, pattern)
		require.Equal(t, want, stars, pattern)
	}
}

func TestPatternLiteral(t *testing.T) {
	t.Parallel()
	for pattern, want := range map[string]string{"room.7": "room.7", `a\*\?\\b`: `a*?\b`} {
		p, _, err := ParsePattern(pattern)
		require.NoError(t, err)
		name, ok := p.Literal()
		require.True(t, ok)
		require.Equal(t, want, name)
	}
	p, _, err := ParsePattern("a?")
	require.NoError(t, err)
	_, ok := p.Literal()
	require.False(t, ok)
}

// model translates a pattern into a regular expression.
func model(p Pattern) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for _, t := range p.tokens {
		switch t {
		case oneExceptDot:
			b.WriteString(`[^.]`)
		case manyExceptDot:
			b.WriteString(`[^.]*`)
		case many:
			b.WriteString(`.*`)
		default:
			b.WriteString(regexp.QuoteMeta(string(rune(t))))
		}
	}
	b.WriteString(`\z`)
	return regexp.MustCompile(b.String())
}

func TestPatternAgreesWithRegexp(t *testing.T) {
	t.Parallel()
	source := rapid.StringOfN(rapid.SampledFrom([]rune(`aab..**??\ä`)), 1, 12, -1)
	text := rapid.StringOfN(rapid.SampledFrom([]rune("aab.ä\n*")), 0, 80, -1)
	rapid.Check(t, func(t *rapid.T) {
		p, _, err := ParsePattern(source.Draw(t, "pattern"))
		if err != nil {
			t.Skip(err)
		}
		re := model(p)
		for range 5 {
			name := text.Draw(t, "name")
			require.Equal(t, re.MatchString(name), p.Match(name), "%q on %q", p, name)
		}
	})
}

// hardest returns the longest pattern and name with the most work left to the end.
func hardest(t require.TestingT) (Pattern, string) {
	part := strings.Repeat("a", 202)
	p, _, err := ParsePattern("*" + part + "*" + part + "*" + part + "*" + part + "*" + part + "b")
	require.NoError(t, err)
	return p, strings.Repeat("a", 1024)
}

func TestPatternHasNoCatastrophe(t *testing.T) {
	t.Parallel()
	p, name := hardest(t)
	start := time.Now()
	require.False(t, p.Match(name))
	// About 1 ms; backtracking would take years. The bound leaves room for a busy
	// machine under the race detector.
	require.Less(t, time.Since(start), 2*time.Second)
}

func BenchmarkPatternMatch(b *testing.B) {
	usual, _, err := ParsePattern("tenant-42.room.*")
	require.NoError(b, err)
	worst, name := hardest(b)
	for _, bc := range []struct {
		name    string
		pattern Pattern
		text    string
	}{
		{"match", usual, "tenant-42.room.lobby"},
		{"mismatch", usual, "tenant-43.room.lobby"},
		{"adversarial", worst, name},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				bc.pattern.Match(bc.text)
			}
		})
	}
}
