package node

import (
	"context"
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

func (n *Node) round(ctx context.Context) error {
	for i := range shards {
		for users := range slices.Chunk(n.users.ids(i), roundUsers) {
			if err := n.roundOf(ctx, users); err != nil {
				return err
			}
		}
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
	return !slices.ContainsFunc(u.sessions, func(m *member) bool {
		return m.sub != protocol.Simple && !m.feed.behind && !m.feed.missed
	})
}
