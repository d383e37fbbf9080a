package redisbus

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math"

	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway/internal/bus"
)

//go:embed lua/lift.lua
var liftSource string

// seqCmd draws one number. The node hook recognises it and notes which node
// answered for its slot.
type seqCmd struct {
	*redis.IntCmd
	slot uint16 // on a cluster only
}

// seqCmd sends the lift script whole: it comes up only while a counter's state
// is unknown, and an EVALSHA that finds no script would be repeated behind the
// later commands of its batch, whose numbers would then be below the floor.
func (b *Bus) seqCmd(ctx context.Context, r *bus.SeqRequest) seqCmd {
	key := b.names.Seq(r.UserID)
	var cmd seqCmd
	if r.Floor > 0 {
		cmd.IntCmd = redis.NewIntCmd(ctx, "eval", liftSource, 1, key, r.Floor, r.Floor+max(0, min(r.Leap, math.MaxInt64-1-r.Floor)))
	} else {
		cmd.IntCmd = redis.NewIntCmd(ctx, "incr", key)
	}
	if b.cluster != nil {
		cmd.slot = keySlot(key)
	}
	return cmd
}

// NextSeqs draws the next number for each request. On a cluster that is a round
// trip to each node concerned, all at the same time. go-redis may repeat a
// command whose answer was lost, which leaves a gap.
func (b *Bus) NextSeqs(ctx context.Context, reqs []bus.SeqRequest) ([]int64, error) {
	if len(reqs) == 0 {
		return nil, ctx.Err()
	}
	if b.single != nil {
		if seqs, ok, err := b.draw(ctx, reqs); ok {
			return seqs, err
		}
	}
	return call(ctx, b, "draw sequence numbers", func(ctx context.Context) ([]int64, error) {
		cmds := make([]seqCmd, len(reqs))
		pipe := b.client.Pipeline()
		for i := range reqs {
			cmds[i] = b.seqCmd(ctx, &reqs[i])
			_ = pipe.Process(ctx, cmds[i]) // queued; its error comes with Exec
		}
		_, err := pipe.Exec(context.WithValue(ctx, drawing{}, b))
		seqs := make([]int64, len(reqs))
		var errs []error
		for i, cmd := range cmds {
			n, cmdErr := cmd.Result()
			if cmdErr == nil {
				seqs[i] = n
				continue
			}
			if errs == nil {
				errs = make([]error, len(reqs))
			}
			errs[i] = fmt.Errorf("user %q: counter %q: %w", reqs[i].UserID, b.names.Seq(reqs[i].UserID), cmdErr)
		}
		if errs == nil {
			return seqs, nil
		}
		for _, e := range errs {
			var answered redis.Error
			if e == nil || errors.As(e, &answered) {
				return seqs, &bus.SeqError{Errs: errs}
			}
		}
		return nil, err // no counter was reached
	})
}
