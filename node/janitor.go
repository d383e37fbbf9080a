package node

import (
	"context"
	"time"
)

// Bounds of one query of the janitor.
const (
	janitorLock  = "janitor"
	janitorBatch = 500
)

// runJanitor does what one node at a time has to: it times out the commands of
// users who never return, and removes what ended long ago.
func (n *Node) runJanitor(ctx context.Context) {
	key := n.core.Names.Lock(janitorLock)
	for {
		select {
		case <-ctx.Done():
			// A lock that is not given back expires.
			release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			_ = n.core.Bus.Unlock(release, key, n.id)
			cancel()
			return
		case <-time.After(jitter(n.opts.SweepInterval)):
		}
		if err := n.clean(ctx, key); err != nil && ctx.Err() == nil {
			n.core.Log.Warn("janitor not finished", "error", err)
		}
	}
}

func (n *Node) clean(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(ctx, n.opts.SweepInterval)
	defer cancel()
	mine, err := n.core.Bus.TryLock(ctx, key, n.id, 2*n.opts.SweepInterval)
	if err != nil || !mine {
		return err
	}
	for {
		timedOut, err := n.core.Store.TimeOutExpired(ctx, janitorBatch)
		if err != nil {
			return err
		}
		if timedOut < janitorBatch {
			break
		}
	}
	if n.opts.Retention < 0 {
		return nil
	}
	before := n.core.Store.Now().Add(-n.opts.Retention)
	for {
		purged, err := n.core.Store.Purge(ctx, before, janitorBatch)
		if err != nil || purged < janitorBatch {
			return err
		}
	}
}
