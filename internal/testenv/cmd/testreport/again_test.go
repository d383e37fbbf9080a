package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// runAgain has a run that printed first repeat its failures, which print second
// and end with code, and returns how many tests failed in the end.
func runAgain(t *testing.T, first, second, code string) (failures int, out string) {
	t.Helper()
	dir := t.TempDir()
	printed := filepath.Join(dir, "events")
	if err := os.WriteFile(printed, []byte(second), 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "again")
	text := "#!/bin/sh\necho \"$@\" >>" + dir + "/asked\ncat " + printed + "\nexit " + code + "\n"
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	var buf strings.Builder
	r := newRun(&buf)
	if err := r.read(strings.NewReader(first)); err != nil {
		t.Fatal(err)
	}
	if err := r.again([]string{script}, filepath.Join(dir, "notes"), io.Discard); err != nil {
		t.Fatal(err)
	}
	problems := r.finish(newMarks(), nil)
	r.close(problems)
	asked, err := os.ReadFile(dir + "/asked")
	if err == nil {
		buf.WriteString("asked for " + string(asked))
	}
	return len(problems), buf.String()
}

func TestFailureThatPassesAloneIsFlaky(t *testing.T) {
	t.Parallel()
	failures, out := runAgain(t, events(
		ev("pass", "TestGood", ""), ev("run", "TestSuite", ""), ev("output", "TestSuite/two", "too late"),
		ev("fail", "TestSuite/two", ""), ev("fail", "TestSuite", ""), ev("fail", "", ""),
	), events(ev("pass", "TestSuite/two", ""), ev("pass", "TestSuite", ""), ev("pass", "", "")), "0")
	if failures != 0 {
		t.Errorf("reported as a failure:\n%s", out)
	}
	wantLines(t, out, "too late", "FLAKY: "+example+" TestSuite/two: failed, and passed when it ran again alone",
		"2 passed, 0 failed, 0 skipped", "asked for "+example+" TestSuite")
}

func TestFailureThatStaysIsOne(t *testing.T) {
	t.Parallel()
	first := events(ev("run", "TestBad", ""), ev("fail", "TestBad", ""), ev("fail", "", ""))
	for name, second := range map[string]struct{ printed, code string }{
		"fails again":      {events(ev("fail", "TestBad", ""), ev("fail", "", "")), "1"},
		"did not run":      {events(ev("pass", "TestOther", ""), ev("pass", "", "")), "0"},
		"was skipped":      {events(ev("skip", "TestBad", ""), ev("pass", "", "")), "0"},
		"another one fell": {events(ev("pass", "TestBad", ""), ev("fail", "TestOther", ""), ev("fail", "", "")), "1"},
		"ended badly":      {events(ev("pass", "TestBad", ""), ev("pass", "", "")), "2"},
		"printed nothing":  {"", "0"},
	} {
		if failures, out := runAgain(t, first, second.printed, second.code); failures == 0 || !strings.Contains(out, "asked for "+example+" TestBad") {
			t.Errorf("%s: reported as a pass, or not repeated:\n%s", name, out)
		}
	}
}

func TestWhatIsNoAccidentIsNotRepeated(t *testing.T) {
	t.Parallel()
	passes := events(ev("pass", "TestBad", ""), ev("pass", "", ""))
	many := []string{}
	for _, name := range []string{"TestA", "TestB", "TestC", "TestD"} {
		many = append(many, ev("fail", name, ""))
	}
	for name, first := range map[string]string{
		"race":        events(ev("output", "TestBad", "WARNING: DATA RACE"), ev("fail", "TestBad", ""), ev("fail", "", "")),
		"panic":       events(ev("run", "TestBad", ""), ev("output", "", "panic: oh"), ev("fail", "", "")),
		"leak":        events(ev("pass", "TestBad", ""), ev("output", "", "goleak: found"), ev("fail", "", "")),
		"never ended": events(ev("run", "TestBad", ""), ev("fail", "", "")),
		"no build":    events(ev("fail", "", "")),
		"many":        events(append(many, ev("fail", "", ""))...),
	} {
		if failures, out := runAgain(t, first, passes, "0"); failures == 0 || strings.Contains(out, "asked for") {
			t.Errorf("%s: repeated, or reported as a pass:\n%s", name, out)
		}
	}
}
