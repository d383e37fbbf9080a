package roles

import "errors"

// Errors of [ParsePattern].
var (
	ErrPatternEmpty  = errors.New("roles: pattern is empty")
	ErrPatternEscape = errors.New(`roles: pattern has a \ that is not before \, * or ?`)
)

// Pattern is a wildcard pattern for group names: ? is one character except the dot,
// * any number of them, ** any number of any characters, and \ takes the meaning from
// a following \, * or ?. A pattern covers the whole name and is case-sensitive.
type Pattern struct {
	source string
	tokens []token
}

// token is a character, or a wildcard as a negative number.
type token rune

const (
	oneExceptDot token = -1 - iota
	manyExceptDot
	many
)

// ParsePattern reads a pattern, and counts its * characters; ** has two.
func ParsePattern(source string) (p Pattern, stars int, err error) {
	if source == "" {
		return Pattern{}, 0, ErrPatternEmpty
	}
	p.source = source
	runes := []rune(source)
	for i := 0; i < len(runes); i++ {
		t := token(runes[i])
		switch t {
		case '?':
			t = oneExceptDot
		case '\\':
			i++
			if i == len(runes) || runes[i] != '\\' && runes[i] != '*' && runes[i] != '?' {
				return Pattern{}, 0, ErrPatternEscape
			}
			t = token(runes[i])
		case '*':
			t = manyExceptDot
			stars++
			for ; i+1 < len(runes) && runes[i+1] == '*'; i++ {
				t = many
				stars++
			}
		}
		p.tokens = append(p.tokens, t)
	}
	return p, stars, nil
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.source }

// Literal returns the one name that a pattern without wildcards stands for.
func (p Pattern) Literal() (name string, ok bool) {
	runes := make([]rune, 0, len(p.tokens))
	for _, t := range p.tokens {
		if t < 0 {
			return "", false
		}
		runes = append(runes, rune(t))
	}
	return string(runes), true
}

// all reports whether the pattern matches every name.
func (p Pattern) all() bool { return len(p.tokens) == 1 && p.tokens[0] == many }

// Match reports whether the pattern covers the whole name.
//
// It keeps the set of name prefixes that the tokens so far can match and moves it
// token by token, so the work is at most the product of both lengths for any input:
// there is no backtracking.
func (p Pattern) Match(name string) bool {
	var nameBuffer [64]rune
	text := nameBuffer[:0]
	for _, r := range name {
		text = append(text, r)
	}
	var reachBuffer [65]bool
	reach := reachBuffer[:]
	if len(text)+1 > len(reach) {
		reach = make([]bool, len(text)+1)
	}

	// reach[j] says that the tokens so far match text[:j], for j in [low, high]; what
	// lies outside counts as false. That is a single place until the first star.
	reach[0] = true
	low, high := 0, 0
	for _, t := range p.tokens {
		switch t {
		case manyExceptDot, many:
			for j := low; j < len(text); j++ {
				if reach[j] && (t == many || text[j] != '.') {
					reach[j+1] = true
					high = max(high, j+1)
				}
			}
		default:
			for j := min(high, len(text)-1); j >= low; j-- {
				reach[j+1] = reach[j] && (t == oneExceptDot && text[j] != '.' || text[j] == rune(t))
			}
			low++
			if high = min(high+1, len(text)); low > high {
				return false
			}
		}
	}
	return reach[len(text)]
}
