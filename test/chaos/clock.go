package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockVariable says by how many seconds the wall clock of a process is off when
// it starts; scripts/build-chaos makes that so.
const clockVariable = "GATEWAY_CHAOS_CLOCK"

// clockRange is how far off a clock is at most: tokens allow five minutes, and
// the devices' are signed by one that is right.
const clockRange = 4 * time.Minute

// randomShift draws how far off a clock is.
func randomShift(rng *rand.Rand) time.Duration {
	return (time.Duration(rng.Int64N(int64(2*clockRange))) - clockRange).Truncate(time.Second)
}

// right pairs an instant of this process with the time that it was by a clock
// that is right: the kernel's. Later times follow from the monotonic clock, so
// that records stay right while the wall clock jumps.
var right = struct {
	at     time.Time
	micros int64
}{time.Now(), kernelMicros()}

func kernelMicros() int64 {
	var kernel syscall.Timeval
	if err := syscall.Gettimeofday(&kernel); err != nil {
		panic(err) // it has no way to fail
	}
	return syscall.TimevalToNsec(kernel) / int64(time.Microsecond)
}

// micros are those since 1970, by a clock that is right. The time must be one
// that this process read.
func micros(t time.Time) int64 { return right.micros + t.Sub(right.at).Microseconds() }

// takeClock makes sure that the clock is as far off as the parent wants.
func takeClock() error {
	text := os.Getenv(clockVariable)
	if text == "" {
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%s: %w", clockVariable, err)
	}
	return checkClock(time.Duration(n) * time.Second)
}

func checkClock(shift time.Duration) error {
	off := time.Duration(time.Now().UnixMicro()-kernelMicros())*time.Microsecond - shift
	if off.Abs() > time.Second {
		return fmt.Errorf("the clock of this program cannot be shifted: build it with scripts/build-chaos, or use -clocks=false")
	}
	return nil
}

// takeClockOrder follows an order that is about the clock.
func takeClockOrder(order string) bool {
	text, ok := strings.CutPrefix(order, orderClock+" ")
	if !ok {
		return false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil {
		setClock(n)
		err = checkClock(time.Duration(n) * time.Second)
	}
	if err != nil {
		panic(err) // the parent sees that this process has ended
	}
	return true
}
