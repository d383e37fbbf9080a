package testenv

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

// notice says, once for each service and test binary, that tests did not run.
// `go test ./...` prints nothing of a package that passes, neither why it
// skipped tests nor that it did, so that a run without services looks like a
// full one. The line therefore goes to the standard error of the go command
// that started this binary, or else to the terminal; where there is neither,
// nothing is said. With -v, go test itself shows the reason of every skip.
func notice(service string) {
	if _, said := noticed.LoadOrStore(service, true); said {
		return
	}
	out := goCommandStderr()
	if out == nil {
		var err error
		if out, err = os.OpenFile("/dev/tty", os.O_WRONLY, 0); err != nil {
			return
		}
	}
	defer func() { _ = out.Close() }()
	_, _ = fmt.Fprintf(out, "NOT RUN %s: the tests that need a real %s (use `make test`)\n", testPackage(), service)
}

var noticed sync.Map

// goCommandStderr opens the standard error of our parent if that is the go
// command; only Linux lets us.
func goCommandStderr() *os.File {
	parent := fmt.Sprintf("/proc/%d", os.Getppid())
	name, err := os.ReadFile(parent + "/comm") //nolint:gosec // the name of our parent process
	if err != nil || strings.TrimSpace(string(name)) != "go" {
		return nil
	}
	f, err := os.OpenFile(parent+"/fd/2", os.O_WRONLY|os.O_APPEND, 0) //nolint:gosec // see above
	if err != nil {
		return nil
	}
	return f
}
