//go:build unix

package main

import "syscall"

// openFiles is how many files this process may open; Go has raised it to the
// hard limit. 0 means that it is not known.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return uint64(limit.Cur) //nolint:unconvert // it is an int64 on some systems
}
