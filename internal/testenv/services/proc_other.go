//go:build !unix

package services

import (
	"os"
	"os/exec"
)

// There are no signals here: a pause is a kill, too.
var terminate, kill, pause, resume = os.Kill, os.Kill, os.Kill, os.Kill

type account struct{}

func accountFor(string) *account { return nil }

func (*account) own(string) error { return nil }

// Isolate does nothing here.
func Isolate(*exec.Cmd) {}

func isolate(*exec.Cmd, *account) {}

// Signal ends the program: there are no signals here.
func Signal(cmd *exec.Cmd, _ os.Signal) {
	if cmd.Process != nil {
		_ = cmd.Process.Kill()
	}
}
