package gateway

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/message-gateway/gateway/internal/odata"
)

// FilterString quotes a value for use in a filter.
func FilterString(value string) string { return odata.Quote(value) }

// Filter builds a filter: each ? in the format, outside of quotes, becomes the
// literal of the next argument, so that no value can change what the filter
// means. Arguments are strings, bools, integers, nil for null, and lists of
// strings, which are not empty, for in:
//
//	Filter("userId in ? and length(userId) gt ?", []string{"ann", "o'brien"}, 3)
//
// A format that does not fit its arguments, and an argument of another type,
// make a filter that is ErrInvalidFilter wherever it is used.
func Filter(format string, args ...any) string {
	var b strings.Builder
	quoted := false
	for _, r := range format {
		switch {
		case r == '\'':
			quoted = !quoted
			b.WriteRune(r)
		case r != '?' || quoted:
			b.WriteRune(r)
		case len(args) == 0:
			b.WriteString("!missing")
		default:
			b.WriteString(filterLiteral(args[0]))
			args = args[1:]
		}
	}
	if len(args) > 0 {
		b.WriteString("!extra")
	}
	return b.String()
}

// filterLiteral writes what no filter takes, an exclamation mark, for a value
// that has no literal.
func filterLiteral(value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case string:
		return odata.Quote(v)
	case bool:
		return strconv.FormatBool(v)
	case []string:
		if len(v) == 0 {
			return "!empty"
		}
		list := make([]string, len(v))
		for i, s := range v {
			list[i] = odata.Quote(s)
		}
		return "(" + strings.Join(list, ",") + ")"
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return fmt.Sprint(v)
	default:
		return fmt.Sprintf("!%T", v)
	}
}
