package sqlstore

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// clockInterval is how often the distance to the server's clock is measured.
	clockInterval = 30 * time.Second
	// clockTimeout bounds one measurement; a slow one would be a wrong one.
	clockTimeout = 5 * time.Second
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
// measurement that fails leaves the last one in force.
func startClock(ctx context.Context, measure func(context.Context) (time.Time, error)) (*clock, error) {
	c := &clock{done: make(chan struct{})}
	if err := c.read(ctx, measure); err != nil {
		return nil, err
	}
	var loop context.Context
	loop, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer close(c.done)
		ticker := time.NewTicker(clockInterval)
		defer ticker.Stop()
		for {
			select {
			case <-loop.Done():
				return
			case <-ticker.C:
				_ = c.read(loop, measure)
			}
		}
	}()
	return c, nil
}

func (c *clock) read(ctx context.Context, measure func(context.Context) (time.Time, error)) error {
	ctx, cancel := context.WithTimeout(ctx, clockTimeout)
	defer cancel()
	before := time.Now()
	server, err := measure(ctx)
	if err != nil {
		return err
	}
	c.at.Store(&reading{server: server, local: before.Add(time.Since(before) / 2)})
	return nil
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
