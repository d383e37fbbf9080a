package services

import "syscall"

// dieWithParent has the kernel end the child when this process is killed, the
// one death after which it cannot clean up itself.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGTERM }
