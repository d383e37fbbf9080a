package control

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/wire"
)

// answerTimeout bounds the wait for nodes that received a call. One that died
// right after it never answers.
const answerTimeout = 5 * time.Second

// answerBuffer is how many answers may come in before they are looked at.
const answerBuffer = 256

// ErrUnanswered is returned when a node that received a call did not answer.
var ErrUnanswered = errors.New("a node did not answer")

// Caller makes calls. All methods may be called from several goroutines. It
// listens from its first call on.
type Caller struct {
	bus     bus.Bus
	channel string

	mu       sync.Mutex
	listener bus.Listener
	ready    bool
	done     chan struct{} // closed by Close
	closing  sync.Once
	waiting  map[uint64]chan *Reply
}

// NewCaller returns a Caller.
func NewCaller(b bus.Bus, names wire.Names) *Caller {
	return &Caller{bus: b, channel: names.Replies(uuid.NewString()), done: make(chan struct{}), waiting: map[uint64]chan *Reply{}}
}

// NewCallerOn returns a Caller whose owner listens for it: the owner subscribes
// to Channel on a listener of its own before the first call, and hands what
// comes there to Receive. Answers then come in one order with everything else
// on that listener.
func NewCallerOn(b bus.Bus, names wire.Names) *Caller {
	c := NewCaller(b, names)
	c.ready = true
	return c
}

// Channel is the channel of answers.
func (c *Caller) Channel() string { return c.channel }

// Call sends a call to the nodes that are subscribed to channel and returns
// their answers. No answers and no error means that nobody is concerned.
func (c *Caller) Call(ctx context.Context, channel string, call Call) ([]*Reply, error) {
	if err := c.listen(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	call.ID, call.ReplyTo = rand.Uint64(), c.channel
	answers := make(chan *Reply, answerBuffer)
	c.mu.Lock()
	c.waiting[call.ID] = answers
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, call.ID)
	}()
	receivers, err := c.bus.Publish(ctx, []bus.Publication{{Channel: channel, Payload: call.Encode(), Sharded: true}})
	if err != nil {
		return nil, err
	}
	replies := make([]*Reply, 0, receivers[0])
	for int64(len(replies)) < receivers[0] {
		select {
		case r := <-answers:
			if r.Moved {
				return replies, fmt.Errorf("%w: %s", ErrUnanswered, r.Error)
			}
			if r.Error != "" {
				return replies, fmt.Errorf("node: %s", r.Error)
			}
			replies = append(replies, r)
		case <-c.done:
			return replies, bus.ErrClosed
		case <-ctx.Done():
			return replies, fmt.Errorf("%w: %d of %d did: %w", ErrUnanswered, len(replies), receivers[0], ctx.Err())
		}
	}
	return replies, nil
}

// listen subscribes to the channel of answers, once.
func (c *Caller) listen(ctx context.Context) error {
	c.mu.Lock()
	select {
	case <-c.done:
		c.mu.Unlock()
		return bus.ErrClosed
	default:
	}
	if c.ready {
		c.mu.Unlock()
		return nil
	}
	if c.listener == nil {
		c.listener = c.bus.Listen(func(_ string, payload []byte) { c.Receive(payload) }, func() {})
	}
	listener := c.listener
	c.mu.Unlock()
	if err := listener.Subscribe(ctx, true, c.channel); err != nil {
		return err
	}
	c.mu.Lock()
	c.ready = true
	c.mu.Unlock()
	return nil
}

// Receive takes an answer; anything else is ignored.
func (c *Caller) Receive(payload []byte) {
	decoded, err := Decode(payload)
	reply, ok := decoded.(*Reply)
	if err != nil || !ok {
		return
	}
	c.mu.Lock()
	answers := c.waiting[reply.ID]
	c.mu.Unlock()
	if answers == nil {
		return // too late
	}
	select {
	case answers <- reply:
	default:
		// More nodes than the buffer answered at the same moment: the call
		// reports that one did not answer.
	}
}

// Close ends the listener and fails the calls that wait.
func (c *Caller) Close() {
	c.closing.Do(func() { close(c.done) })
	c.mu.Lock()
	listener := c.listener
	c.mu.Unlock()
	if listener != nil {
		_ = listener.Close() // its only error is that it is closed already
	}
}
