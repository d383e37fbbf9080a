package main

import (
	"errors"
	"io"
	"strings"
	"testing"
)

const example = "example.com/a"

func events(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

func ev(action, test, output string) string {
	s := `{"Action":"` + action + `","Package":"` + example + `"`
	if test != "" {
		s += `,"Test":"` + test + `"`
	}
	if output != "" {
		s += `,"Output":"` + output + `\n"`
	}
	return s + "}"
}

// runReport has report read what a command prints, and returns what it says.
func runReport(t *testing.T, printed, notes string, require ...string) (ok bool, out string) {
	t.Helper()
	var buf strings.Builder
	r := newRun(&buf)
	if err := r.read(strings.NewReader(printed)); err != nil {
		t.Fatal(err)
	}
	m := newMarks()
	if err := m.read(strings.NewReader(notes)); err != nil {
		t.Fatal(err)
	}
	problems := r.finish(m, require)
	r.close(problems)
	return len(problems) == 0, buf.String()
}

func wantLines(t *testing.T, out string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+out, "\n"+line+"\n") {
			t.Errorf("no line %q in:\n%s", line, out)
		}
	}
}

func TestCountsLeavesAndInheritedMarks(t *testing.T) {
	t.Parallel()
	ok, out := runReport(t, events(
		ev("run", "TestSuite", ""), ev("run", "TestSuite/one", ""), ev("run", "TestSuite/two", ""),
		ev("pass", "TestSuite/one", ""), ev("pass", "TestSuite/two", ""), ev("pass", "TestSuite", ""),
		ev("run", "TestAlone", ""), ev("pass", "TestAlone", ""), ev("pass", "", ""),
	), "redis\tTestSuite\t"+example+"\nembedded\tTestAlone\t"+example+"\nembedded\tTestAlone\t"+example+"\n",
		"redis", "embedded")
	if !ok {
		t.Error("reported as a failure")
	}
	wantLines(t, out,
		"redis                           2        0        0",
		"embedded                        1        0        0",
		"3 passed, 0 failed, 0 skipped")
}

func TestFailsWhenARequiredBackendRanNothing(t *testing.T) {
	t.Parallel()
	printed := events(ev("run", "TestA", ""), ev("pass", "TestA", ""), ev("pass", "", ""))
	for name, notes := range map[string]string{
		"no note at all":          "",
		"note of another test":    "redis\tTestB\t" + example + "\n",
		"note of another package": "redis\tTestA\texample.com/b\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ok, out := runReport(t, printed, notes, "redis")
			if ok {
				t.Error("reported as a pass")
			}
			wantLines(t, out, "FAIL: no test ran against redis", "1 passed, 0 failed, 0 skipped")
		})
	}
}

func TestSkippedTestDoesNotCountAsRun(t *testing.T) {
	t.Parallel()
	ok, out := runReport(t, events(
		ev("run", "TestA", ""), ev("output", "TestA", "=== RUN   TestA"),
		ev("output", "TestA", "    a_test.go:12: not today: rain"),
		ev("output", "TestA", "--- SKIP: TestA (0.00s)"), ev("skip", "TestA", ""), ev("pass", "", ""),
	), "redis\tTestA\t"+example+"\n", "redis")
	if ok {
		t.Error("reported as a pass")
	}
	wantLines(t, out, "  not today: rain", "    "+example+" TestA", "FAIL: no test ran against redis")
}

func TestFailsWhenAServiceWasMissing(t *testing.T) {
	t.Parallel()
	ok, out := runReport(t, events(
		ev("run", "TestA", ""), ev("pass", "TestA", ""),
		ev("run", "TestB", ""), ev("skip", "TestB", ""), ev("pass", "", ""),
	), "skipped:mysql\tTestB\t"+example+"\n")
	if ok {
		t.Error("reported as a pass")
	}
	wantLines(t, out, "FAIL: 1 tests did not run for want of mysql", "1 passed, 0 failed, 1 skipped")
}

