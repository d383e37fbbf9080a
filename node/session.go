package node

import (
	"context"
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/roles"
	"github.com/message-gateway/gateway/internal/ws"
)

// session is a logical connection. It outlives its socket, for the recovery
// window, if its subprotocol is reliable, and can move to another node.
//
// Locks: the lock of a user or a hub may be held when a session's is taken,
// never the other way round.
type session struct {
	node   *Node
	id     string
	hub    string // in the device's spelling
	hubKey string
	room   *hub   // set by enter
	name   string // the subprotocol in the device's spelling
	sub    protocol.Subprotocol
	userID string
	// user is set for a named user in the default hub, where the three sends go.
	user *user
	// simple says what the frames of a device without subprotocol mean.
	simple  simpleMode
	streams streams
	// groups is guarded by the lock of the hub.
	groups map[string]*membership
	states groupStates

	mu    sync.Mutex
	state sessionState
	conn  *ws.Conn // nil while detached
	// since is when the connection was accepted, in milliseconds since 1970.
	since int64
	// detachedAt is when the socket broke; the recovery window starts then.
	detachedAt      time.Time
	perms           roles.Set
	connectionState string     // the application's own, opaque
	out             outbox     // reliable subprotocols only
	acks            ackCache   // ids of requests that were processed
	early           []outFrame // sent before the connected frame
	earlyBytes      int
	// asked is how many realtime messages were among them when this node heard
	// its own question for the session; see takeover.
	asked int
	// heard are the ids of messages that came from another node together with
	// the session; see takeover.
	heard      map[uint64]bool
	heardUntil time.Time
	// disconnect is what OnDisconnected is told.
	disconnect string
	// changing is held for reading by calls that change the session, and for
	// writing by its move away, which takes along what they changed.
	changing sync.RWMutex
	// greeted says that OnConnected has returned, here or on another node.
	// What would close the session before that waits in farewell: it must not
	// end before it began.
	greeted  bool
	farewell *farewell
}

// farewell is how this node closes a session.
type farewell struct {
	code    ws.CloseCode
	message string
}

type sessionState uint8

const (
	sessionOpening sessionState = iota
	sessionLive
	sessionDetached
	// sessionMoved: it goes on on another node.
	sessionMoved
	sessionEnded
)

func newSession(n *Node, id, hub, name string, sub protocol.Subprotocol, userID string) *session {
	// Not the strings of the request: each of those holds on to all its headers.
	hub, name = unique.Make(hub).Value(), unique.Make(name).Value()
	key := unique.Make(hubKey(hub)).Value()
	return &session{node: n, id: id, hub: hub, hubKey: key, name: name, sub: sub, userID: userID, since: time.Now().UnixMilli()}
}

// hubKey is the form in which hub names are compared.
func hubKey(hub string) string { return strings.ToLower(hub) }

// channels are those whose messages the session receives, besides its groups.
// A session without subprotocol gets no reliable messages, so that its node
// does not count as a receiver of them.
func (s *session) channels() []channel {
	names := s.node.core.Names
	list := []channel{
		{names.HubConnection(s.hubKey, s.id), true},
		{names.HubAll(s.hubKey), true},
	}
	if s.userID == "" {
		return list
	}
	list = append(list, channel{names.HubUser(s.hubKey, s.userID), true})
	if s.hubKey == hubKey(s.node.core.DefaultHub) {
		list = append(list, channel{names.Realtime(s.userID), false})
		if s.sub != protocol.Simple {
			list = append(list, channel{names.Deliver(s.userID), true})
		}
	}
	return list
}

// subscribe joins the channels of the session and of the groups that it starts
// with. A success is paid back by unsubscribe.
func (s *session) subscribe(ctx context.Context, groups []string) error {
	list := s.channels()
	for _, group := range groups {
		list = append(list, s.node.groupChannel(s.hubKey, group))
	}
	if err := s.node.topics.acquire(ctx, list...); err != nil {
		return err
	}
	if s.userID != "" && s.hubKey == hubKey(s.node.core.DefaultHub) {
		s.user = s.node.users.acquire(s.node, s.userID)
	}
	return nil
}

func (s *session) unsubscribe(groups []string) {
	if s.user != nil {
		s.node.users.release(s.user)
	}
	list := s.channels()
	for _, group := range groups {
		list = append(list, s.node.groupChannel(s.hubKey, group))
	}
	s.node.topics.release(list...)
}

func (s *session) public() Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Connection{ID: s.id, Hub: s.hub, UserID: s.userID, Subprotocol: s.name, State: s.connectionState}
}

