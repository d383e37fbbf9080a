//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

const terminate = syscall.SIGTERM

// account is a user to run a server as; nil is the one that runs this.
type account struct{ uid, gid uint32 }

// accountFor returns the account of the named package, or nobody's, where this
// process is root, and nil where it is not.
func accountFor(name string) *account {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, n := range []string{name, "nobody"} {
		u, err := user.Lookup(n)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if errors.Join(err1, err2) == nil {
			return &account{uint32(uid), uint32(gid)}
		}
	}
	return nil
}

func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// isolate gives the command a process group, so that Ctrl-C in a terminal does
// not reach it behind our back and all of it can be ended, and an account.
func isolate(cmd *exec.Cmd, a *account) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	dieWithParent(cmd.SysProcAttr)
}

func signalGroup(cmd *exec.Cmd, s os.Signal) {
	if n, ok := s.(syscall.Signal); ok && cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, n) // that it is gone already is fine
	}
}
