package outbound

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/message-gateway/gateway/internal/batch"
	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/telemetry"
)

// Bounds of the shared round trips of realtime messages.
const (
	publishBatch    = 512
	publishBytes    = 4 << 20
	publishParallel = 2
	publishTimeout  = 10 * time.Second
	// keptCopy is the largest copy of a payload whose room is used again.
	keptCopy = 16 << 10
)

// Publisher publishes realtime messages. All methods may be called from
// several goroutines; the messages of one goroutine stay in order.
type Publisher struct {
	core  *core.Core
	group *batch.Group[bus.Publication]
	// copies are buffers for payloads on their way, *[]byte.
	copies sync.Pool
}

// NewPublisher returns a Publisher.
func NewPublisher(c *core.Core) *Publisher {
	p := &Publisher{core: c, copies: sync.Pool{New: func() any { return new([]byte) }}}
	p.group = batch.New(batch.Options{
		MaxBatch: publishBatch, MaxBytes: publishBytes, Parallel: publishParallel,
		MaxWaiting: maxWaiting, Timeout: publishTimeout, Inline: true,
	}, p.flush)
	return p
}

// Publish sends one message. It keeps a copy of the payload only, which may still
// be on its way after an error.
func (p *Publisher) Publish(ctx context.Context, pub bus.Publication) error {
	kept := p.copies.Get().(*[]byte)
	*kept = append((*kept)[:0], pub.Payload...)
	pub.Payload = *kept
	started, err := p.group.Do(ctx, pub, len(pub.Payload))
	if (err == nil || !started) && cap(*kept) <= keptCopy {
		p.copies.Put(kept)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, batch.ErrFull):
		p.core.Metrics.Overflow(telemetry.QueuePublish)
	case ctx.Err() != nil && started:
		err = fmt.Errorf("%w while waiting for %s; the message may or may not have been sent", err, p.core.BusName)
	case ctx.Err() != nil:
		err = fmt.Errorf("%w while earlier sends were waiting for %s; nothing was sent", err, p.core.BusName)
	}
	return err
}

// Queues are what the Publisher bounds.
func (p *Publisher) Queues() []telemetry.Queue {
	return []telemetry.Queue{{Name: telemetry.QueuePublish, Length: p.group.Waiting, Limit: telemetry.Bound(maxWaiting)}}
}

// Close waits for running calls, for drain at most.
func (p *Publisher) Close(drain time.Duration) { p.group.Close(drain) }

func (p *Publisher) flush(ctx context.Context, pubs []bus.Publication, errs []error) {
	if _, err := p.core.Bus.Publish(ctx, pubs); err != nil {
		fill(errs, err)
	}
}
