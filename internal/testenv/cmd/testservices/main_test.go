package main

import (
	"runtime"
	"strings"
	"testing"
)

func TestCommandGetsTheEnvironmentAndItsExitCodeIsKept(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("not run: needs a Unix shell")
	}
	var stderr strings.Builder
	code := runCommand([]string{"/bin/sh", "-c", `exit "$CODE"`}, []string{"CODE=7"}, nil, &stderr)
	if code != 7 {
		t.Errorf("exit code %d, want 7: %s", code, stderr.String())
	}
}
