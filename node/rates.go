package node

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/message-gateway/gateway/internal/ws"
)

// RateLimits bound what one user and one address may do on this node; each
// node counts for itself. The zero value bounds nothing. An IPv6 address counts
// with all others of its /64, which is what one subscriber has.
type RateLimits struct {
	// Address says where a request comes from. Default: the peer of its TCP
	// connection, which behind a proxy is the proxy: use ForwardedFor there, or
	// all devices share one bound.
	Address func(r *http.Request) netip.Addr
	// ConnectionsPerAddress bounds the handshakes of an address, recoveries and
	// those that are refused among them: one more is refused with 429 and a
	// Retry-After, before its token is looked at. Default: no bound.
	ConnectionsPerAddress Rate
	// ConnectionsPerUser bounds the handshakes of a user whose token is good,
	// except recoveries: one more is refused with 429 and a Retry-After. It does
	// not concern anonymous devices. Default: no bound.
	ConnectionsPerUser Rate
	// MessagesPerAddress and MessagesPerUser bound the frames that all devices
	// of an address, or of a user, send together. A device beyond it is read
	// more slowly, so that nothing is lost; one whose next frame would have to
	// wait for longer than five seconds is closed with 1008. WebSocket pings do
	// not count. Default: no bound.
	MessagesPerAddress Rate
	MessagesPerUser    Rate
}

// Rate is a token bucket.
type Rate struct {
	// PerSecond is how many are allowed each second in the long run; 0 means no
	// bound.
	PerSecond float64
	// Burst is how many may come at once after a pause. Default: PerSecond,
	// rounded up.
	Burst int
}

func (l RateLimits) validate() error {
	for name, r := range map[string]Rate{
		"ConnectionsPerAddress": l.ConnectionsPerAddress, "ConnectionsPerUser": l.ConnectionsPerUser,
		"MessagesPerAddress": l.MessagesPerAddress, "MessagesPerUser": l.MessagesPerUser,
	} {
		switch {
		case r.PerSecond < 0 || math.IsNaN(r.PerSecond) || math.IsInf(r.PerSecond, 0):
			return fmt.Errorf("%w: RateLimits.%s.PerSecond is %v", ErrInvalidOptions, name, r.PerSecond)
		case r.Burst < 0:
			return fmt.Errorf("%w: RateLimits.%s.Burst is negative", ErrInvalidOptions, name)
		case r.Burst > 0 && r.PerSecond == 0:
			return fmt.Errorf("%w: RateLimits.%s has a Burst without PerSecond", ErrInvalidOptions, name)
		}
	}
	return nil
}

