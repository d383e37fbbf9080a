package node

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/roles"
	"github.com/message-gateway/gateway/internal/wire"
	"github.com/message-gateway/gateway/internal/ws"
)

// A device may recover its connection on another node than the one that holds
// it. That node asks twice. The first time it learns the user and the groups,
// so that it can subscribe to their channels; from then on both nodes hear
// everything. The second time the connection moves, with the frames that the
// device has not acknowledged; what both heard is recognised and kept once. The
// answer comes on the same listener as the messages, so whatever the other node
// heard before it answered was heard here before the answer. Both hear the second
// question as well, in its place among the messages: what was heard here before
// it, the other node had heard too. On a Redis Cluster
// channels have orders of their own; there the ids of what the other node
// handed out are remembered for a moment.
// A node that does not answer, because it is dead or paused, means that the
// connection is lost: the device is told so at once, with 1008.

// moved is a connection on its way to another node.
type moved struct {
	UserID   string           `json:"user,omitempty"`
	Hub      string           `json:"hub"`
	Name     string           `json:"name"` // of the subprotocol
	Groups   map[string]int64 `json:"groups,omitempty"`
	Perms    roles.Set        `json:"perms"`
	State    string           `json:"state,omitempty"`
	Since    int64            `json:"since,omitempty"`
	Next     uint64           `json:"next,omitempty"`
	Frames   []movedFrame     `json:"frames,omitempty"`
	Realtime []uint64         `json:"realtime,omitempty"`
	// Heard is how many realtime messages came between the question and the
	// answer. nil: from a node of an earlier version.
	Heard   *uint64       `json:"heard,omitempty"`
	Acks    []uint64      `json:"acks,omitempty"`
	Streams []movedStream `json:"streams,omitempty"`
	States  *movedStates  `json:"states,omitempty"`
}

// movedFrame is a frame without sequenceAck.
type movedFrame struct {
	Seq     uint64           `json:"seq"`
	ID      uint64           `json:"id,omitempty"`
	Expires int64            `json:"exp,omitempty"` // milliseconds from now
	Hint    *wire.Hint       `json:"hint,omitempty"`
	Message *control.Message `json:"msg,omitempty"`
	// State is what a group state frame holds.
	State *protocol.GroupState `json:"state,omitempty"`
	Group string               `json:"group,omitempty"`
	Data  []byte               `json:"data"`
}

// rememberHeard is how long messages may be on their way over another shard.
const rememberHeard = 5 * time.Second

// describe and hand are the two questions.
const (
	takeoverDescribe = "describe"
	takeoverHand     = "hand"
)

var errNotRecoverable = errors.New("the connection cannot be recovered")

// takeover answers the two questions of another node.
func (s *session) takeover(call *control.Call, r *control.Reply) error {
	if call.From == s.node.id {
		return nil // the question is for the other one
	}
	if !s.sub.Reliable() {
		return errNotRecoverable
	}
	if call.Reason == takeoverDescribe {
		raw, err := json.Marshal(moved{UserID: s.userID, Hub: s.hub, Name: s.name, Groups: s.movedGroups()})
		r.Session = raw
		return err
	}
	m, err := s.depart(call.Heard)
	if err != nil {
		return err
	}
	r.Session, err = json.Marshal(m)
	return err
}

func (s *session) movedGroups() map[string]int64 {
	s.room.mu.RLock()
	defer s.room.mu.RUnlock()
	groups := make(map[string]int64, len(s.groups))
	for group, m := range s.groups {
		groups[group] = 0
		if !m.until.IsZero() {
			groups[group] = m.until.UnixMilli()
		}
	}
	return groups
}

// depart ends the session here without telling the application: it goes on
// elsewhere.
func (s *session) depart(heard uint64) (*moved, error) {
	s.changing.Lock()
	defer s.changing.Unlock()
	states := s.exportStates()
	m, conn, err := s.pack(heard)
	if err != nil {
		s.restoreStates(states)
		return nil, err
	}
	m.States = states
	if conn != nil {
		conn.Abort(errReplaced)
	}
	s.dismiss(nil) // its states move
	return m, nil
}