// enter makes the session known, so that it hears what is sent to it. That
// must be before the device can know that it is connected: what is sent to a
// device that says it is there must reach it.
func (s *session) enter(groups []string) {
	s.node.sessions.add(s) // who calls has counted it: see admit
	s.node.core.Metrics.Connections.Add(context.Background(), 1, s.class().Add...)
	s.node.hubs.enter(s, groups)
	if s.user != nil {
		s.user.attach(s)
	}
}

// dismiss is the opposite of subscribe and enter. The ends of states are published
// while the channels are still heard: this node, too, may hear a change late, and
// must hear the end after it.
func (s *session) dismiss(cleared map[string]control.State) {
	s.node.sessions.remove(s)
	s.node.core.Metrics.Connections.Add(context.Background(), -1, s.class().Add...)
	if s.user != nil {
		s.user.detach(s)
	}
	groups := s.node.hubs.exit(s)
	s.publishEndOfStates(cleared)
	s.unsubscribe(groups)
	s.node.count.Add(-1) // last: what is not counted any more is not found any more
}

// abandon undoes enter for a session that no device and no hook has heard of.
func (s *session) abandon() {
	s.mu.Lock()
	s.state = sessionMoved
	s.mu.Unlock()
	s.dismiss(s.endStates())
}

// run begins to serve a new session, with its connected frame. n.serving, which
// who calls has raised, counts it to the end of its socket.
func (s *session) run(conn *ws.Conn, address string) {
	n := s.node
	if s.user != nil {
		s.user.startFeed(s)
	}
	if !s.open(conn) {
		n.drain(conn)
		return
	}
	n.core.Metrics.Connects.Add(context.Background(), 1, s.class().Add...)
	n.core.Log.Debug("device connected", "connection_id", s.id, "user_id", s.userID, "hub", s.hub, "subprotocol", s.name)
	if n.opts.OnConnected != nil {
		s.hook("OnConnected", func(ctx context.Context) { n.opts.OnConnected(ctx, s.public()) })
	}
	s.greet()
	if n.isClosing() {
		s.goAway()
	}
	s.serve(conn, address)
}

// greet lets the session be closed, and does what waited for that.
func (s *session) greet() {
	s.mu.Lock()
	s.greeted = true
	f := s.farewell
	s.mu.Unlock()
	if f != nil {
		s.closeWith(f.code, f.message)
	}
}

// drain ends a socket that belongs to no session.
func (n *Node) drain(conn *ws.Conn) {
	conn.Abort(nil)
	n.discard(conn)
}

// discard reads a socket that belongs to no session until it ends.
func (n *Node) discard(conn *ws.Conn) {
	conn.Serve(ws.HandlerFunc(func(ws.Opcode, []byte) {}), func(ws.End) { n.serving.Done() })
}

// open sends the connected frame, which must be the first, then what the
// device has not acknowledged, then what arrived before. It reports whether the
// session had not ended by then.
func (s *session) open(conn *ws.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != sessionOpening {
		return false
	}
	early := s.early
	s.early = nil
	s.attachLocked(conn)
	for _, f := range early {
		s.sendLocked(f)
	}
	return true
}

// attachLocked makes conn the socket of the session.
func (s *session) attachLocked(conn *ws.Conn) {
	s.conn, s.state, s.disconnect = conn, sessionLive, ""
	if s.sub == protocol.Simple {
		return
	}
	c := protocol.Connected{ConnectionID: s.id, UserID: s.userID}
	if s.sub.Reliable() {
		c.ReconnectionToken = s.node.reconnectionToken(s.id)
	}
	// Send fails only if the socket is over already; its end is noticed there.
	_ = conn.Send(controlFrame(s.sub, protocol.AppendConnected(nil, s.sub, c)))
	now := time.Now()
	for _, f := range s.out.frames {
		if f.expires.IsZero() || now.Before(f.expires) {
			_ = conn.Send(frame(f.message.Tail(s.sub), f.seq))
		}
	}
}

// serve reads one socket of the session, which came from an address, until it
// ends.
func (s *session) serve(conn *ws.Conn, address string) {
	s.node.sockets.add(conn)
	handler, done := s.handler(address)
	conn.Serve(handler, func(end ws.End) {
		defer s.node.serving.Done()
		done()
		s.node.sockets.remove(conn)
		s.countEnd(end)
		s.socketEnded(conn, end)
	})
}

// controlFrame wraps an encoded protocol frame that carries no sequence number.
func controlFrame(sub protocol.Subprotocol, frame []byte) ws.Frame {
	if sub.Binary() {
		return ws.BinaryFrame(frame)
	}
	return ws.TextFrame(frame)
}
