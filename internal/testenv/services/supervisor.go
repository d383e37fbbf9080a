// Package services finds, installs and starts the Redis, MySQL and RabbitMQ that
// tests need, and ends what it started.
package services

import (
	"io"
	"slices"
)

// Supervisor holds what was started, in order, to be stopped in reverse. Its
// methods must not be called by several goroutines at once.
type Supervisor struct {
	// Log is where it says what it does. Required.
	Log io.Writer
	// ComposeFile is for the way compose.
	ComposeFile string
	// Durable starts servers as docs/guarantees.md wants them. Without it they
	// are fast, and what they hold need not outlive the machine.
	Durable bool

	cleanups []func()
}

// OnStop has Stop call f, before what was handed over earlier.
func (sup *Supervisor) OnStop(f func()) { sup.cleanups = append(sup.cleanups, f) }

// Stop ends what was started.
func (sup *Supervisor) Stop() {
	for _, f := range slices.Backward(sup.cleanups) {
		f()
	}
	sup.cleanups = nil
}
