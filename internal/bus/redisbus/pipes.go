package redisbus

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/message-gateway/gateway/internal/bus"
)

// maxPipes is how many connections publish at the same time; further calls go
// through the pool of go-redis.
const maxPipes = 4

// pauseOpening is how long no pipe is opened after one could not be.
const pauseOpening = time.Second

// failoverAddr is what go-redis calls the address of a server behind Sentinel.
const failoverAddr = "FailoverClient"

// single is what a bus on one server has beside the pool of its client. With
// Sentinel or a cluster, go-redis leads commands to the right node: only it
// knows when that changes, so there all of them go through its pool.
type single struct {
	client *redis.Client
	hook   *nodeHook
	// publishing and drawing are apart: numbers come over one connection, or
	// two processes could seem to take turns as long as one of them goes away.
	publishing, drawing pipes
}

// pipes are the open connections of one kind.
type pipes struct {
	most int
	open func(ctx context.Context) (*pipe, error)

	mu     sync.Mutex
	all    map[*pipe]struct{}
	free   []*pipe
	count  int       // open, or being opened
	pause  time.Time // until then none is opened
	closed bool
}

// get returns a pipe, or nil: then the command goes through the pool.
func (s *pipes) get(ctx context.Context) *pipe {
	for {
		s.mu.Lock()
		if n := len(s.free); n > 0 {
			p := s.free[n-1]
			s.free = s.free[:n-1]
			s.mu.Unlock()
			if !p.astray.Load() && (time.Since(p.used) < freshFor || alive(p.conn)) {
				return p
			}
			s.drop(p)
			continue
		}
		full := s.closed || s.count >= s.most || time.Now().Before(s.pause)
		if !full {
			s.count++
		}
		s.mu.Unlock()
		if full {
			return nil
		}
		return s.add(ctx)
	}
}

// add opens another one.
func (s *pipes) add(ctx context.Context) *pipe {
	p, err := s.open(ctx)
	s.mu.Lock()
	closed := s.closed
	if err == nil && !closed {
		s.all[p] = struct{}{}
		s.mu.Unlock()
		return p
	}
	s.count--
	if ctx.Err() == nil {
		s.pause = time.Now().Add(pauseOpening)
	}
	s.mu.Unlock()
	if p != nil {
		p.close()
	}
	return nil
}

// put gives a pipe back.
func (s *pipes) put(p *pipe) {
	if p.broken || p.astray.Load() {
		s.drop(p)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.free = append(s.free, p)
	}
}

// drop closes a pipe that nobody uses.
func (s *pipes) drop(p *pipe) {
	s.mu.Lock()
	delete(s.all, p)
	s.count--
	s.mu.Unlock()
	p.close()
}

// close closes all pipes, also those in use, which then fail.
func (s *pipes) close() {
	s.mu.Lock()
	s.closed = true
	all := slices.Collect(maps.Keys(s.all))
	s.free = nil
	s.mu.Unlock()
	for _, p := range all {
		p.close()
	}
}

// leave has the pipes closed that lead elsewhere than to remote, once what they
// carry is through.
func (s *pipes) leave(remote string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.all {
		if p.permit.leadsElsewhere(remote) {
			p.astray.Store(true)
		}
	}
}

// newSingle prepares the pipes to the server of client.
func newSingle(b *Bus, client *redis.Client) *single {
	s := &single{client: client, hook: newNodeHook(b, client)}
	if client.Options().Addr != failoverAddr {
		s.publishing = pipes{most: maxPipes, all: map[*pipe]struct{}{}, open: func(ctx context.Context) (*pipe, error) {
			return b.openPipe(ctx, false)
		}}
		s.drawing = pipes{most: 1, all: map[*pipe]struct{}{}, open: func(ctx context.Context) (*pipe, error) {
			return b.openPipe(ctx, true)
		}}
	}
	return s
}

// close closes all pipes.
func (s *single) close() {
	s.publishing.close()
	s.drawing.close()
}

// publish sends messages over a pipe. ok is false where there is none.
func (b *Bus) publish(ctx context.Context, pubs []bus.Publication) (receivers []int64, ok bool, err error) {
	p := b.single.publishing.get(ctx)
	if p == nil {
		return nil, false, nil
	}
	for i := range pubs {
		p.publish(pubs[i].Channel, pubs[i].Payload)
	}
	receivers = make([]int64, len(pubs))
	refused, err := p.exchange(ctx, receivers)
	b.single.publishing.put(p)
	if err != nil {
		return nil, true, b.pipeError(ctx, "publish", err)
	}
	if len(refused) == 0 {
		return receivers, true, nil
	}
	again := make([]bus.Publication, len(refused))
	for j, i := range refused {
		again[j], receivers[i] = pubs[i], -1
	}
	counts, err := b.publishPooled(ctx, again)
	for j, n := range counts {
		receivers[refused[j]] = n
	}
	return receivers, true, err
}

// draw draws numbers over a pipe. ok is false where there is none, or it broke:
// what it may have drawn is a gap.
func (b *Bus) draw(ctx context.Context, reqs []bus.SeqRequest) (seqs []int64, ok bool, err error) {
	for i := range reqs {
		if reqs[i].Floor > 0 {
			return nil, false, nil
		}
	}
	p := b.single.drawing.get(ctx)
	if p == nil {
		return nil, false, nil
	}
	for i := range reqs {
		p.command("incr", b.names.Seq(reqs[i].UserID))
	}
	seqs = make([]int64, len(reqs))
	refused, err := p.exchange(ctx, seqs)
	if err == nil {
		b.single.hook.observe(p.id, p.remote())
	} else if ctx.Err() != nil || b.closing.Err() != nil {
		err = b.pipeError(ctx, "draw sequence numbers", err)
		b.single.drawing.put(p)
		return nil, true, err
	}
	if len(refused) > 0 {
		p.broken = true // a server that became a replica, for instance, refuses
	}
	b.single.drawing.put(p)
	return seqs, err == nil && len(refused) == 0, nil
}

// pipeError is what a caller gets whose pipe failed.
func (b *Bus) pipeError(ctx context.Context, op string, err error) error {
	if b.closing.Err() != nil {
		return bus.ErrClosed
	}
	return b.wrap(ctx, op, err)
}
