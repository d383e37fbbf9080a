package node

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/message-gateway/gateway/internal/outbound"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// Bounds of one query of the slow round.
const (
	roundUsers = 500
	roundRefs  = 1000
)

// runRounds looks, at a slow pace and after gaps, for messages of connected
// users whose hint was lost.
func (n *Node) runRounds(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.gap:
		case <-time.After(jitter(n.opts.SweepInterval)):
		}
		if err := n.round(ctx); err != nil && ctx.Err() == nil {
			n.core.Log.Warn("round over the connected users not finished", "error", err)
		}
	}
}

// round asks for the rows of all users who may lack one. Users whose rows cannot
// be read, or not in time, do not keep it from the others.
func (n *Node) round(ctx context.Context) error {
	var failed int
	var first error
	for i := range shards {
		for users := range slices.Chunk(n.users.listening(i), roundUsers) {
			err := n.roundOf(ctx, users)
			if err == nil {
				continue
			}
			if ctx.Err() != nil {
				return err
			}
			failed += len(users)
			first = cmp.Or(first, err)
		}
	}
	if first != nil {
		return fmt.Errorf("%d users left out: %w", failed, first)
	}
	return nil
}

func (n *Node) roundOf(ctx context.Context, users []string) error {
	ctx, cancel := context.WithTimeout(ctx, n.opts.HandlerTimeout)
	defer cancel()
	var after store.Ref
	for {
		refs, err := n.core.Store.UnfinishedRefs(ctx, users, after, roundRefs)
		if err != nil {
			return err
		}
		if err := n.found(ctx, refs); err != nil {
			return err
		}
		if len(refs) < roundRefs {
			return nil
		}
		after = refs[len(refs)-1]
	}
}

// found delivers the rows among refs that this node has not heard of. A command
// that a device has acknowledged is not sent again to connections that live:
// only new ones get it.
func (n *Node) found(ctx context.Context, refs []store.Ref) error {
	var missing []string
	for _, ref := range refs {
		if n.states.over(ref.ID) {
			continue
		}
		if u := n.users.get(ref.UserID); u != nil && !u.knows(ref.ID) {
			missing = append(missing, ref.ID)
		}
	}
	for ids := range slices.Chunk(missing, pageSize) {
		rows, err := n.core.Store.GetMany(ctx, ids)
		if err != nil {
			return err
		}
		slices.SortFunc(rows, func(a, b *store.Message) int { return int(a.Seq - b.Seq) })
		for _, row := range rows {
			u := n.users.get(row.UserID)
			if u == nil || !row.Status.Unfinished() || row.Status == wire.RequestDelivered {
				continue
			}
			hint, err := outbound.HintOf(row)
			if err != nil {
				n.core.Log.Error("row cannot be delivered", "message_id", row.ID, "error", err)
				continue
			}
			hint.Origin = wire.FromRound
			n.core.Metrics.Recovered.Add(ctx, 1)
			u.deliver(hint)
		}
	}
	return nil
}

// listening lists the users of one shard whose messages come live. All others
// read the rows from the start as soon as they can take more.
func (t *users) listening(i int) []string {
	shard := &t.shards[i]
	shard.RLock()
	all := slices.Collect(maps.Values(shard.m))
	shard.RUnlock()
	ids := make([]string, 0, len(all))
	for _, u := range all {
		u.mu.Lock()
		if u.listens() {
			ids = append(ids, u.id)
		}
		u.mu.Unlock()
	}
	return ids
}

// listens reports whether a session gets what comes live; u.mu is held.
func (u *user) listens() bool {
	return slices.ContainsFunc(u.sessions, func(m *member) bool {
		return m.sub != protocol.Simple && !m.feed.behind && !m.feed.missed
	})
}

// knows reports whether a message is on its way or will be read by a catch-up.
func (u *user) knows(id string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, ok := u.inFlight[id]; ok {
		return true
	}
	if _, ok := u.requested[id]; ok {
		return true
	}
	return !u.listens()
}
