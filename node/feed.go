package node

import (
	"context"
	"sort"
	"time"

	"github.com/message-gateway/gateway/internal/outbound"
	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/wire"
)

// pageSize is how many rows a catch-up reads at a time.
const pageSize = 256

// feed is where a session stands in the messages of its user. The user's lock
// guards it.
type feed struct {
	// count and bytes are what the session was handed and nobody acknowledged;
	// of commands that another had acknowledged before, what it did not itself.
	count, bytes int
	// loading: a goroutine reads rows for the session. Live messages then wait
	// in flight, so that they come after the older ones.
	loading bool
	// behind: there may be rows behind cursor that the session has not got;
	// they are read once it has room.
	behind bool
	cursor store.Cursor
	// missed: a message did not fit, so the rows must be read from the start.
	missed bool
	gone   bool
	// taken counts the rows that this catch-up has brought.
	taken int
}

func (m *member) hasRoom(size int) bool {
	frames, bytes := m.node.window()
	return m.feed.count == 0 || (m.feed.count < frames && m.feed.bytes+size <= bytes)
}

// readsOn reports whether enough was acknowledged to read rows again.
func (m *member) readsOn() bool {
	frames, _ := m.node.window()
	return m.feed.count <= frames/2
}

func (f *feed) add(size int) {
	f.count++
	f.bytes += size
}

func (f *feed) remove(size int) {
	f.count--
	f.bytes -= size
}

// feedAgain begins to read the rows for a session from the start.
func (u *user) feedAgain(m *member) {
	m.feed.missed, m.feed.behind, m.feed.cursor = false, true, store.Cursor{}
	u.load(m)
}

// refill lets sessions read on that have room again.
func (u *user) refill() {
	for _, m := range u.sessions {
		f := &m.feed
		if f.loading || !m.readsOn() {
			continue
		}
		if f.behind {
			u.load(m)
		} else if f.missed {
			u.feedAgain(m)
		}
	}
}

// load starts the goroutine that reads for a session; u.mu is held.
func (u *user) load(m *member) {
	m.feed.loading = u.node.work.Go(func(ctx context.Context) { u.runFeed(ctx, m) })
}

// runFeed reads pages until the session is full or has everything.
func (u *user) runFeed(ctx context.Context, m *member) {
	for {
		u.mu.Lock()
		cursor := m.feed.cursor
		u.mu.Unlock()
		page, err := u.page(ctx, cursor)
		if err != nil {
			if !u.pauseFeed(ctx, m, err) {
				return
			}
			continue
		}
		if u.takePage(m, page) {
			return
		}
	}
}

func (u *user) page(ctx context.Context, cursor store.Cursor) ([]*store.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, u.node.opts.HandlerTimeout)
	defer cancel()
	return u.node.core.Store.Unfinished(ctx, u.id, cursor, pageSize)
}

// pauseFeed waits after a failure and reports whether to try again.
func (u *user) pauseFeed(ctx context.Context, m *member, err error) bool {
	u.node.core.Log.Warn("catch-up waits for the database", "user_id", u.id, "connection_id", m.id, "error", err)
	select {
	case <-ctx.Done():
		return false
	case <-time.After(jitter(time.Second)):
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return !m.feed.gone
}

// takePage hands a page of rows to the session and reports whether the catch-up
// is over for now.
func (u *user) takePage(m *member, page []*store.Message) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	f := &m.feed
	if f.gone {
		f.loading = false
		return true
	}
	for _, row := range page {
		if !u.takeRow(m, row) {
			f.loading = false // full: acknowledgements let it go on
			return true
		}
		f.taken++
		f.cursor = store.Cursor{Seq: row.Seq, ID: row.ID}
	}
	if len(page) == pageSize {
		return false
	}
	f.loading, f.behind = false, false
	u.node.core.Metrics.CatchUp.Record(context.Background(), int64(f.taken))
	f.taken = 0
	u.merge(m)
	if f.missed && m.readsOn() {
		f.missed, f.behind, f.loading, f.cursor = false, true, true, store.Cursor{}
		return false
	}
	return true
}

// takeRow hands a row to the session, unless it is known to be over or there
// already. false means that the session is full.
func (u *user) takeRow(m *member, row *store.Message) bool {
	if u.node.states.over(row.ID) {
		return true // it ended after the page was read
	}
	if d, ok := u.requested[row.ID]; ok {
		if !d.reached(m.session) {
			if !m.hasRoom(d.size()) {
				return false
			}
			u.hand(m, d)
		}
		return true
	}
	d, ok := u.inFlight[row.ID]
	if ok && d.reached(m.session) {
		return true
	}
	if !m.hasRoom(len(row.Payload)) {
		return false
	}
	if !ok {
		if !u.hasRoom(len(row.Payload)) {
			u.evict()
		}
		hint, err := outbound.HintOf(row)
		if err != nil {
			u.node.core.Log.Error("row cannot be delivered", "message_id", row.ID, "error", err)
			return true
		}
		hint.Origin = wire.FromCatchUp
		d = u.track(hint)
	}
	u.hand(m, d)
	u.offerAll(d) // those that have caught up may not have heard of it
	return true
}

// merge hands the session what came live during its catch-up, in order of seq.
func (u *user) merge(m *member) {
	var waiting []*delivery
	for _, d := range u.inFlight {
		if !d.reached(m.session) {
			waiting = append(waiting, d)
		}
	}
	sort.Slice(waiting, func(i, j int) bool {
		a, b := waiting[i].hint, waiting[j].hint
		return a.Seq < b.Seq || (a.Seq == b.Seq && a.ID < b.ID)
	})
	for _, d := range waiting {
		u.offer(m, d)
	}
}