// ForwardedFor is a RateLimits.Address for nodes behind proxies: the last
// address in X-Forwarded-For that is not a trusted proxy's, if the peer of the
// connection is one. Anybody else could write what they like into that header.
func ForwardedFor(proxies ...netip.Prefix) func(r *http.Request) netip.Addr {
	trusted := func(a netip.Addr) bool {
		for _, p := range proxies {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	return func(r *http.Request) netip.Addr {
		address := peer(r)
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		for i := len(hops) - 1; i >= 0 && trusted(address); i-- {
			hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
			if err != nil {
				break // the proxy that we trust wrote no address: it counts itself
			}
			address = hop.Unmap()
		}
		return address
	}
}

// peer is the other end of the TCP connection; the zero value if that has no
// address, as with Unix sockets.
func peer(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// maxThrottle is the longest that a frame waits for its turn.
const maxThrottle = 5 * time.Second

// rates applies the RateLimits of a node.
type rates struct {
	address                             func(r *http.Request) netip.Addr
	addressConnections, userConnections *meters
	addressMessages, userMessages       *meters
}

func newRates(l RateLimits) *rates {
	r := &rates{
		address:            l.Address,
		addressConnections: newMeters(l.ConnectionsPerAddress), userConnections: newMeters(l.ConnectionsPerUser),
		addressMessages: newMeters(l.MessagesPerAddress), userMessages: newMeters(l.MessagesPerUser),
	}
	if r.address == nil {
		r.address = peer
	}
	return r
}

// addressKey is what an address is counted under; empty for none.
func (r *rates) addressKey(request *http.Request) string {
	a := r.address(request)
	if !a.IsValid() {
		return ""
	}
	if a.Is6() && !a.Is4In6() {
		p, _ := a.WithZone("").Prefix(64) // 64 bits are in every IPv6 address
		a = p.Addr()
	}
	return a.String()
}

// admitRate counts a handshake, and answers it where there were too many.
func (n *Node) admitRate(w http.ResponseWriter, m *meters, key, reason string) bool {
	wait, ok := m.allow(key)
	if !ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		n.refuse(w, reason, http.StatusTooManyRequests, "too many connections, try again later")
	}
	return ok
}

// throttled is the handler of a socket whose frames are counted.
type throttled struct {
	session *session
	meters  []*meter
}

// HandleMessage waits for the turn of the frame.
func (t *throttled) HandleMessage(op ws.Opcode, payload []byte) {
	n := t.session.node
	now := time.Now()
	var delay time.Duration
	var turns [2]*rate.Reservation
	for i, m := range t.meters {
		turns[i] = m.limiter.ReserveN(now, 1)
		delay = max(delay, turns[i].DelayFrom(now))
	}
	if delay > 0 {
		n.core.Metrics.Throttled.Add(context.Background(), 1)
	}
	if delay > maxThrottle {
		for _, turn := range turns[:len(t.meters)] {
			turn.CancelAt(now) // the other devices do not wait for this one
		}
		n.countRefused("rate")
		t.session.closeWith(ws.ClosePolicyViolation, "Too many messages.")
		return
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-n.handlers.Done():
		}
	}
	t.session.HandleMessage(op, payload)
}

// handler is what reads a socket of the session that came from an address, and
// what to call when the socket is over.
func (s *session) handler(address string) (ws.Handler, func()) {
	r := s.node.rates
	held := &throttled{session: s}
	for _, take := range []struct {
		from *meters
		key  string
	}{{r.addressMessages, address}, {r.userMessages, s.userID}} {
		if m := take.from.acquire(take.key); m != nil {
			held.meters = append(held.meters, m)
		}
	}
	if len(held.meters) == 0 {
		return s, func() {}
	}
	return held, func() {
		for _, m := range held.meters {
			m.release()
		}
	}
}

// maxMeters bounds the meters that nobody holds. Beyond it some are forgotten
// early, and what they counted with them.
const maxMeters = 100_000

// meters are the token buckets of one limit, by user or address. nil means that
// there is no limit.
type meters struct {
	limit rate.Limit
	burst int

	mu    sync.Mutex
	keys  map[string]*meter
	idle  int // meters that nobody holds
	swept time.Time
}

type meter struct {
	of      *meters
	limiter *rate.Limiter
	held    int // guarded by of.mu
}

func newMeters(r Rate) *meters {
	if r.PerSecond == 0 {
		return nil
	}
	burst := cmp.Or(r.Burst, int(math.Ceil(r.PerSecond)))
	return &meters{limit: rate.Limit(r.PerSecond), burst: burst, keys: map[string]*meter{}}
}

// allow takes one token, or says when there will be one.
func (m *meters) allow(key string) (wait time.Duration, ok bool) {
	if m == nil || key == "" {
		return 0, true
	}
	held := m.acquire(key)
	defer held.release()
	now := time.Now()
	token := held.limiter.ReserveN(now, 1)
	if wait = token.DelayFrom(now); wait > 0 {
		token.CancelAt(now)
		return wait, false
	}
	return 0, true
}

// acquire returns the meter of a key, which all who hold it share; nil means
// that nothing is counted.
func (m *meters) acquire(key string) *meter {
	if m == nil || key == "" {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.keys[key]
	if e == nil {
		m.makeRoom()
		e = &meter{of: m, limiter: rate.NewLimiter(m.limit, m.burst)}
		m.keys[key] = e
	} else if e.held == 0 {
		m.idle--
	}
	e.held++
	return e
}

func (e *meter) release() {
	e.of.mu.Lock()
	defer e.of.mu.Unlock()
	if e.held--; e.held == 0 {
		e.of.idle++
	}
}

// makeRoom forgets meters that are full again, which loses nothing, at most
// once a second, and any that nobody holds where there are too many. m.mu is
// held.
func (m *meters) makeRoom() {
	now := time.Now()
	if now.Sub(m.swept) >= time.Second {
		m.swept = now
		for key, e := range m.keys {
			if e.held == 0 && e.limiter.TokensAt(now) >= float64(m.burst) {
				delete(m.keys, key)
				m.idle--
			}
		}
	}
	for key, e := range m.keys {
		if m.idle < maxMeters {
			return
		}
		if e.held == 0 {
			delete(m.keys, key)
			m.idle--
		}
	}
}
