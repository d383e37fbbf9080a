package redisbus

import (
	"errors"
	"net"
	"sync"
)

// permitKey is the context key of a *permit.
type permitKey struct{}

// errConnectionLost stands for a connection that is not dialled again.
var errConnectionLost = errors.New("connection lost")

// permit lets a redis.PubSub dial once. By itself a PubSub dials again inside
// whatever call met the broken connection, holding its lock, and then sends all
// its channels in one command: with 200,000 channels that is many megabytes in
// one write, without jitter, and without a sign to those who wait for
// confirmations. On a cluster that command is even refused, because sharded
// channels of several slots must not share one. So every PubSub here lives as
// long as its first connection, and the table subscribes anew on the next.
//
// The permit travels in the ctx of the PubSub's calls to the node's DialHook. It
// also keeps the connection, because PubSub.Close waits for writes under way.
type permit struct {
	bus *Bus // a client that was handed over may have the hooks of several

	mu     sync.Mutex
	taken  bool
	closed bool
	conn   net.Conn
}

func (p *permit) take() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken || p.closed {
		return false
	}
	p.taken = true
	return true
}

func (p *permit) keep(conn net.Conn) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.Join(errConnectionLost, conn.Close())
	}
	p.conn = conn
	return conn, nil
}

// close cuts the connection, and forbids one that is not there yet.
func (p *permit) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	if p.conn != nil {
		_ = p.conn.Close() // go-redis closes it again
	}
}

func (p *permit) leadsElsewhere(remote string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn != nil && p.conn.RemoteAddr().String() != remote
}

// connection is the one that was dialled, or nil.
func (p *permit) connection() net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.conn
}
