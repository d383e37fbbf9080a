package node

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/roles"
	"github.com/message-gateway/gateway/internal/ws"
)

// do executes a call on the connections of this node that it concerns.
func (n *Node) do(ctx context.Context, c hubCall) *control.Reply {
	if c.err != nil {
		return &control.Reply{Error: c.err.Error()}
	}
	ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	if changes(c.call.Op) {
		return n.change(ctx, c)
	}
	h := n.hubs.get(c.target.Hub)
	if h == nil {
		return &control.Reply{}
	}
	if c.call.Op == control.OpCount && c.choose == nil {
		return &control.Reply{Count: h.count(c.target)}
	}
	list := h.list(c.target, c.choose)
	r := &control.Reply{Count: len(list)}
	if c.call.Op == control.OpStates {
		return n.listStates(list, c.call)
	}
	for _, s := range list {
		if err := s.apply(ctx, c.call, r); err != nil {
			r.Error = err.Error()
			break
		}
	}
	if c.call.Op == control.OpList {
		slices.SortFunc(r.Connections, func(a, b control.Connection) int { return cmp.Compare(a.ID, b.ID) })
		r.Connections = r.Connections[:min(c.call.Limit, len(r.Connections))]
	}
	return r
}

// change executes a call that changes connections, wherever they move meanwhile.
func (n *Node) change(ctx context.Context, c hubCall) *control.Reply {
	list, err := n.concerned(ctx, c)
	if err != nil {
		return &control.Reply{Error: err.Error()}
	}
	r := &control.Reply{Count: len(list)}
	if c.call.Op == control.OpClose {
		if r.Moved = !closeAtOnce(list, c.call.Reason); r.Moved {
			r.Error = errSessionOver.Error()
		}
		return r
	}
	for _, s := range list {
		here, err := s.here(func() error { return s.apply(ctx, c.call, r) })
		if err != nil {
			r.Error, r.Moved = err.Error(), !here
			break
		}
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
// of the application, and the caller waits. It reports whether all were here.
func closeAtOnce(list []*session, reason string) bool {
	const parallel = 64
	var wg sync.WaitGroup
	var moved atomic.Bool
	limit := make(chan struct{}, parallel)
	for _, s := range list {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			here, _ := s.here(func() error {
				s.closeByServer(reason)
				return nil
			})
			if !here {
				moved.Store(true)
			}
		})
	}
	wg.Wait()
	return !moved.Load()
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
