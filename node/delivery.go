package node

import (
	"context"
	"slices"
	"time"

	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/wire"
)

// Bounds of what is on its way to one session. The window must stay below the
// number of frames that a reliable connection may leave without sequenceAck,
// and above what official clients leave (300), or neither the catch-up nor the
// client would move on. A user has room for a window of each session and one
// of messages that wait for a catch-up.
const (
	maxWindow      = 512
	maxWindowBytes = 8 << 20
	maxRequested   = 1024
)

// window is what may be on its way to one session: half of a small queue, so
// that a catch-up alone never fills it.
func (n *Node) window() (frames, bytes int) {
	return min(maxWindow, max(n.opts.MaxQueue/2, 1)), min(maxWindowBytes, max(n.opts.MaxQueueBytes/2, 1))
}

// delivery is one message on its way to a user. The user's lock guards it.
type delivery struct {
	user  *user
	hint  *wire.Hint
	frame *protocol.Shared
	// sessions have been handed the message and still live. The first released
	// of them have it in their windows no more.
	sessions []*session
	released int
	sentAt   time.Time // by the database's clock; zero: not handed to any yet
	timer    timer     // guarded by retries.mu
	trace    *deliveryTrace
}

func newDelivery(u *user, h *wire.Hint) *delivery {
	return &delivery{user: u, hint: h, trace: u.node.newTrace(h), frame: protocol.NewShared(protocol.Message{
		Data: protocol.Data{Type: protocol.JSON, Bytes: h.Envelope},
	})}
}

func (d *delivery) size() int { return len(d.hint.Envelope) }

func (d *delivery) reached(s *session) bool { return slices.Contains(d.sessions, s) }

func (d *delivery) forget(s *session) {
	if i := slices.Index(d.sessions, s); i >= 0 {
		d.sessions = slices.Delete(d.sessions, i, i+1)
		if i < d.released {
			d.released--
		}
	}
}

// deliver takes a message that the node heard of, and hands it to every
// connection that can take it now. A message that is known is known.
func (u *user) deliver(h *wire.Hint) {
	u.mu.Lock()
	defer u.mu.Unlock()
	// Under the lock, or an acknowledgement could come between the two.
	if u.node.states.over(h.ID) || !u.pubsub() {
		return
	}
	for _, set := range []map[string]*delivery{u.inFlight, u.requested} {
		if d, known := set[h.ID]; known && d.hint.ResponseQueue == "" {
			d.hint.ResponseQueue = h.ResponseQueue
		}
	}
	if _, known := u.requested[h.ID]; known {
		return
	}
	if d, known := u.inFlight[h.ID]; known {
		u.offerAll(d)
		return
	}
	if !u.hasRoom(len(h.Envelope)) {
		// The database holds it: every connection reads it there, later.
		for _, m := range u.sessions {
			m.feed.missed = true
		}
		return
	}
	u.offerAll(u.track(h))
}

// offerAll offers a message to the sessions that have not got it. A catch-up of
// one of them may have found it first.
func (u *user) offerAll(d *delivery) {
	for _, m := range u.sessions {
		u.offer(m, d)
	}
}

func (u *user) hasRoom(size int) bool {
	windows := len(u.sessions) + 1
	frames, bytes := u.node.window()
	return len(u.inFlight) == 0 || (len(u.inFlight) < frames*windows && u.bytes+size <= bytes*windows)
}

// evict makes room for a catch-up: messages that no session has got yet are
// read from the database when their turn comes.
func (u *user) evict() {
	for _, d := range u.inFlight {
		if len(d.sessions) == 0 {
			u.remove(d)
		}
	}
	for _, m := range u.sessions {
		m.feed.missed = true
	}
}

// track puts a message in flight.
func (u *user) track(h *wire.Hint) *delivery {
	if u.inFlight == nil {
		u.inFlight = map[string]*delivery{}
	}
	d := newDelivery(u, h)
	u.inFlight[h.ID] = d
	u.bytes += d.size()
	u.node.retries.add(d, u.node.nextAttempt(d))
	return d
}