func TestOptionalServiceMayBeMissing(t *testing.T) {
	t.Parallel()
	for optional, want := range map[string]int{"mysql": 0, "redis": 1} {
		r, m := newRun(io.Discard), newMarks()
		r.optional = []string{optional}
		events := events(ev("run", "TestA", ""), ev("skip", "TestA", ""), ev("pass", "", ""))
		if err := errors.Join(r.read(strings.NewReader(events)), m.read(strings.NewReader("skipped:mysql\tTestA\t"+example+"\n"))); err != nil {
			t.Fatal(err)
		}
		if problems := r.finish(m, nil); len(problems) != want {
			t.Errorf("%s is optional: %v", optional, problems)
		}
	}
}

func TestMissingProgramIsSaidAndDoesNotFail(t *testing.T) {
	t.Parallel()
	ok, out := runReport(t, events(
		ev("run", "TestA", ""), ev("pass", "TestA", ""),
		ev("run", "TestB", ""), ev("skip", "TestB", ""), ev("pass", "", ""),
	), "skipped:redis-server\tTestB\t"+example+"\n")
	if !ok {
		t.Error("reported as a failure")
	}
	wantLines(t, out, "NOT RUN: 1 tests did not run for want of redis-server")
}

func TestFailureShowsItsOutputAndNotThatOfOthers(t *testing.T) {
	t.Parallel()
	ok, out := runReport(t, events(
		ev("run", "TestGood", ""), ev("output", "TestGood", "chatter"), ev("pass", "TestGood", ""),
		ev("run", "TestBad", ""), ev("run", "TestBad/sub", ""), ev("output", "TestBad/sub", "what went wrong"),
		ev("fail", "TestBad/sub", ""), ev("fail", "TestBad", ""), ev("fail", "", ""),
	), "")
	if ok {
		t.Error("reported as a pass")
	}
	if strings.Contains(out, "chatter") {
		t.Errorf("output of a test that passed in:\n%s", out)
	}
	wantLines(t, out, "what went wrong", "FAIL: failed: "+example, "1 passed, 1 failed, 0 skipped")
}

// A slash in the name of a subtest makes no test of what is before it.
func TestNamesOfSeveralPartsAreOneTest(t *testing.T) {
	t.Parallel()
	ok, out := runReport(t, events(
		ev("run", "TestSuite", ""), ev("run", "TestSuite/state/ends", ""), ev("run", "TestSuite/state/moves", ""),
		ev("pass", "TestSuite/state/ends", ""), ev("fail", "TestSuite/state/moves", ""), ev("fail", "TestSuite", ""), ev("fail", "", ""),
	), "")
	if ok {
		t.Error("reported as a pass")
	}
	if strings.Contains(out, "never ended") {
		t.Errorf("all have ended:\n%s", out)
	}
	wantLines(t, out, "1 passed, 1 failed, 0 skipped")
}

func TestTestThatNeverEndedFails(t *testing.T) {
	t.Parallel()
	ok, out := runReport(t, events(
		ev("run", "TestHangs", ""), ev("output", "TestHangs", "panic: test timed out"), ev("fail", "", ""),
	), "")
	if ok {
		t.Error("reported as a pass")
	}
	wantLines(t, out, "panic: test timed out", "--- FAIL: TestHangs (never ended)", "0 passed, 1 failed, 0 skipped")
}

func TestBuildFailureIsShownAndCounted(t *testing.T) {
	t.Parallel()
	ok, out := runReport(t, events(
		`{"ImportPath":"example.com/a","Action":"build-output","Output":"a.go:3: undefined: x\n"}`,
		`{"ImportPath":"example.com/a","Action":"build-fail"}`,
		ev("fail", "", ""),
	), "")
	if ok {
		t.Error("reported as a pass")
	}
	wantLines(t, out, "a.go:3: undefined: x", "0 passed, 1 failed, 0 skipped")
}

func TestNothingTestedFails(t *testing.T) {
	t.Parallel()
	if ok, out := runReport(t, "", ""); ok {
		t.Errorf("reported as a pass:\n%s", out)
	}
}

func TestCommandThatFailsSilentlyFails(t *testing.T) {
	t.Parallel()
	var out, errOut strings.Builder
	if code := realMain([]string{"--", "go", "no-such-command"}, &out, &errOut); code != 1 {
		t.Errorf("exit code %d, output:\n%s%s", code, out.String(), errOut.String())
	}
}
