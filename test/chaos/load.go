package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// load measures how much of the machine other programs took. The bounds of
// this suite are for a machine that is its own: on one that it shares they
// grow with what it did not get, and the report says so.
type load struct {
	at          time.Time
	total, idle float64 // of the machine
	own         float64 // of this program, and whatever it started
}

// mostGrowth is how much a bound grows at most.
const mostGrowth = 10

// sampleLoad returns nothing where the kernel has no /proc: bounds stay.
func sampleLoad() load {
	l := load{at: time.Now()}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return load{}
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	for i, field := range strings.Fields(line)[1:min(9, len(strings.Fields(line)))] {
		n := number(field)
		l.total += n
		if i == 3 || i == 4 { // idle and waiting for a disk
			l.idle += n
		}
	}
	l.own = ownTime()
	return l
}

func number(text string) float64 {
	n, _ := strconv.ParseFloat(text, 64) // the kernel writes numbers
	return n
}

// ownTime is the CPU time of this process, of the children that have ended, and
// of every process group that a living child leads.
func ownTime() (sum float64) {
	self := strconv.Itoa(os.Getpid())
	groups := map[string]float64{}
	led := map[string]bool{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is fine
	for _, file := range files {
		raw, err := os.ReadFile(file) //nolint:gosec // what the kernel has there
		if err != nil {
			continue // it has ended
		}
		// The name, in brackets, may hold anything.
		_, rest, _ := strings.Cut(string(raw), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 15 {
			continue
		}
		pid := filepath.Base(filepath.Dir(file))
		parent, group := fields[1], fields[2]
		used := number(fields[11]) + number(fields[12]) + number(fields[13]) + number(fields[14])
		switch {
		case pid == self:
			sum += used
		case parent == self:
			led[pid] = true
			groups[group] += used
		default:
			groups[group] += used
		}
	}
	for group, used := range groups {
		if led[group] {
			sum += used
		}
	}
	return sum
}

// others is the part of the machine that other programs took between two
// samples.
func (l load) others(until load) float64 {
	total := until.total - l.total
	if l.at.IsZero() || until.at.IsZero() || total <= 0 {
		return 0
	}
	busy := total - (until.idle - l.idle)
	return min(max(0, (busy-(until.own-l.own))/total), 1)
}

// growth is by how much a bound grows for what others took since l.
func (l load) growth() float64 {
	return 1 / max(1-l.others(sampleLoad()), 1./mostGrowth)
}

// over says whether a bound has passed that began with l.
func (l load) over(bound time.Duration) bool {
	passed := time.Since(l.at)
	return passed > bound && passed > time.Duration(float64(bound)*l.growth())
}
