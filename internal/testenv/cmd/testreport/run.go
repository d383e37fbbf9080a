package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// event is a line of `go test -json`, see `go doc test2json` and `go help
// buildjson`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events
	Test       string
	Elapsed    float64
	Output     string
}

const (
	passed  = "pass"
	failed  = "fail"
	skipped = "skip"

	neverEnded = "(never ended)"
)

// services are those that `make test` provides, so that no test may miss them
// unless run.optional says so.
var services = []string{"redis", "mysql", "rabbitmq"}

type test struct {
	id     testID
	result string // passed, failed, skipped, or empty while it runs
	output []string
	parent bool // it has subtests: they are counted, not it
	ran    bool // it is a test, not only the first part of the names of some
}

type pkg struct {
	tests  map[string]*test
	order  []*test
	output []string // what belongs to no test
}

// run gathers the events of one `go test`.
type run struct {
	out      io.Writer
	packages map[string]*pkg
	bad      []string // packages that failed
	ended    int      // packages with tests that ended
	flaky    []*test  // failed, and passed when they ran again
	optional []string // services that tests may miss
}

func newRun(out io.Writer) *run {
	return &run{out: out, packages: map[string]*pkg{}}
}

func (r *run) printf(format string, args ...any) { _, _ = fmt.Fprintf(r.out, format, args...) }

