package main

import (
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

// The table of docs/configuration.md has each variable once, and its default.
func TestConfigurationTable(t *testing.T) {
	t.Parallel()
	want := libraryVariables(t)
	for name, value := range map[string]string{
		"MSG_HUB":             gateway.DefaultHub,
		"MSG_MAX_PAYLOAD":     strconv.Itoa(gateway.DefaultMaxPayload),
		"MSG_CONNECT_TIMEOUT": gateway.DefaultConnectTimeout.String(),
		"MSG_DRAIN_TIMEOUT":   gateway.DefaultDrainTimeout.String(),
	} {
		require.Contains(t, want, name)
		want[name] = value
	}
	fs, _ := serveFlags()
	fs.VisitAll(func(f *flag.Flag) {
		require.Contains(t, serveVariables, f.Name, "a flag without a variable")
		want[serveVariables[f.Name]] = f.DefValue
	})
	require.Len(t, want, len(libraryVariables(t))+len(serveVariables), "one variable with two meanings")

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

// libraryVariables reads the tags in environment.go: the defaults by name,
// empty where the tag has none.
func libraryVariables(t *testing.T) map[string]string {
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
