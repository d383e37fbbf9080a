package node

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/ws"
)

// takeoverTimeout bounds the move of a connection from another node: one that
// does not answer has lost it.
const takeoverTimeout = 3 * time.Second

// reconnectionToken is an HMAC over the connection id and an expiry.
func (n *Node) reconnectionToken(connectionID string) string {
	expiry := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(n.opts.ReconnectionLifetime).Unix()))
	return base64.RawURLEncoding.EncodeToString(append(expiry, reconnectionMAC(n.reconnectionKeys[0], connectionID, expiry)...))
}

func reconnectionMAC(key []byte, connectionID string, expiry []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(expiry)
	mac.Write([]byte(connectionID))
	return mac.Sum(nil)
}

// reconnectionKeys are derived from the access keys, so that every node of the
// cluster knows them. A node without access keys makes one for itself: its
// connections can be recovered on it only.
func reconnectionKeys(accessKeys []string) [][]byte {
	if len(accessKeys) == 0 {
		key := make([]byte, sha256.Size)
		_, _ = rand.Read(key) // never fails, see crypto/rand
		return [][]byte{key}
	}
	keys := make([][]byte, len(accessKeys))
	for i, accessKey := range accessKeys {
		mac := hmac.New(sha256.New, []byte(accessKey))
		mac.Write([]byte("gateway reconnection token"))
		keys[i] = mac.Sum(nil)
	}
	return keys
}

func (n *Node) validReconnectionToken(connectionID, token string) bool {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(raw) != 8+sha256.Size {
		return false
	}
	expiry, mac := raw[:8], raw[8:]
	known := slices.ContainsFunc(n.reconnectionKeys, func(key []byte) bool {
		return hmac.Equal(mac, reconnectionMAC(key, connectionID, expiry))
	})
	return known && time.Now().Unix() <= int64(binary.BigEndian.Uint64(expiry))
}

// recover attaches a new socket to a connection whose socket broke, wherever in
// the cluster it is. Any refusal must be a finished handshake and close code
// 1008: everything else makes official clients try again (specification,
// section 4.3). A stale access token in the URL is not looked at.
func (n *Node) recover(w http.ResponseWriter, r *http.Request, t target, name string, sub protocol.Subprotocol, address string) {
	s, outcome := n.find(r.Context(), t, sub)
	conn, err := ws.Accept(w, r, n.wsOptions(name))
	if err != nil {
		// A session that moved here waits for the next attempt.
		if s != nil {
			s.wait()
		}
		n.countRefused("upgrade")
		return
	}
	n.serving.Add(1) // the handshake itself is counted, so this cannot race with Shutdown
	go func() {
		if s != nil && !s.resume(conn) {
			s, outcome = nil, recoveryLate
		}
		n.core.Metrics.Recoveries.Add(context.Background(), 1, recoveryOutcomes[outcome].Add...)
		if s == nil {
			n.countRefused("recovery")
			conn.Close(ws.ClosePolicyViolation, "")
			n.discard(conn)
			return
		}
		if n.isClosing() {
			s.goAway()
		}
		s.serve(conn, address)
	}()
}

// find returns the connection that a device wants to recover, after moving it
// here if another node has it, or nil, and how that went.
func (n *Node) find(ctx context.Context, t target, sub protocol.Subprotocol) (s *session, outcome string) {
	if !sub.Reliable() || !n.validReconnectionToken(t.connectionID, t.reconnectionToken) {
		return nil, recoveryToken
	}
	outcome = recoveryHere
	if n.sessions.get(t.connectionID) == nil {
		outcome = recoveryMoved
	}
	// One attempt at a time: a device that tries again while its connection
	// is moving gets the same one, and the newest socket wins.
	found, err, _ := n.fetches.Do(t.connectionID, func() (any, error) {
		if s := n.sessions.get(t.connectionID); s != nil {
			return s, nil
		}
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeoverTimeout)
		defer cancel()
		return n.fetch(bounded, t, sub)
	})
	if err != nil {
		n.core.Log.Debug("connection not recovered", "connection_id", t.connectionID, "error", err)
		return nil, recoveryFailure(err)
	}
	s = found.(*session) // the function above returns nothing else
	if s.sub != sub || s.hubKey != hubKey(t.hub) {
		return nil, recoveryToken
	}
	return s, outcome
}

var errReplaced = errors.New("the connection was recovered on another socket")

// resume makes conn the session's socket, sends everything that the device has
// not acknowledged again, in order, and reports whether the session still
// lived. The newest socket wins: an old one that looks alive is dropped.
func (s *session) resume(conn *ws.Conn) bool {
	s.mu.Lock()
	switch s.state {
	case sessionOpening: // it has just moved here
		s.mu.Unlock()
		opened := s.open(conn)
		s.greet()
		return opened
	case sessionLive, sessionDetached:
	default:
		s.mu.Unlock()
		return false
	}
	defer s.mu.Unlock()
	if s.conn != nil {
		// A device can come back before this node has noticed that its session is
		// over with its socket: see socketEnded.
		if end, ok := s.conn.Ending(); ok && !recoverableAfter(end) {
			return false
		}
		s.conn.Abort(errReplaced)
	}
	s.attachLocked(conn)
	return true
}

// wait makes a session that moved here, but whose socket failed, recoverable.
func (s *session) wait() {
	defer s.greet()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != sessionOpening {
		return
	}
	s.state, s.detachedAt = sessionDetached, time.Now()
	early := s.early
	s.early = nil
	for _, f := range early {
		s.sendLocked(f)
	}
}
