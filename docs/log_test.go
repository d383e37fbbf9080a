package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// logMethods are those of slog.Logger that the library calls.
var logMethods = map[string]bool{"Debug": true, "Info": true, "Warn": true, "Error": true}

// loggers are the names that loggers have in the code.
var loggers = map[string]bool{"Log": true, "log": true, "Logger": true, "logger": true}

// logKeys finds the keys of every line that the library logs: by key, one place
// where it stands.
func logKeys(t *testing.T) map[string]string {
	t.Helper()
	keys := map[string]string{}
	fset := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch filepath.ToSlash(path) {
			case "../bench", "../cmd", "../test", "../examples", "../internal/testenv", "../internal/devicetest", "../.git":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || !isLog(call) {
				return true
			}
			at := fset.Position(call.Pos()).String()
			require.IsType(t, &ast.BasicLit{}, call.Args[0], "%s: the text is no constant", at)
			for i := 1; i < len(call.Args); i += 2 {
				lit, ok := call.Args[i].(*ast.BasicLit)
				require.True(t, ok && lit.Kind == token.STRING, "%s: a key is no constant", at)
				key, err := strconv.Unquote(lit.Value)
				require.NoError(t, err)
				keys[key] = at
			}
			require.Equal(t, 1, len(call.Args)%2, "%s: a key without a value", at)
			return true
		})
		return nil
	})
	require.NoError(t, err)
	return keys
}

// isLog reports whether a call is one of slog.Logger.
func isLog(call *ast.CallExpr) bool {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !logMethods[method.Sel.Name] {
		return false
	}
	switch on := method.X.(type) {
	case *ast.Ident:
		return loggers[on.Name]
	case *ast.SelectorExpr:
		return loggers[on.Sel.Name]
	default:
		return false
	}
}

// The table of log keys has each key that the code writes, and no other: so
// that a message, a user and a connection are called the same everywhere.
func TestLogKeys(t *testing.T) {
	t.Parallel()
	_, text, found := strings.Cut(pages(t)["observability.md"], "## Log")
	require.True(t, found)
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z_]+`(?:, `[a-z_]+`)*) \\|").FindAllStringSubmatch(text, -1) {
		for _, key := range regexp.MustCompile("[a-z_]+").FindAllString(row[1], -1) {
			documented[key] = true
		}
	}
	keys := logKeys(t)
	require.Greater(t, len(keys), 10)
	for key, at := range keys {
		require.True(t, documented[key], "not in the table: %s, at %s", key, at)
	}
	for key := range documented {
		require.Contains(t, keys, key, "nothing logs it")
	}
}

// The trace in observability.md is what the example prints.
func TestWorkedTrace(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile("../example_tracing_test.go")
	require.NoError(t, err)
	_, output, found := strings.Cut(string(example), "// Output:\n")
	require.True(t, found)
	output, _, found = strings.Cut(output, "\n}")
	require.True(t, found)
	lines := strings.Split(strings.ReplaceAll(output, "\t// ", ""), "\n")[1:] // the first one is the answer
	require.Contains(t, pages(t)["observability.md"], "```\n"+strings.Join(lines, "\n")+"\n```")
}
