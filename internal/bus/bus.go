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
	"time"
)

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
}

// Handler receives a message that arrived. It is called by one goroutine, in
// order of arrival, and must not block; it must not keep payload unless it
// copies it.
type Handler func(channel string, payload []byte)

// Listener holds subscriptions. Its methods may be called from several
// goroutines at once.
type Listener interface {
	// Subscribe returns once the server has confirmed every channel: what is
	// published after that arrives. Channels that are subscribed already are
	// confirmed at once. Calls that run at the same time share round trips.
	// While the connection is down it waits for it, until ctx ends; a channel
	// whose call failed is not subscribed.
	Subscribe(ctx context.Context, sharded bool, channels ...string) error
	// Unsubscribe drops channels; it does not wait, and cannot fail: at worst
	// a message more arrives.
	Unsubscribe(sharded bool, channels ...string)
	// Close ends every subscription and waits until the handler has returned.
	Close() error
}

// Bus connects processes. All methods may be called at the same time from
// several goroutines and end with their ctx.
type Bus interface {
	// Publish sends messages in order, in one round trip, and returns how many
	// subscribers each of them reached (parallel to pubs). An error means that
	// some, all or none of them were sent.
	Publish(ctx context.Context, pubs []Publication) (receivers []int64, err error)
	// NextSeqs draws the next number for each request, in one round trip. The
	// same user may stand in several requests.
	NextSeqs(ctx context.Context, reqs []SeqRequest) ([]int64, error)
	// Epoch changes whenever the counters may have gone back (another server
	// answers, or one that was restarted). It makes no call.
	Epoch() uint64
	// Subscribers counts the subscribers of each channel.
	Subscribers(ctx context.Context, sharded bool, channels []string) ([]int64, error)
	// Listen starts a listener. onGap is called, by another goroutine than the
	// handler's, after messages may have been missed: the connection broke and
	// every channel is subscribed again. handler and onGap are not nil.
	Listen(handler Handler, onGap func()) Listener
	// TryLock takes or renews a lock for owner, for ttl, and reports whether
	// owner holds it now.
	TryLock(ctx context.Context, key, owner string, ttl time.Duration) (bool, error)
	// Unlock releases a lock that owner holds, and does nothing otherwise.
	Unlock(ctx context.Context, key, owner string) error
	// Ping answers whether the bus can be reached.
	Ping(ctx context.Context) error
	// Close ends listeners and releases the connections, unless they were
	// handed over.
	Close() error
}