// offer hands a message to a session, unless that is busy catching up or full:
// then it gets it later.
func (u *user) offer(m *member, d *delivery) {
	switch {
	case m.sub == protocol.Simple || m.feed.loading || m.feed.behind || d.reached(m.session):
	case !m.hasRoom(d.size()):
		m.feed.missed = true
	default:
		u.hand(m, d)
	}
}

// hand writes a message to a session.
func (u *user) hand(m *member, d *delivery) {
	if !m.send(outFrame{message: d.frame, delivery: d}) {
		return
	}
	d.sessions = append(d.sessions, m.session)
	m.feed.add(d.size())
	u.node.core.Metrics.Delivered.Add(context.Background(), 1, kinds[d.hint.Type].Add...)
	u.node.traceDelivery(d, m.session, false)
	if d.sentAt.IsZero() {
		d.sentAt = u.node.core.Store.Now()
		u.node.states.delivered(d.hint.ID, d.sentAt)
	}
}

// acknowledge records that a device has these messages. Any device of the user
// may acknowledge.
func (u *user) acknowledge(s *session, deliveries []*delivery) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, d := range deliveries {
		switch d {
		case u.inFlight[d.hint.ID]:
			u.settle(d, s)
		case u.requested[d.hint.ID]:
			u.release(d, s)
		}
	}
	u.refill()
}

// acknowledgeIDs is acknowledge for ids that a device named. It returns those
// that are not in flight.
func (u *user) acknowledgeIDs(s *session, ids []string) (unknown []string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, id := range ids {
		if d, ok := u.inFlight[id]; ok {
			u.settle(d, s)
		} else if d, ok := u.requested[id]; ok {
			u.release(d, s)
		} else {
			unknown = append(unknown, id)
		}
	}
	u.refill()
	return unknown
}

// settle ends the delivery of a message; a command waits for its answer then.
func (u *user) settle(d *delivery, s *session) {
	span := u.node.traceAcknowledgement(d, s)
	u.node.states.acknowledge(d.hint.ID, d.sentAt, d.hint.Type, span)
	if d.hint.SentAt != 0 {
		u.node.acknowledgedAfter(d.hint.Type, time.UnixMicro(d.hint.SentAt))
	}
	u.remove(d)
	if d.hint.Type == wire.Command && len(u.requested) < maxRequested {
		if u.requested == nil {
			u.requested = map[string]*delivery{}
		}
		u.requested[d.hint.ID] = d
		u.node.retries.add(d, d.hint.Expiry())
	}
}

// release takes a command that waits for its answer out of the window of a
// session: it was handed it after another device had acknowledged it.
func (u *user) release(d *delivery, s *session) {
	i := slices.Index(d.sessions, s)
	if m := u.member(s); m != nil && i >= d.released {
		m.feed.remove(d.size())
		d.sessions[i], d.sessions[d.released] = d.sessions[d.released], s
		d.released++
	}
}

// releaseAll takes a message out of every window.
func (u *user) releaseAll(d *delivery) {
	for _, s := range d.sessions[d.released:] {
		if m := u.member(s); m != nil {
			m.feed.remove(d.size())
		}
	}
	d.released = len(d.sessions)
}

// remove takes a message out of flight.
func (u *user) remove(d *delivery) {
	if u.inFlight[d.hint.ID] == d {
		delete(u.inFlight, d.hint.ID)
		u.bytes -= d.size()
		u.releaseAll(d)
	}
	if requested, ok := u.requested[d.hint.ID]; ok {
		delete(u.requested, d.hint.ID)
		u.releaseAll(requested)
	}
	u.node.retries.remove(d)
}

// command finds a command that is on its way, or waits for its answer, and the
// queue for that.
func (u *user) command(requestID string) (d *delivery, queue string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, set := range []map[string]*delivery{u.inFlight, u.requested} {
		for _, d := range set {
			if d.hint.RequestID == requestID {
				return d, d.hint.ResponseQueue
			}
		}
	}
	return nil, ""
}

// forget drops a message that is over.
func (u *user) forget(d *delivery) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.remove(d)
	u.refill()
}
