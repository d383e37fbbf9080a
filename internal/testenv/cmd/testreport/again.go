package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// mostAgain is how many tests may have failed for them to be run again: more are
// no accident of a busy machine.
const mostAgain = 3

// once are what no second run excuses.
var once = []string{"DATA RACE", "race detected", "panic:", "fatal error:", "goleak", "unexpected goroutines"}

// again runs the tests that failed once more, alone: a test with deadlines can
// miss them on a machine that others use. What passes then is reported as flaky,
// with what it printed when it failed. Nothing is repeated if many tests failed,
// or if one did not fail by its own checks: the race detector, a panic, a leak and
// a test that never ended stay failures.
//
// The command gets a package and the names of its failed tests without subtests
// as arguments, and prints what `go test -json` prints.
func (r *run) again(command []string, notes string, stderr io.Writer) error {
	if !r.repeatable() {
		return nil
	}
	for _, name := range slices.Clone(r.bad) {
		p := r.packages[name]
		var tests []string
		for _, t := range p.failures() {
			top, _, _ := strings.Cut(t.id.name, "/")
			if !slices.Contains(tests, top) {
				tests = append(tests, top)
			}
		}
		args := append(append(slices.Clone(command[1:]), name), tests...)
		r.printf("again %-70s %s\n", name, strings.Join(tests, ", "))
		cmd := exec.Command(command[0], args...) //nolint:gosec,noctx // runs what the caller asked for, to its end
		cmd.Env = append(os.Environ(), "GATEWAY_TEST_REPORT="+notes)
		cmd.Stderr = stderr
		printed, exitErr := cmd.Output()
		second := newRun(r.out)
		if err := second.read(bytes.NewReader(printed)); err != nil {
			return err
		}
		if exitErr == nil {
			r.excuse(name, second)
		}
	}
	return nil
}

// repeatable says whether what failed may be run again.
func (r *run) repeatable() bool {
	n := 0
	for _, name := range r.bad {
		p := r.packages[name]
		if p.count(failed) == 0 {
			return false
		}
		n += p.count(failed)
		said := strings.Join(p.output, "")
		for _, t := range p.order {
			if t.result == failed {
				said += strings.Join(t.output, "")
			}
		}
		if slices.ContainsFunc(once, func(s string) bool { return strings.Contains(said, s) }) || strings.Contains(said, neverEnded) {
			return false
		}
	}
	return n > 0 && n <= mostAgain
}

// excuse takes the failures of a package for flaky if each of them passed in the
// second run.
func (r *run) excuse(name string, second *run) {
	p, repeated := r.packages[name], second.packages[name]
	if repeated == nil || len(second.bad) > 0 {
		return
	}
	failures := p.failures()
	for _, t := range failures {
		if now := repeated.tests[t.id.name]; now == nil || now.result != passed {
			return
		}
	}
	for _, t := range p.order {
		if t.result == failed {
			t.result = passed
		}
	}
	r.flaky = append(r.flaky, failures...)
	r.bad = slices.DeleteFunc(r.bad, func(bad string) bool { return bad == name })
	r.ended++
}

// failures are the tests that failed and count.
func (p *pkg) failures() []*test {
	var list []*test
	for _, t := range p.order {
		if t.result == failed && p.counts(t) {
			list = append(list, t)
		}
	}
	return list
}
