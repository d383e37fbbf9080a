package protocol

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestValidNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"g": true, " g ": true, "a/b*?": true, "größe": true, "\x00": true,
		strings.Repeat("g", 1024): true, strings.Repeat("ä", 1024): true,
		"": false, " ": false, "\t\u00a0\u2003": false,
		strings.Repeat("g", 1025): false, strings.Repeat("ä", 1025): false,
	} {
		require.Equal(t, want, ValidGroup(name), "group %.20q", name)
	}
	for name, want := range map[string]bool{
		"e": true, "Evt_1.2-x": true, "e" + strings.Repeat("1", 127): true,
		"": false, "1e": false, "_e": false, "e e": false, "e:f": false, "ä": false,
		"e" + strings.Repeat("1", 128): false,
	} {
		require.Equal(t, want, ValidEvent(name), "event %.20q", name)
	}
	for name, want := range map[string]bool{
		"h": true, "Hub_`,.[]9": true, "h" + strings.Repeat("1", 127): true,
		"": false, "9h": false, "h-b": false, "h/b": false, "h" + strings.Repeat("1", 128): false,
	} {
		require.Equal(t, want, ValidHub(name), "hub %.20q", name)
	}
}

func TestValidateMetadata(t *testing.T) {
	t.Parallel()
	big := map[string]string{}
	for i := range 8 {
		big[strings.Repeat("k", 4)+string(rune('a'+i))] = strings.Repeat("v", 1019)
	}
	require.NoError(t, ValidateMetadata(big), "8 * (5+1019) = 8192")
	big["x"] = ""
	for name, m := range map[string]map[string]string{
		"total":       big,
		"empty key":   {"": "v"},
		"key char":    {"a b": "v"},
		"key unicode": {"ä": "v"},
		"key length":  {strings.Repeat("k", 257): "v"},
		"value":       {"k": "ä"},
		"newline":     {"k": "a\r\nx: y"},
		"delete":      {"k": "\x7f"},
		"value len":   {"k": strings.Repeat("v", 1025)},
	} {
		var typed *Error
		require.ErrorAs(t, ValidateMetadata(m), &typed, name)
	}
	require.NoError(t, ValidateMetadata(nil))
	require.NoError(t, ValidateMetadata(map[string]string{"!#$%&'*+-.^_`|~09az": "a\t~ ", strings.Repeat("k", 256): strings.Repeat("v", 1024)}))
}
