package node

import (
	"context"
	"time"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
)

// membership is a connection's place in a group.
type membership struct {
	// until is when it ends; zero: with the connection.
	until  time.Time
	expiry *time.Timer
}

var errTooManyGroups = &requestError{ackBadRequest, "the connection is in too many groups"}

// join puts the session into a group. When it returns nil, everything that is
// published to the group from then on reaches the session. Joining a group
// again only changes how long it lasts.
func (s *session) join(ctx context.Context, group string, until time.Time) error {
	n := s.node
	topic := n.groupChannel(s.hubKey, group)
	if err := n.topics.acquire(ctx, topic); err != nil {
		return err
	}
	m := &membership{until: until}
	s.room.mu.Lock()
	here := s.room.sessions[s.id] == s
	_, again := s.groups[group]
	full := !again && len(s.groups) >= n.opts.MaxGroups
	if here && !full {
		if again {
			s.room.leaveLocked(s, group)
		}
		if !until.IsZero() {
			m.expiry = time.AfterFunc(until.Sub(n.core.Store.Now()), func() { s.leaveExpired(group, m) })
		}
		s.room.joinLocked(s, group, m)
	}
	s.room.mu.Unlock()
	if !here || full || again {
		n.topics.release(topic)
	}
	if full {
		return errTooManyGroups
	}
	return nil
}

// leave takes the session out of a group; not being there is no error.
func (s *session) leave(group string) {
	s.room.mu.Lock()
	_, member := s.groups[group]
	var left leftGroup
	if member {
		s.room.leaveLocked(s, group)
		left = s.forsake(group)
	}
	s.room.mu.Unlock()
	if member {
		s.forsaken(group, left) // while this node still hears the group, see dismiss
		s.node.topics.release(s.node.groupChannel(s.hubKey, group))
	}
}

// leaveExpired ends a membership, unless it was renewed meanwhile.
func (s *session) leaveExpired(group string, m *membership) {
	s.room.mu.Lock()
	current := s.groups[group] == m
	var left leftGroup
	if current {
		s.room.leaveLocked(s, group)
		left = s.forsake(group)
	}
	s.room.mu.Unlock()
	if current {
		s.forsaken(group, left) // while this node still hears the group, see dismiss
		s.node.topics.release(s.node.groupChannel(s.hubKey, group))
	}
}

// groupNames lists the groups of the session.
func (s *session) groupNames() []string {
	s.room.mu.RLock()
	defer s.room.mu.RUnlock()
	names := make([]string, 0, len(s.groups))
	for group := range s.groups {
		names = append(names, group)
	}
	return names
}

func (n *Node) groupChannel(hubKey, group string) channel {
	return channel{name: n.core.Names.HubGroup(hubKey, group), sharded: true}
}

// groupFrame executes the frames that concern groups.
func (s *session) groupFrame(ctx context.Context, f *protocol.Frame) error {
	switch f.Type {
	case protocol.JoinGroup:
		if !s.mayJoin(f.Group) {
			return &requestError{ackForbidden, "the connection may not join the group"}
		}
		return s.join(ctx, f.Group, time.Time{})
	case protocol.LeaveGroup:
		if !s.mayJoin(f.Group) {
			return &requestError{ackForbidden, "the connection may not leave the group"}
		}
		s.leave(f.Group)
		return nil
	default:
		data := f.Data
		if !data.Present() {
			data.Type = protocol.Text // metadata alone goes with an empty text
		}
		return s.publish(ctx, f.Group, f.NoEcho, control.Message{
			DataType: data.Type.String(), TTLSeconds: int(f.TTLSeconds), Metadata: f.Metadata, Data: data.Bytes,
		})
	}
}

func (s *session) mayJoin(group string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.perms.CanJoin(group)
}

func (s *session) maySend(group string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.perms.CanSend(group)
}

// publish sends a message of this device to a group, wherever its members are.
func (s *session) publish(ctx context.Context, group string, noEcho bool, m control.Message) error {
	if !s.maySend(group) {
		return &requestError{ackForbidden, "the connection may not send to the group"}
	}
	return s.publishAllowed(ctx, group, noEcho, m)
}

// publishAllowed is publish without asking whether the device may.
func (s *session) publishAllowed(ctx context.Context, group string, noEcho bool, m control.Message) error {
	m.ID, m.FromUserID = newMessageID(), s.userID
	if noEcho {
		m.Excluded = []string{s.id}
	}
	return s.node.publisher.Publish(ctx, bus.Publication{
		Channel: s.node.core.Names.HubGroup(s.hubKey, group), Payload: m.Encode(), Sharded: true,
	})
}
