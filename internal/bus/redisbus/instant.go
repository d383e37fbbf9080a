package redisbus

import (
	"sync/atomic"
	"time"
)

// origin is what instants are counted from.
var origin = time.Now()

// instant is a moment that several goroutines share. It is one of the monotonic
// clock: somebody who sets the wall clock back would otherwise have a silent
// connection taken for one that was heard in the future.
type instant struct{ since atomic.Int64 }

// now makes it this moment.
func (i *instant) now() { i.since.Store(int64(time.Since(origin)) + 1) }

// forget makes it none.
func (i *instant) forget() { i.since.Store(0) }

// get returns the moment, or the zero time for none.
func (i *instant) get() time.Time {
	if since := i.since.Load(); since != 0 {
		return origin.Add(time.Duration(since - 1))
	}
	return time.Time{}
}