// pack marks the session as moved and returns what moves. heard is how many
// realtime messages it had heard before it was asked for.
func (s *session) pack(heard uint64) (*moved, *ws.Conn, error) {
	groups := s.movedGroups()
	if s.user != nil {
		// Hints belong to the user: where an answer goes may be noted late.
		s.user.mu.Lock()
		defer s.user.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != sessionLive && s.state != sessionDetached {
		return nil, nil, errNotRecoverable
	}
	s.state = sessionMoved
	m := &moved{
		UserID: s.userID, Hub: s.hub, Name: s.name, Groups: groups, Perms: s.perms, State: s.connectionState, Since: s.since,
		Next: s.out.next, Acks: slices.Clone(s.acks.ring), Realtime: slices.Clone(s.out.realtime), Streams: s.streams.export(),
	}
	heard = s.out.heard - heard
	m.Heard = &heard
	now := time.Now()
	for _, f := range s.out.frames {
		m.Frames = append(m.Frames, f.export(now))
	}
	conn := s.conn
	s.conn = nil
	return m, conn, nil
}

func (f *outFrame) export(now time.Time) movedFrame {
	if state := f.message.State(); state != nil {
		return movedFrame{Seq: f.seq, State: state}
	}
	message := f.message.Message()
	out := movedFrame{Seq: f.seq, ID: f.id, Group: message.Group, Data: message.Data.Bytes}
	if f.delivery != nil {
		hint := *f.delivery.hint
		out.Hint = &hint
		return out
	}
	if !f.expires.IsZero() {
		out.Expires = max(1, f.expires.Sub(now).Milliseconds())
	}
	out.Message = &control.Message{
		DataType: message.Data.Type.String(), FromUserID: message.FromUserID, Metadata: message.Metadata,
	}
	if st := message.Stream; st != nil {
		out.Message.Stream = &control.Stream{ID: st.StreamID, SequenceID: st.SequenceID, End: st.EndOfStream}
		if st.Error != nil {
			out.Message.Stream.Error = &control.StreamError{Name: st.Error.Name, Message: st.Error.Message, UserCode: st.Error.UserErrorCode}
		}
	}
	return out
}

// fetch moves a connection from another node to this one. The session that it
// returns waits for a socket, and hears what is sent to it.
func (n *Node) fetch(ctx context.Context, t target, sub protocol.Subprotocol) (*session, error) {
	hubKey := hubKey(t.hub)
	channel := n.core.Names.HubConnection(hubKey, t.connectionID)
	about, err := n.askSession(ctx, channel, takeoverDescribe)
	if err != nil {
		return nil, err
	}
	if known, _ := protocol.ParseSubprotocol(about.Name); known != sub {
		return nil, errNotRecoverable
	}
	groups := make([]string, 0, len(about.Groups))
	for group := range about.Groups {
		groups = append(groups, group)
	}
	s := newSession(n, t.connectionID, about.Hub, about.Name, sub, about.UserID)
	defer n.arrivals.begin(s, groups)()
	if err := s.subscribe(ctx, groups); err != nil {
		return nil, err
	}
	n.count.Add(1) // never refused: it was accepted before
	s.enter(groups)
	m, err := n.askSession(ctx, channel, takeoverHand)
	if err == nil {
		err = s.arrive(ctx, m)
	} else {
		n.peers.lost.Add(1) // it may have been handed over, with its states, to nobody
	}
	if err != nil {
		s.abandon()
		return nil, err
	}
	return s, nil
}

// askSession asks the node that holds a connection; this node, which may be
// subscribed already, answers with an error and is not counted.
func (n *Node) askSession(ctx context.Context, channel, question string) (*moved, error) {
	replies, err := n.caller.Call(ctx, channel, control.Call{Op: control.OpTakeover, Reason: question, From: n.id})
	for _, r := range replies {
		if len(r.Session) == 0 {
			continue
		}
		var m moved
		if err := json.Unmarshal(r.Session, &m); err != nil {
			return nil, err
		}
		return &m, nil
	}
	return nil, errors.Join(errNotRecoverable, err)
}

// arrive fills the session with what the other node knew. What this node has
// heard since it subscribed comes after that, except what both have heard.
func (s *session) arrive(ctx context.Context, m *moved) error {
	deliveries := map[uint64]*delivery{}
	if s.user != nil {
		for _, f := range m.Frames {
			if f.Hint != nil {
				f.Hint.Envelope = f.Data
				deliveries[f.Seq] = s.user.adopt(s, f.Hint)
			}
		}
	}
	s.mu.Lock()
	s.perms, s.connectionState, s.since = m.Perms, m.State, m.Since
	for _, id := range m.Acks {
		s.acks.add(id, s.node.opts.MaxAckIDs)
	}
	heard := map[uint64]bool{}
	now := time.Now()
	s.out.next = m.Next
	for _, f := range m.Frames {
		frame := f.restore(deliveries[f.Seq], now)
		heard[frame.id] = frame.id != 0
		s.out.frames = append(s.out.frames, frame)
		s.out.bytes += len(frame.message.Tail(s.sub).Bytes())
	}
	s.out.realtime = m.Realtime
	s.keepEarly(m, heard)
	s.heard, s.heardUntil = heard, now.Add(rememberHeard)
	s.mu.Unlock()
	s.streams.restore(s, m.Streams)
	s.restoreStates(m.States)

	for group, until := range m.Groups {
		var end time.Time
		if until > 0 {
			end = time.UnixMilli(until)
		}
		if err := s.join(ctx, group, end); err != nil {
			return err
		}
	}
	for _, group := range s.groupNames() {
		if _, ok := m.Groups[group]; !ok {
			s.leave(group)
		}
	}
	if s.user != nil {
		s.user.startFeed(s)
	}
	return nil
}

func (f *movedFrame) restore(d *delivery, now time.Time) outFrame {
	out := outFrame{seq: f.Seq, id: f.ID, delivery: d}
	switch {
	case d != nil:
		out.message = d.frame
		return out
	case f.State != nil:
		out.message = protocol.NewSharedState(f.State)
		return out
	case f.Message == nil:
		out.message = protocol.NewShared(protocol.Message{Data: protocol.Data{Type: protocol.JSON, Bytes: f.Data}})
		return out
	}
	if f.Expires > 0 {
		out.expires = now.Add(time.Duration(f.Expires) * time.Millisecond)
	}
	target := wire.HubChannel{Kind: wire.TargetAll}
	if f.Group != "" {
		target = wire.HubChannel{Kind: wire.TargetGroup, ID: f.Group}
	}
	f.Message.Data = f.Data
	out.message = protocol.NewShared(message(target, f.Message))
	return out
}

// noteTakeover notes how many realtime messages came before the second question,
// on the node that has the session and on the one that asks. It is called where
// the question stands among the messages.
func (n *Node) noteTakeover(target wire.HubChannel, call *control.Call) {
	s := n.sessions.get(target.ID)
	if call.Reason != takeoverHand || target.Kind != wire.TargetConnection || s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	call.Heard = s.out.heard
	if call.From == n.id && s.state == sessionOpening {
		s.asked = len(realtimeOf(s.early))
	}
}

// realtimeOf are the hashes of the realtime messages among frames.
func realtimeOf(frames []outFrame) (hashes []uint64) {
	for _, f := range frames {
		if f.realtime != 0 {
			hashes = append(hashes, f.realtime)
		}
	}
	return hashes
}

// keepEarly leaves out, of what this node has heard, what the other one had heard.
func (s *session) keepEarly(m *moved, heard map[uint64]bool) {
	s.early, s.earlyBytes = s.afterOverlap(m, heard), 0
	for i := range s.early {
		s.earlyBytes += s.early[i].size(s.sub)
	}
}

// afterOverlap is what this node heard, without what the other node had handed to
// the session already. Messages of hubs have ids. Realtime messages have none,
// because their channel belongs to the wire contract: both nodes have counted
// them. Where the counts do not agree with what both have heard, on a Redis
// Cluster for one, the other node's last ones and this node's first ones are the
// same as far as they agree. The lock of the session is held.
func (s *session) afterOverlap(m *moved, heard map[uint64]bool) []outFrame {
	hashes := realtimeOf(s.early)
	skip := counted(m, hashes, s.asked)
	if skip < 0 {
		skip = overlap(m.Realtime, hashes)
	}
	kept := s.early[:0]
	for _, f := range s.early {
		if f.realtime != 0 && skip > 0 {
			skip--
			continue
		}
		if f.id != 0 && heard[f.id] {
			continue
		}
		kept = append(kept, f)
	}
	return kept
}

// counted is how many of this node's first realtime messages the other node had as
// well: those before the question, and as many as came to it after that. −1 where
// that cannot be.
func counted(m *moved, hashes []uint64, asked int) int {
	if m.Heard == nil || *m.Heard > uint64(len(hashes)-asked) {
		return -1
	}
	n := asked + int(*m.Heard)
	known := min(n, len(m.Realtime))
	if !slices.Equal(m.Realtime[len(m.Realtime)-known:], hashes[n-known:n]) {
		return -1
	}
	return n
}

// overlap is the length of the longest end of a that is a start of b.
func overlap(a, b []uint64) int {
	for n := min(len(a), len(b)); n > 0; n-- {
		if slices.Equal(a[len(a)-n:], b[:n]) {
			return n
		}
	}
	return 0
}
