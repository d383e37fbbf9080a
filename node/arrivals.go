package node

import (
	"context"
	"slices"
	"sync"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/wire"
)

// A call that changes a connection may meet its move to another node. Both nodes
// hear it, or only the one that has the connection, if the other one has not
// subscribed yet. So that a call that is reported as done holds after the move:
//
//   - connections are looked up when the call is heard, which is before the
//     question for the connection if the other node has not heard the call;
//   - the node that has the connection changes it before it leaves, or says that it
//     has left, so that the call is repeated;
//   - the node that it moves to changes it when it has arrived.

// arrivals are the connections that just move here. The zero value is ready. All
// methods may be called from several goroutines.
type arrivals struct {
	mu sync.Mutex
	m  map[*arrival]struct{}
}

type arrival struct {
	session *session
	groups  []string
	done    chan struct{}
}

// begin notes a connection before it hears anything; the caller must end that.
func (t *arrivals) begin(s *session, groups []string) (end func()) {
	a := &arrival{s, groups, make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[*arrival]struct{}{}
	}
	t.m[a] = struct{}{}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.m, a)
		close(a.done)
	}
}

// of lists those that a call may concern.
func (t *arrivals) of(target wire.HubChannel) (list []*arrival) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for a := range t.m {
		if a.isAt(target) {
			list = append(list, a)
		}
	}
	return list
}

func (a *arrival) isAt(target wire.HubChannel) bool {
	if a.session.hubKey != target.Hub {
		return false
	}
	switch target.Kind {
	case wire.TargetConnection:
		return a.session.id == target.ID
	case wire.TargetUser:
		return a.session.userID == target.ID
	case wire.TargetGroup:
		return slices.Contains(a.groups, target.ID)
	default:
		return true
	}
}

// changes reports whether a call must not miss a connection that moves.
func changes(op control.Op) bool {
	switch op {
	case control.OpJoin, control.OpLeave, control.OpGrant, control.OpRevoke, control.OpCheck, control.OpClose:
		return true
	default:
		return false
	}
}

// prepare looks up, when a call is heard, whom it concerns.
func (n *Node) prepare(target wire.HubChannel, call *control.Call) hubCall {
	c := hubCall{target: target, call: call}
	c.choose, c.err = newChooser(call.Excluded, call.Filter)
	if c.err != nil || !changes(call.Op) {
		return c
	}
	c.arriving = n.arrivals.of(target)
	if h := n.hubs.get(target.Hub); h != nil {
		c.found = h.list(target, c.choose)
	}
	return c
}

// concerned lists the sessions of a call that changes something, when those that
// were arriving are here.
func (n *Node) concerned(ctx context.Context, c hubCall) ([]*session, error) {
	arrived := map[*session]bool{}
	for _, a := range c.arriving {
		select {
		case <-a.done:
			arrived[a.session] = true
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	list := slices.DeleteFunc(c.found, func(s *session) bool { return arrived[s] })
	if h := n.hubs.get(c.target.Hub); h != nil && len(arrived) > 0 {
		for _, s := range h.list(c.target, c.choose) {
			if arrived[s] {
				list = append(list, s)
			}
		}
	}
	return list, nil
}

// here calls change unless the session has moved away, and not while it does. It
// reports whether it did.
func (s *session) here(change func() error) (bool, error) {
	s.changing.RLock()
	defer s.changing.RUnlock()
	s.mu.Lock()
	moved := s.state == sessionMoved
	s.mu.Unlock()
	if moved {
		return false, errSessionOver
	}
	return true, change()
}
