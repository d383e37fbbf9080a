// Package docs_test checks what can be checked in the documentation.
package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pages are the Markdown files by path from here.
func pages(t *testing.T) map[string]string {
	t.Helper()
	list, err := filepath.Glob("*.md")
	require.NoError(t, err)
	texts := map[string]string{}
	for _, name := range append(list, "../README.md", "../README.zh-CN.md", "../CHANGELOG.md") {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		texts[name] = string(text)
	}
	return texts
}

// A test that a page names as `package: Test` or `package: case` exists.
func TestNamedTestsExist(t *testing.T) {
	t.Parallel()
	reference := regexp.MustCompile("`([a-z][\\w/]*): ([\\w/]+)`")
	sources := map[string]string{}
	found := 0
	for page, text := range pages(t) {
		for _, m := range reference.FindAllStringSubmatch(text, -1) {
			dir, name := m[1], m[2]
			if _, read := sources[dir]; !read {
				sources[dir] = testSources(t, dir)
			}
			exists := strings.Contains(sources[dir], `"`+name+`"`) || strings.Contains(sources[dir], "\nfunc "+name+"(t *testing.T)") ||
				strings.Contains(sources[dir], "\nfunc "+name+"(f *testing.F)")
			if !exists {
				t.Errorf("%s names %s, which does not exist", page, m[0])
			}
			found++
		}
	}
	require.NotZero(t, found)
}

// A test with the official clients that guarantees.md names in italics exists.
func TestNamedConformanceTestsExist(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../test/conformance/*.mjs")
	require.NoError(t, err)
	var sources strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		sources.Write(text)
	}
	names := regexp.MustCompile(`[^*]\*([^*\n]+)\*[^*]`).FindAllStringSubmatch(pages(t)["guarantees.md"], -1)
	require.NotEmpty(t, names)
	for _, m := range names {
		name := strings.TrimSuffix(m[1], "…")
		if name != "italics" && !strings.Contains(sources.String(), name) {
			t.Errorf("guarantees.md names %q, which does not exist", m[1])
		}
	}
}

// Every row of guarantees.md names what shows it.
func TestGuaranteesAreShown(t *testing.T) {
	t.Parallel()
	for _, problem := range unshown(pages(t)["guarantees.md"]) {
		t.Error(problem)
	}
	require.NotEmpty(t, unshown("| Sends go on | |\n"))
	require.Empty(t, unshown("Sends go on.\n| Sends | `node: TestSends` |\n"))
}

// unshown are the rows of tables whose last cell is empty.
func unshown(text string) (problems []string) {
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if strings.HasPrefix(line, "|") && strings.TrimSpace(cells[len(cells)-1]) == "" {
			problems = append(problems, "nothing shows: "+line)
		}
	}
	return problems
}

// A fault that guarantees.md names is one of the fault suite's.
func TestNamedFaultsExist(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../test/chaos/*.go")
	require.NoError(t, err)
	var sources strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		sources.Write(text)
	}
	names := regexp.MustCompile("fault `([^`]+)`").FindAllStringSubmatch(pages(t)["guarantees.md"], -1)
	require.NotEmpty(t, names)
	for _, m := range names {
		if !strings.Contains(sources.String(), `"`+m[1]+`"`) {
			t.Errorf("guarantees.md names the fault %q, which does not exist", m[1])
		}
	}
}

// testSources are the tests in a folder, or the suite if it is one.
func testSources(t *testing.T, dir string) string {
	t.Helper()
	if dir == "gateway" {
		dir = "."
	}
	pattern := "*_test.go"
	if strings.HasSuffix(dir, "test") {
		pattern = "*.go"
	}
	files, err := filepath.Glob(filepath.Join("..", dir, pattern))
	require.NoError(t, err)
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		all.Write(text)
	}
	return all.String()
}

// Links inside the repository lead to a file, and to a heading in it.
func TestLinksLeadSomewhere(t *testing.T) {
	t.Parallel()
	for page, text := range pages(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			linked, err := os.ReadFile(file)
			if err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !headings(string(linked))[anchor] {
				t.Errorf("%s: %s has no heading %q", page, file, anchor)
			}
		}
	}
}

// headings are the anchors that the headings of a page get.
func headings(text string) map[string]bool {
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		anchor := strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")
		anchors[regexp.MustCompile(`[^\w-]`).ReplaceAllString(anchor, "")] = true
	}
	return anchors
}
