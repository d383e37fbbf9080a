//go:build chaosclock

package main

import "time"

// setClock sets the wall clock of this process so many seconds off. The
// function is of the standard library that scripts/build-chaos builds with.
func setClock(seconds int64) { time.SetChaosShift(seconds) }
