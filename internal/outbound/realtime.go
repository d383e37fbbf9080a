package outbound

import (
	"context"
	"errors"
	"fmt"
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
)

// Publisher publishes realtime messages. All methods may be called from
// several goroutines; the messages of one goroutine stay in order.
type Publisher struct {
	core  *core.Core
	group *batch.Group[*publication]
}

type publication struct {
	bus.Publication
	receivers int64
}

// NewPublisher returns a Publisher.
func NewPublisher(c *core.Core) *Publisher {
	p := &Publisher{core: c}
	p.group = batch.New(batch.Options{
		MaxBatch: publishBatch, MaxBytes: publishBytes, Parallel: publishParallel,
		MaxWaiting: maxWaiting, Timeout: publishTimeout,
	}, p.flush)
	return p
}

// Publish sends one message and returns how many subscribers it reached.
func (p *Publisher) Publish(ctx context.Context, pub bus.Publication) (int64, error) {
	item := &publication{Publication: pub}
	started, err := p.group.Do(ctx, item, len(pub.Payload))
	switch {
	case err == nil:
		return item.receivers, nil
	case errors.Is(err, batch.ErrFull):
		p.core.Metrics.Overflow(telemetry.QueuePublish)
	case ctx.Err() != nil && started:
		err = fmt.Errorf("%w while waiting for %s; the message may or may not have been sent", err, p.core.BusName)
	case ctx.Err() != nil:
		err = fmt.Errorf("%w while earlier sends were waiting for %s; nothing was sent", err, p.core.BusName)
	}
	return 0, err
}

// Queues are what the Publisher bounds.
func (p *Publisher) Queues() []telemetry.Queue {
	return []telemetry.Queue{{Name: telemetry.QueuePublish, Length: p.group.Waiting, Limit: telemetry.Bound(maxWaiting)}}
}

// Close waits for running calls, for drain at most.
func (p *Publisher) Close(drain time.Duration) { p.group.Close(drain) }

func (p *Publisher) flush(ctx context.Context, items []*publication, errs []error) {
	pubs := make([]bus.Publication, len(items))
	for i, item := range items {
		pubs[i] = item.Publication
	}
	receivers, err := p.core.Bus.Publish(ctx, pubs)
	if err != nil {
		fill(errs, err)
		return
	}
	for i, item := range items {
		item.receivers = receivers[i]
	}
}
