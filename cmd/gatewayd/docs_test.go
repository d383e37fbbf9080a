package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

// The table of docs/configuration.md has each variable once, and its default.
func TestConfigurationTable(t *testing.T) {
	t.Parallel()
	want := taggedVariables(t)
	for name, value := range map[string]string{
		"MSG_HUB":             gateway.DefaultHub,
		"MSG_MAX_PAYLOAD":     strconv.Itoa(gateway.DefaultMaxPayload),
		"MSG_CONNECT_TIMEOUT": gateway.DefaultConnectTimeout.String(),
		"MSG_DRAIN_TIMEOUT":   gateway.DefaultDrainTimeout.String(),
	} {
		require.Contains(t, want, name)
		want[name] = value
	}
	library := len(want)
	own := 0
	for _, cmd := range allCommands(testProgram(t)) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			variable := f.Annotations[variableOf]
			if len(variable) == 0 || f.Hidden {
				return
			}
			if _, known := want[variable[0]]; !known {
				own++
			}
			want[variable[0]] = f.DefValue
			if f.DefValue == "false" || f.DefValue == "" {
				want[variable[0]] = ""
			}
		})
	}
	require.Len(t, want, library+own, "one variable with two meanings")

	doc, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(MSG_\\w+)` \\| .+ \\| (\\S+) \\| \\w+ \\|$").FindAllStringSubmatch(string(doc), -1) {
		require.NotContains(t, documented, row[1], "documented twice")
		documented[row[1]] = strings.Trim(strings.TrimPrefix(row[2], "none"), "`")
	}
	for name, value := range want {
		require.Contains(t, documented, name, "not in the table")
		if value != "" {
			require.Equal(t, value, documented[name], name)
		}
	}
	for name := range documented {
		require.Contains(t, want, name, "in the table, but nobody reads it")
	}
}

// taggedVariables reads the tags in environment.go: the defaults by name,
// empty where the tag has none.
func taggedVariables(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../environment.go", nil, 0)
	require.NoError(t, err)
	variables := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if field, ok := n.(*ast.Field); ok && field.Tag != nil {
			raw, err := strconv.Unquote(field.Tag.Value)
			require.NoError(t, err)
			tag := reflect.StructTag(raw)
			if name := tag.Get("env"); name != "" {
				variables[name] = tag.Get("envDefault")
			}
		}
		return true
	})
	require.NotEmpty(t, variables)
	return variables
}

// The table of this program names the variables of the library, no others, and
// has a flag for each that is no secret.
func TestVariablesOfTheLibrary(t *testing.T) {
	t.Parallel()
	tagged := taggedVariables(t)
	for _, v := range libraryVariables {
		require.Contains(t, tagged, v.name)
		delete(tagged, v.name)
		require.Equal(t, strings.Contains(v.name, "PASSWORD") || strings.Contains(v.name, "ACCESS_KEY"), v.secret, v.name)
		f := newRoot(testProgram(t)).PersistentFlags().Lookup(v.flag())
		require.Equal(t, v.secret, f == nil, "a secret has no flag, and all others have: %s", v.name)
	}
	require.Empty(t, tagged, "not in variables.go")
}
