package main

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
)

var versionCommand = command{
	name:    "version",
	summary: "print the version",
	run: func(_ context.Context, p *program, args []string) error {
		if len(args) > 0 {
			return &usageError{errors.New("it takes no arguments")}
		}
		p.printf(p.stdout, "gatewayd %s %s %s/%s\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return nil
	},
}

// version is that of the module: a release, or what the checkout was.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
