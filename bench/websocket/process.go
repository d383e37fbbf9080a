package main

import (
	"errors"
	"syscall"
	"time"

	"github.com/message-gateway/gateway/bench/internal/child"
)

// serve answers commands, each of which has a number, in the child.
func serve(handlers map[string]func(n int) (any, error)) error {
	byName := make(map[string]child.Handler, len(handlers))
	for name, handle := range handlers {
		byName[name] = child.Handle(handle)
	}
	return child.Serve(byName)
}

// waitFor asks once a millisecond; that costs every library the same.
func waitFor(done func() bool) error {
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("nothing more came for a minute")
		}
	}
	return nil
}

// raiseFileLimit allows as many files as the system does, and returns how many
// that is. Going over the hard limit takes a privilege.
func raiseFileLimit() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	const want = 1_000_000
	raised := syscall.Rlimit{Cur: max(l.Max, want), Max: max(l.Max, want)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
		return raised.Cur
	}
	l.Cur = l.Max
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Cur
}
