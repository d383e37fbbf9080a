// Command testreport runs `go test -json …`, prints what a person wants to read
// of it (one line for each package, all output of what failed, why tests were
// skipped), and how many tests ran against each backend, as package testenv
// noted them. It fails if a test failed, if a required backend had no test, or
// if a test was skipped because a service was missing that is not -optional. With
// -again, up to three tests that failed by their own checks are run once more, and
// named as FLAKY if they pass then. The last line is "N passed, N failed, N skipped".
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

func main() {
	os.Exit(realMain(os.Args[1:], os.Stdout, os.Stderr))
}

func realMain(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("testreport", flag.ContinueOnError)
	flags.SetOutput(stderr)
	require := flags.String("require", "", "backends that must have had a test, with commas")
	notes := flags.String("notes", os.Getenv("GATEWAY_TEST_REPORT"),
		"file that package testenv writes to; default from GATEWAY_TEST_REPORT, else a temporary one")
	optional := flags.String("optional", "", "services that may be missing, with commas")
	again := flags.String("again", "", "command that runs failed tests once more: it gets a package and names of tests")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if flags.NArg() == 0 {
		_, _ = fmt.Fprintln(stderr, "usage: testreport [flags] -- go test -json …")
		return 2
	}
	ok, err := report(flags.Args(), strings.Fields(*again), *notes, splitList(*require), splitList(*optional), stdout, stderr)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, "testreport:", err)
		return 2
	}
	if !ok {
		return 1
	}
	return 0
}

func report(command, again []string, notes string, require, optional []string, stdout, stderr io.Writer) (ok bool, err error) {
	if notes == "" {
		file, err := os.CreateTemp("", "gateway-test-notes-")
		if err != nil {
			return false, err
		}
		notes = file.Name()
		defer func() { _ = os.Remove(notes) }() //nolint:gosec // the file just made
		if err := file.Close(); err != nil {
			return false, err
		}
	}
	cmd := exec.Command(command[0], command[1:]...) //nolint:gosec,noctx // runs what the caller asked for, to its end
	cmd.Env = append(os.Environ(), "GATEWAY_TEST_REPORT="+notes)
	cmd.Stderr = stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	run := newRun(stdout)
	run.optional = optional
	readErr := run.read(events)
	exitErr := cmd.Wait()
	if readErr != nil {
		return false, readErr
	}
	if len(again) > 0 {
		if err := run.again(again, notes, stderr); err != nil {
			return false, err
		}
	}
	file, err := os.Open(notes) //nolint:gosec // the caller names the file
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	marks := newMarks()
	if err == nil {
		defer func() { _ = file.Close() }()
		if err := marks.read(file); err != nil {
			return false, err
		}
	}
	problems := run.finish(marks, require)
	if exitErr != nil && len(problems) == 0 && len(run.flaky) == 0 { // whatever it was, it is not a pass
		problems = append(problems, strings.Join(command[:min(2, len(command))], " ")+": "+exitErr.Error())
	}
	run.close(problems)
	return len(problems) == 0, nil
}

func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// testID is a test of a package.
type testID struct{ pkg, name string }

// marks are the notes of package testenv: which backends a test ran against,
// and which service it missed.
type marks struct {
	ran    map[testID][]string
	missed map[testID][]string
}

func newMarks() *marks {
	return &marks{ran: map[testID][]string{}, missed: map[testID][]string{}}
}

// read reads lines of backend, test and package, separated by tabs.
func (m *marks) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 3 {
			return fmt.Errorf("notes: unexpected line %q", lines.Text())
		}
		id := testID{pkg: fields[2], name: fields[1]}
		if service, ok := strings.CutPrefix(fields[0], "skipped:"); ok {
			m.missed[id] = append(m.missed[id], service)
		} else {
			m.ran[id] = append(m.ran[id], fields[0])
		}
	}
	return lines.Err()
}

// backends returns those of the test and of the tests it is part of.
func (m *marks) backends(id testID) map[string]bool {
	set := map[string]bool{}
	for {
		for _, b := range m.ran[id] {
			set[b] = true
		}
		i := strings.LastIndexByte(id.name, '/')
		if i < 0 {
			return set
		}
		id.name = id.name[:i]
	}
}
