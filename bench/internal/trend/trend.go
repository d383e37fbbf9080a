// Package trend tells what grows without bound from what moves.
package trend

import (
	"fmt"
	"math"
	"time"
)

// Series is a measure over time. It is not safe for concurrent use.
type Series struct {
	Name string
	// Floor is a growth that never matters, in the unit of the measure.
	Floor float64
	at    []float64 // seconds
	value []float64
}

// Add notes a value.
func (s *Series) Add(at time.Duration, value float64) {
	s.at, s.value = append(s.at, at.Seconds()), append(s.value, value)
}

// Last is the last value.
func (s *Series) Last() float64 { return s.value[len(s.value)-1] }

const (
	// least is how many values tell anything.
	least = 8
	// part of its mean is what a measure may grow by in the second half.
	part = 0.1
	// fit is how much of what it does a straight line must explain: the square
	// of the correlation.
	fit = 0.5
)

// Check is about the second half, as the first fills caches and pools: there a
// line through the values may not rise by more than a tenth of their mean and
// more than the floor, if the values are on it rather than around it. A run
// that is too short to tell is an error as well.
func (s *Series) Check() error {
	at, value := s.at[len(s.at)/2:], s.value[len(s.value)/2:]
	if len(value) < least {
		return fmt.Errorf("%s: %d values in the second half of the run tell nothing, %d would", s.Name, len(value), least)
	}
	n, meanAt, mean := float64(len(value)), 0.0, 0.0
	for i := range value {
		meanAt += at[i] / n
		mean += value[i] / n
	}
	var across, up, both float64
	for i := range value {
		across += (at[i] - meanAt) * (at[i] - meanAt)
		up += (value[i] - mean) * (value[i] - mean)
		both += (at[i] - meanAt) * (value[i] - mean)
	}
	if across == 0 || up == 0 {
		return nil
	}
	slope := both / across
	growth := slope * (at[len(at)-1] - at[0])
	if explained := both * both / (across * up); growth > math.Max(s.Floor, part*mean) && explained > fit {
		return fmt.Errorf("%s grows: by %.4g in the second half of the run, %.4g an hour, from a mean of %.4g", s.Name, growth, slope*3600, mean)
	}
	return nil
}
