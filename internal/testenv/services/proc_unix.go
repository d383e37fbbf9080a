//go:build unix

package services

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

const (
	terminate = syscall.SIGTERM
	kill      = syscall.SIGKILL
	pause     = syscall.SIGSTOP
	resume    = syscall.SIGCONT
)

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

// Isolate gives a command a process group of its own, so that Ctrl-C in a
// terminal does not reach it behind our back and all of it can be ended, and
// has the kernel end it when this process dies.
func Isolate(cmd *exec.Cmd) { isolate(cmd, nil) }

// isolate is Isolate with an account to run as.
func isolate(cmd *exec.Cmd, a *account) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	dieWithParent(cmd.SysProcAttr)
}

// Signal sends a signal to the process group of a program that Isolate or a
// Supervisor prepared.
func Signal(cmd *exec.Cmd, s os.Signal) {
	if n, ok := s.(syscall.Signal); ok && cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, n) // that it is gone already is fine
	}
}