// read takes events until the end. Lines that are none are passed on.
func (r *run) read(events io.Reader) error {
	lines := bufio.NewReader(events) // a line has no limit
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if line[0] != '{' || json.Unmarshal(line, &e) != nil {
				r.printf("%s", line)
			} else {
				r.take(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *run) take(e event) {
	if e.Action == "build-output" {
		r.printf("%s", e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &pkg{tests: map[string]*test{}}
		r.packages[e.Package] = p
	}
	if e.Test == "" {
		r.takePackage(e, p)
		return
	}
	t := p.test(e.Package, e.Test)
	t.ran = true
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
	case passed, failed, skipped:
		t.result = e.Action
		if t.result == passed {
			t.output = nil
		}
	}
}

func (p *pkg) test(path, name string) *test {
	t := p.tests[name]
	if t != nil {
		return t
	}
	t = &test{id: testID{path, name}}
	p.tests[name] = t
	p.order = append(p.order, t)
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		p.test(path, name[:i]).parent = true
	}
	return t
}

func (r *run) takePackage(e event, p *pkg) {
	took := time.Duration(e.Elapsed * float64(time.Second)).Round(10 * time.Millisecond)
	switch e.Action {
	case "output":
		if !strings.HasPrefix(e.Output, "FAIL\t") && e.Output != "FAIL\n" { // said below, once
			p.output = append(p.output, e.Output)
		}
	case passed:
		r.ended++
		r.printf("ok    %-70s %8s  %d tests\n", e.Package, took, p.count("")-p.count(skipped))
	case failed:
		r.bad = append(r.bad, e.Package)
		r.printFailed(p)
		r.printf("FAIL  %-70s %8s\n", e.Package, took)
	case skipped: // no test files
	}
}

// printFailed prints the output of the tests that failed, and of those that
// never ended: a panic or a timeout shows there or in the package's own output.
func (r *run) printFailed(p *pkg) {
	for _, t := range p.order {
		if t.result == "" && t.ran {
			t.result = failed
			t.output = append(t.output, fmt.Sprintf("--- FAIL: %s %s\n", t.id.name, neverEnded))
		}
		if t.result == failed {
			r.printf("\n%s", strings.Join(t.output, ""))
		}
	}
	r.printf("%s", strings.Join(p.output, ""))
}

// counts says whether the test stands for itself: it has no subtests, or it
// failed although none of them did.
func (p *pkg) counts(t *test) bool {
	if !t.parent {
		return true
	}
	if t.result != failed {
		return false
	}
	for _, other := range p.order {
		if other.result == failed && strings.HasPrefix(other.id.name, t.id.name+"/") {
			return false
		}
	}
	return true
}

// count counts the tests with a result, or all of them.
func (p *pkg) count(result string) int {
	n := 0
	for _, t := range p.order {
		if p.counts(t) && (result == "" || t.result == result) {
			n++
		}
	}
	return n
}

// finish prints skipped tests and the table of backends, and returns what is
// wrong with the run as a whole.
func (r *run) finish(m *marks, require []string) (problems []string) {
	if len(r.bad) > 0 {
		problems = append(problems, "failed: "+strings.Join(r.bad, " "))
	}
	if r.ended+len(r.bad) == 0 {
		problems = append(problems, "no package was tested")
	}
	r.printSkipped()
	table := r.tally(m)
	for _, b := range require {
		if table[b] == nil {
			table[b] = &tally{}
		}
		if table[b].passed+table[b].failed == 0 {
			problems = append(problems, "no test ran against "+b)
		}
	}
	if len(table) > 0 {
		r.printf("\n%-24s %8s %8s %8s\n", "tests against", "passed", "failed", "skipped")
	}
	for _, b := range slices.Sorted(maps.Keys(table)) {
		r.printf("%-24s %8d %8d %8d\n", b, table[b].passed, table[b].failed, table[b].skipped)
	}
	missed := map[string]int{}
	for _, services := range m.missed {
		for _, s := range services {
			missed[s]++
		}
	}
	for _, s := range slices.Sorted(maps.Keys(missed)) {
		text := fmt.Sprintf("%d tests did not run for want of %s", missed[s], s)
		if slices.Contains(services, s) && !slices.Contains(r.optional, s) {
			problems = append(problems, text)
		} else { // a program that some machines lack, such as a server to kill
			r.printf("\nNOT RUN: %s\n", text)
		}
	}
	return problems
}

type tally struct{ passed, failed, skipped int }

func (t *tally) add(result string) {
	switch result {
	case passed:
		t.passed++
	case failed:
		t.failed++
	case skipped:
		t.skipped++
	}
}

func (r *run) tally(m *marks) map[string]*tally {
	table := map[string]*tally{}
	for _, p := range r.packages {
		for _, t := range p.order {
			if !p.counts(t) {
				continue
			}
			for b := range m.backends(t.id) {
				if table[b] == nil {
					table[b] = &tally{}
				}
				table[b].add(t.result)
			}
		}
	}
	return table
}

// printSkipped prints skipped tests by reason: many have the same one.
func (r *run) printSkipped() {
	byReason := map[string][]*test{}
	for _, p := range r.packages {
		for _, t := range p.order {
			if t.result == skipped {
				reason := t.reason()
				byReason[reason] = append(byReason[reason], t)
			}
		}
	}
	if len(byReason) > 0 {
		r.printf("\nskipped:\n")
	}
	for _, reason := range slices.Sorted(maps.Keys(byReason)) {
		tests := byReason[reason]
		slices.SortFunc(tests, func(a, b *test) int {
			return cmp.Or(cmp.Compare(a.id.pkg, b.id.pkg), cmp.Compare(a.id.name, b.id.name))
		})
		more := ""
		if len(tests) > 3 {
			more = fmt.Sprintf(" and %d more", len(tests)-3)
		}
		r.printf("  %s\n", cmp.Or(reason, "no reason given"))
		for _, t := range tests[:min(3, len(tests))] {
			r.printf("    %s %s%s\n", t.id.pkg, t.id.name, more)
			more = ""
		}
	}
}

// reason is what the test logged before it was skipped, without the place.
func (t *test) reason() string {
	var b bytes.Buffer
	for _, line := range t.output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- SKIP") {
			continue
		}
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok := strings.Cut(after, ": "); ok {
				line = text
			}
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(line)
	}
	return b.String()
}

// close prints what is wrong and the closing line that CI reads.
func (r *run) close(problems []string) {
	var all tally
	for _, p := range r.packages {
		for _, t := range p.order {
			if p.counts(t) {
				all.add(t.result)
			}
		}
	}
	for _, name := range r.bad {
		if r.packages[name].count(failed) == 0 { // it did not build, or ended badly
			all.failed++
		}
	}
	r.printf("\n")
	for _, t := range r.flaky {
		r.printf("FLAKY: %s %s: failed, and passed when it ran again alone\n", t.id.pkg, t.id.name)
	}
	for _, p := range problems {
		r.printf("FAIL: %s\n", p)
	}
	r.printf("%d passed, %d failed, %d skipped\n", all.passed, all.failed, all.skipped)
}
