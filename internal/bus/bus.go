// Package bus carries hints and realtime messages between processes, counts
// each user's sequence, and knows who is subscribed. Two implementations fit
// the interface: Redis, and one inside the process. The suite in bustest holds
// for both.
//
// Nothing on the bus is stored: a message reaches who is subscribed at that
// moment, at most once.
package bus

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrClosed is what calls on a closed Bus or Listener return, and what those
// get that wait while it closes.
var ErrClosed = errors.New("bus is closed")

// Publication is one message on its way out.
type Publication struct {
	Channel string
	Payload []byte
	// Sharded asks for the publish command whose receiver count is exact on a
	// Redis Cluster (SPUBLISH). Its receivers subscribe with Sharded as well.
	// Without a cluster it changes nothing.
	Sharded bool
}

// SeqRequest asks for the next number of a user.
type SeqRequest struct {
	UserID string
	// Floor, if not 0, is the highest number known to be taken: the counter is
	// lifted to it, atomically, before it is advanced.
	Floor int64
	// Leap is how far above Floor a counter is lifted that is not above it: it
	// has lost its data, and numbers that were drawn before may be on their way
	// into the table. A bus that loses its data only together with everyone who
	// draws from it need not leap.
	Leap int64
}

// SeqError is the error of NextSeqs where requests failed one by one: a counter
// that holds no number, or a part of the servers that does not answer. The
// numbers of the other requests were drawn and may be used.
type SeqError struct {
	// Errs is parallel to the requests, nil where a number was drawn.
	Errs []error
}

// Error names how many requests failed, and the first failure.
func (e *SeqError) Error() string {
	var first error
	failed := 0
	for _, err := range e.Errs {
		if err == nil {
			continue
		}
		if first == nil {
			first = err
		}
		failed++
	}
	return fmt.Sprintf("%d of %d sequence numbers not drawn: %v", failed, len(e.Errs), first)
}

// Unwrap gives the failures to errors.Is and errors.As.
func (e *SeqError) Unwrap() []error {
	errs := make([]error, 0, len(e.Errs))
	for _, err := range e.Errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Handler receives a message that arrived. The calls of one listener follow
// each other, in order of arrival, and must not block; a handler must neither
// change payload nor keep it, unless it copies it.
type Handler func(channel string, payload []byte)

// Listener holds subscriptions. Its methods may be called from several
// goroutines at once.
type Listener interface {
	// Subscribe returns once the server has confirmed every channel: what is
	// published after that arrives. Channels that are subscribed already are
	// confirmed at once. Calls that run at the same time share round trips.
	// While the connection is down it waits for it, until ctx ends. A channel
	// whose call failed is not subscribed, unless it was before or another call
	// wants it.
	Subscribe(ctx context.Context, sharded bool, channels ...string) error
	// Unsubscribe drops channels; it does not wait, and cannot fail: at worst
	// a message more arrives. A Subscribe call that still waits for one of them
	// fails.
	Unsubscribe(sharded bool, channels ...string)
	// Close ends every subscription and waits until handler and onGap have
	// returned; neither of them may call it.
	Close() error
}

// Bus connects processes. All methods may be called at the same time from
// several goroutines and end with their ctx.
type Bus interface {
	// Publish sends messages in order, in one round trip, and returns how many
	// subscribers each of them reached (parallel to pubs). An error means that
	// some, all or none of them were sent; receivers is then nil, or -1 where
	// nothing is known. A message is not sent twice. Payloads may be changed
	// once Publish returned nil, but not after an error, when a write may still
	// be under way.
	Publish(ctx context.Context, pubs []Publication) (receivers []int64, err error)
	// NextSeqs draws the next number for each request, in one round trip. The
	// same user may stand in several requests. Requests that failed one by one
	// are reported by a *SeqError, beside the numbers of the others. A number
	// that was drawn and never reported is a gap, not an error.
	NextSeqs(ctx context.Context, reqs []SeqRequest) ([]int64, error)
	// Epoch changes whenever the counters may have gone back (another server
	// answers, or one that was restarted). It makes no call: it changes before
	// the NextSeqs returns whose numbers are concerned.
	Epoch() uint64
	// Subscribers counts the subscribers of each channel.
	Subscribers(ctx context.Context, sharded bool, channels []string) ([]int64, error)
	// Listen starts a listener. onGap is called, by another goroutine than the
	// handler's, after messages may have been missed: the connection broke and
	// every channel is subscribed again. handler and onGap are not nil.
	Listen(handler Handler, onGap func()) Listener
	// TryLock takes or renews a lock for owner, for ttl (above 0), and reports
	// whether owner holds it now.
	TryLock(ctx context.Context, key, owner string, ttl time.Duration) (bool, error)
	// Unlock releases a lock that owner holds, and does nothing otherwise.
	Unlock(ctx context.Context, key, owner string) error
	// Ping answers whether the bus can be reached.
	Ping(ctx context.Context) error
	// Close ends listeners and releases the connections, unless they were
	// handed over.
	Close() error
}
