package sqlstore

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// clockInterval is how often the distance to the server's clock is measured.
	clockInterval = 30 * time.Second
	// clockTimeout bounds one measurement.
	clockTimeout = 5 * time.Second
	// clockSlow is how long a good measurement takes at most: the distance is
	// wrong by up to half of that. After a slow one the next comes soon.
	clockSlow  = 200 * time.Millisecond
	clockAgain = time.Second
	// clockDrift is how old a good measurement is when a slow one is better.
	clockDrift = 10 * time.Minute
)

// clock follows the clock of the database server. Between two measurements it
// advances with the monotonic clock of this process, so a step of the local
// wall clock does not move it.
type clock struct {
	at     atomic.Pointer[reading]
	cancel context.CancelFunc
	done   chan struct{}
}

// reading pairs the server's time with the local instant at which it was read.
type reading struct {
	server, local time.Time
}

// localClock is the clock of a database in this process.
func localClock() *clock {
	return &clock{cancel: func() {}}
}

// startClock measures once, and then every clockInterval until stop. A
// measurement that fails, or took so long that it says little, leaves the last
// one in force.
func startClock(ctx context.Context, measure func(context.Context) (time.Time, error)) (*clock, error) {
	c := &clock{done: make(chan struct{})}
	good, err := c.read(ctx, measure)
	if err != nil {
		return nil, err
	}
	var loop context.Context
	loop, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(c.done)
		for {
			pause := clockInterval
			if !good {
				pause = clockAgain
			}
			select {
			case <-loop.Done():
				return
			case <-time.After(pause):
				good, err = c.read(loop, measure)
				good = good || err != nil // a server that is down is asked at leisure
			}
		}
	}()
	return c, nil
}

// read measures, and reports whether the result is a good one.
func (c *clock) read(ctx context.Context, measure func(context.Context) (time.Time, error)) (good bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	before := time.Now()
	server, err := measure(ctx)
	if err != nil {
		return false, err
	}
	took := time.Since(before)
	good = took <= clockSlow
	if last := c.at.Load(); good || last == nil || before.Sub(last.local) > clockDrift {
		c.at.Store(&reading{server: server, local: before.Add(took / 2)})
	}
	return good, nil
}

func (c *clock) now() time.Time {
	now := time.Now()
	if at := c.at.Load(); at != nil {
		now = at.server.Add(now.Sub(at.local))
	}
	return now.UTC().Truncate(time.Microsecond)
}

func (c *clock) stop() {
	c.cancel()
	if c.done != nil {
		<-c.done
	}
}

// Now is the time of the database's clock in UTC, in microseconds.
func (s *Store) Now() time.Time { return s.clock.now() }
