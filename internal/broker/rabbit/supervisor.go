package rabbit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/message-gateway/gateway/internal/broker"
)

// supervisor keeps one session with the server alive: it dials, runs the
// session until it is over, pauses and dials again. T is what the session
// offers while it is up. Its methods may be called at the same time from several
// goroutines.
type supervisor[T any] struct {
	role       string
	dialer     *dialer
	log        *slog.Logger
	maxBackoff time.Duration
	// session sets up and calls up once. It returns why it is over, at the
	// latest soon after stopping has ended.
	session func(stopping context.Context, c *conn, up func(T)) error

	state atomic.Pointer[state[T]]

	stopping context.Context //nolint:containedctx // the lifetime: no new session, end the current one
	stop     context.CancelFunc
	life     context.Context //nolint:containedctx // the lifetime: drop the connection
	kill     context.CancelFunc
	done     chan struct{}
}

// state is one moment of a supervisor. It is never changed, only replaced.
type state[T any] struct {
	value   T
	up      bool
	err     error         // why it is not up; nil before the first attempt ended
	changed chan struct{} // closed when the next state has replaced this one
}

// start fills in the lifetime and begins. The first attempt, from dialing until
// the session is up, ends with ctx; later ones do not.
func (s *supervisor[T]) start(ctx context.Context) {
	s.state.Store(&state[T]{changed: make(chan struct{})})
	s.stopping, s.stop = context.WithCancel(context.Background())
	s.life, s.kill = context.WithCancel(context.Background())
	s.done = make(chan struct{})
	go s.run(ctx)
}

// end ends the session, in an orderly way for bound at most, and waits for it.
func (s *supervisor[T]) end(bound time.Duration) {
	s.stop()
	kill := time.AfterFunc(bound, s.kill)
	<-s.done
	kill.Stop()
	s.kill()
}

func (s *supervisor[T]) run(attempt context.Context) {
	defer close(s.done)
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = min(100*time.Millisecond, s.maxBackoff)
	pause.MaxInterval = s.maxBackoff
	pause.Multiplier = 2
	pause.Reset()
	for {
		upFor := s.once(attempt)
		attempt = s.stopping
		if s.stopping.Err() != nil {
			return
		}
		if upFor > s.maxBackoff {
			// One that breaks again and again as soon as it is up keeps growing
			// its pauses.
			pause.Reset()
		}
		timer := time.NewTimer(pause.NextBackOff())
		select {
		case <-timer.C:
		case <-s.stopping.Done():
			timer.Stop()
			return
		}
	}
}

// once runs one session from dialing to the end, and returns how long it was up.
// Until it is up, it ends with ctx.
func (s *supervisor[T]) once(ctx context.Context) (upFor time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()
	c, err := s.dialer.dial(ctx, s.role)
	if err != nil {
		s.down(err)
		return 0
	}
	defer context.AfterFunc(s.life, c.abort)()
	settled := context.AfterFunc(ctx, c.abort)
	defer settled()
	var since time.Time
	err = s.session(s.stopping, c, func(v T) {
		if !settled() {
			return // aborted in this moment; the session notices
		}
		since = time.Now()
		s.set(&state[T]{value: v, up: true})
		s.log.Info("connected to RabbitMQ", "role", s.role, "addr", c.addr)
	})
	// Waiters hear of it before the remains are cleared away.
	s.down(fmt.Errorf("%s: %w", c.addr, err))
	c.close()
	if since.IsZero() {
		return 0
	}
	return time.Since(since)
}

func (s *supervisor[T]) down(err error) {
	if s.stopping.Err() != nil {
		err = broker.ErrClosed
	} else {
		s.log.Warn("no connection to RabbitMQ, trying again", "role", s.role, "error", err)
	}
	s.set(&state[T]{err: err})
}

func (s *supervisor[T]) set(next *state[T]) {
	next.changed = make(chan struct{})
	close(s.state.Swap(next).changed)
}

// wait returns a state that is up, or an error that wraps ctx's and says why
// there is none.
func (s *supervisor[T]) wait(ctx context.Context) (*state[T], error) {
	for {
		st := s.state.Load()
		if st.up {
			return st, nil
		}
		select {
		case <-st.changed:
		case <-s.done:
			return nil, broker.ErrClosed
		case <-ctx.Done():
			return nil, explain(ctx, st.err)
		}
	}
}

// first returns how the first attempt went. It ends with the ctx that start was
// given.
func (s *supervisor[T]) first() error {
	st := s.state.Load()
	for !st.up && st.err == nil {
		<-st.changed
		st = s.state.Load()
	}
	return st.err
}

// explain adds to ctx's error what its owner was waiting for.
func explain(ctx context.Context, why error) error {
	switch {
	case why == nil:
		return fmt.Errorf("%w: still connecting", ctx.Err())
	case errors.Is(why, ctx.Err()):
		return why
	default:
		return fmt.Errorf("%w: %w", ctx.Err(), why)
	}
}
