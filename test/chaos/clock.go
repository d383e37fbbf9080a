package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// clockVariable says by how many seconds the wall clock of a process is off;
// scripts/build-chaos makes that so.
const clockVariable = "GATEWAY_CHAOS_CLOCK"

// clockRange is how far off a clock is at most: tokens allow five minutes, and
// the devices' are signed by one that is right.
const clockRange = 4 * time.Minute

// clockShift is how far off the clock of this process is.
var clockShift time.Duration

// takeClock reads what the parent wants of the clock, and makes sure of it.
func takeClock() error {
	text := os.Getenv(clockVariable)
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%s: %w", clockVariable, err)
	}
	clockShift = time.Duration(n) * time.Second
	var kernel syscall.Timeval
	if err := syscall.Gettimeofday(&kernel); err != nil {
		return err
	}
	off := time.Until(time.Unix(0, syscall.TimevalToNsec(kernel))) + clockShift
	if off.Abs() > time.Second {
		return fmt.Errorf("the clock of this program cannot be shifted: build it with scripts/build-chaos, or use -clocks=false")
	}
	return nil
}

// micros are those since 1970, by a clock that is right.
func micros(t time.Time) int64 { return t.Add(-clockShift).UnixMicro() }
