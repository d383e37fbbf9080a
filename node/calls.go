package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/roles"
	"github.com/message-gateway/gateway/internal/wire"
	"github.com/message-gateway/gateway/internal/ws"
)

// do executes a call on the connections of this node that it concerns.
func (n *Node) do(ctx context.Context, target wire.HubChannel, call *control.Call) *control.Reply {
	h := n.hubs.get(target.Hub)
	if h == nil {
		return &control.Reply{}
	}
	choose, err := newChooser(call.Excluded, call.Filter)
	if err != nil {
		return &control.Reply{Error: err.Error()}
	}
	if call.Op == control.OpCount && choose == nil {
		return &control.Reply{Count: h.count(target)}
	}
	ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	list := h.list(target, choose)
	r := &control.Reply{Count: len(list)}
	switch call.Op {
	case control.OpClose:
		closeAtOnce(list, call.Reason)
		return r
	case control.OpStates:
		return n.listStates(list, call)
	}
	for _, s := range list {
		if err := s.apply(ctx, call, r); err != nil {
			r.Error = err.Error()
			break
		}
	}
	if call.Op == control.OpList {
		slices.SortFunc(r.Connections, func(a, b control.Connection) int { return cmp.Compare(a.ID, b.ID) })
		r.Connections = r.Connections[:min(call.Limit, len(r.Connections))]
	}
	return r
}

// apply executes a call on one connection.
func (s *session) apply(ctx context.Context, call *control.Call, r *control.Reply) error {
	switch call.Op {
	case control.OpCount:
	case control.OpJoin:
		var until time.Time
		if call.Until > 0 {
			until = time.UnixMilli(call.Until)
		}
		for _, group := range call.Groups {
			if err := s.join(ctx, group, until); err != nil {
				return err
			}
		}
	case control.OpLeave:
		groups := call.Groups
		if len(groups) == 0 {
			groups = s.groupNames()
		}
		for _, group := range groups {
			s.leave(group)
		}
	case control.OpList:
		if s.id > call.After {
			r.Connections = append(r.Connections, control.Connection{ID: s.id, UserID: s.userID})
		}
	case control.OpGrant, control.OpRevoke, control.OpCheck:
		return s.permission(call, r)
	case control.OpTakeover:
		if call.Reason != takeoverHand || call.From == s.node.id {
			return s.takeover(call, r)
		}
		s.streams.pause()
		err := s.takeover(call, r)
		if err != nil {
			s.streams.resume() // it stays here
		}
		return err
	default:
		// A newer version of a caller must not take silence for success.
		return errors.New("operation " + string(call.Op) + " is not known")
	}
	return nil
}

// permission grants, revokes or checks (specification, section 2.4).
func (s *session) permission(call *control.Call, r *control.Reply) error {
	p, ok := roles.ParsePermission(call.Permission)
	if !ok {
		return errors.New("permission is not known")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	switch {
	case call.Op == control.OpCheck && call.Group == "":
		r.Allowed = s.perms.CheckAny(p)
	case call.Op == control.OpCheck:
		r.Allowed = s.perms.Check(p, call.Group)
	case call.Op == control.OpGrant && call.Group == "":
		s.perms.GrantAny(p)
	case call.Op == control.OpGrant:
		err = s.perms.Grant(p, call.Group, s.node.opts.permissions())
	case call.Group == "":
		s.perms.RevokeAny(p)
	default:
		err = s.perms.Revoke(p, call.Group, s.node.opts.permissions())
	}
	if errors.Is(err, roles.ErrTooMany) {
		r.Full, err = true, nil
	}
	return err
}

// closeAtOnce closes connections, several at the same time: each may run a hook
// of the application, and the caller waits.
func closeAtOnce(list []*session, reason string) {
	const parallel = 64
	var wg sync.WaitGroup
	limit := make(chan struct{}, parallel)
	for _, s := range list {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			s.closeByServer(reason)
		})
	}
	wg.Wait()
}

// closeByServer closes the connection because the backend asked for it. The
// text stands in the disconnected frame; the session is over at once.
func (s *session) closeByServer(reason string) {
	text := "Application server closed the connection."
	if reason != "" {
		text += " Reason: " + reason
	}
	s.closeWith(ws.CloseNormal, text)
}
