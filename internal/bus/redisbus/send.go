package redisbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// plan is what the next commands say.
type plan struct {
	subscribe   map[uint16][]string // by slot, which on a cluster must not be mixed in a command
	unsubscribe map[uint16][]string
	alone       []string // to be subscribed by a command each
}

// send issues the commands that are due, as far as the window has room.
func (l *link) send(ctx context.Context, ps *redis.PubSub) error {
	subscribe, unsubscribe := ps.Subscribe, ps.Unsubscribe
	kind := "subscribe"
	unkind := "unsubscribe"
	if l.table.cluster {
		subscribe, unsubscribe = ps.SSubscribe, ps.SUnsubscribe
		kind, unkind = "ssubscribe", "sunsubscribe"
	}
	for {
		p, any := l.next()
		if !any {
			return nil
		}
		for _, names := range p.unsubscribe {
			if err := l.issueChunks(ctx, unkind, names, chunk, unsubscribe); err != nil {
				return err
			}
		}
		for _, names := range p.subscribe {
			if err := l.issueChunks(ctx, kind, names, chunk, subscribe); err != nil {
				return err
			}
		}
		if err := l.issueChunks(ctx, kind, p.alone, 1, subscribe); err != nil {
			return err
		}
	}
}

func (l *link) issueChunks(ctx context.Context, kind string, names []string, size int,
	fn func(context.Context, ...string) error,
) error {
	for len(names) > 0 {
		part := names[:min(size, len(names))]
		names = names[len(part):]
		if err := l.issue(ctx, command{kind: kind, names: part}, func(ctx context.Context) error {
			return fn(ctx, part...)
		}); err != nil {
			return err
		}
	}
	return nil
}

// issue notes that a command's answer is awaited, and then sends it: the answer
// can be there before fn returns.
func (l *link) issue(ctx context.Context, c command, fn func(context.Context) error) error {
	l.mu.Lock()
	if len(l.awaited) == 0 {
		l.since = time.Now()
	}
	l.awaited = append(l.awaited, c)
	l.inFlight += len(c.names)
	l.mu.Unlock()
	writing, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return fn(writing)
}

// next takes channels off the todo list and decides on a command for each. any
// is false if there is nothing to send now.
func (l *link) next() (p plan, any bool) {
	l.mu.Lock()
	room := window - l.inFlight
	l.mu.Unlock()
	if room <= 0 {
		return plan{}, false // the reader wakes us
	}
	t := l.table
	t.mu.Lock()
	defer t.mu.Unlock()
	p.subscribe, p.unsubscribe = make(map[uint16][]string), make(map[uint16][]string)
	for len(l.todo) > 0 && room > 0 {
		name := l.todo[0]
		l.todo = l.todo[1:]
		e, ok := t.entries[name]
		if !ok || !e.queued {
			continue
		}
		e.queued = false
		var slot uint16
		if t.cluster {
			slot = keySlot(name)
		}
		switch {
		case e.want && e.server == off:
			e.server, e.link = subscribing, l.id
			if e.alone {
				p.alone = append(p.alone, name)
			} else {
				p.subscribe[slot] = append(p.subscribe[slot], name)
			}
			room--
			any = true
		case !e.want && e.server == on && e.link == l.id:
			e.server = unsubscribing
			p.unsubscribe[slot] = append(p.unsubscribe[slot], name)
			room--
			any = true
		case !e.want && e.server == on:
			t.queue(name, &e) // another link carries it
		case !e.want && e.server == off:
			delete(t.entries, name)
			continue
		}
		t.entries[name] = e
	}
	if len(l.todo) == 0 {
		l.todo = nil // let go of the array
	}
	return p, any
}

// read takes what the server sends until the connection breaks.
func (l *link) read(ctx context.Context, ps *redis.PubSub) error {
	var buf []byte
	for {
		msg, err := ps.ReceiveTimeout(ctx, 0)
		var answered redis.Error
		switch {
		case err == nil:
		case errors.As(err, &answered):
			l.heard.now()
			if err := l.answeredError(ctx, err); err != nil {
				return err
			}
			continue
		default:
			return err
		}
		l.heard.now()
		switch msg := msg.(type) {
		case *redis.Message:
			buf = append(buf[:0], msg.Payload...)
			l.handing.Store(true)
			l.table.listener.hand(msg.Channel, buf)
			l.handing.Store(false)
			if cap(buf) > 64<<10 {
				buf = nil // a large message does not keep its memory
			}
		case *redis.Subscription:
			if err := l.answered(ctx, msg.Kind, msg.Channel); err != nil {
				return err
			}
		case *redis.Pong:
			if err := l.answered(ctx, "pong", ""); err != nil {
				return err
			}
		}
	}
}

// answered matches an answer with the command that it belongs to.
func (l *link) answered(ctx context.Context, kind, channel string) error {
	t := l.table
	matched := l.match(kind, channel)
	switch kind {
	case "subscribe", "ssubscribe":
		if !matched {
			break
		}
		t.confirmed(channel)
		return nil
	case "unsubscribe", "sunsubscribe":
		t.gone(l.id, channel)
		if !matched && t.cluster {
			// The node gave the slot away, and ended its subscriptions.
			t.listener.bus.cluster.ReloadState(ctx)
			return nil
		}
		if matched {
			return nil
		}
	case "pong":
		if matched {
			return nil
		}
	}
	return fmt.Errorf("unexpected %s from the server", kind)
}

// match reports whether the oldest command awaits this answer, and if so takes
// it off.
func (l *link) match(kind, channel string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.awaited) == 0 || l.awaited[0].kind != kind {
		return false
	}
	c := &l.awaited[0]
	if kind != "pong" {
		if c.names[0] != channel {
			return false
		}
		c.names = c.names[1:]
		l.inFlight--
		if l.inFlight == window/2 {
			notify(l.wake)
		}
		if len(c.names) > 0 {
			return true
		}
	}
	l.pop()
	return true
}

// pop takes the oldest command off; l.mu is held.
func (l *link) pop() {
	l.awaited[0] = command{}
	if l.awaited = l.awaited[1:]; len(l.awaited) == 0 {
		l.awaited = nil
		l.since = time.Now()
	}
}

// answeredError gives an error of the server to the command that it belongs to.
func (l *link) answeredError(ctx context.Context, err error) error {
	l.mu.Lock()
	if len(l.awaited) == 0 || l.awaited[0].kind == "pong" {
		l.mu.Unlock()
		return err
	}
	c := l.awaited[0]
	l.inFlight -= len(c.names)
	l.pop()
	l.mu.Unlock()
	notify(l.wake) // the window may have room
	transient := transientError(err)
	if transient && l.table.cluster {
		l.table.listener.bus.cluster.ReloadState(ctx)
	}
	l.table.refused(l.id, c.names, err, transient)
	return nil
}

// transientError tells errors that another node, or the same one a little
// later, will not give.
func transientError(err error) bool {
	for _, prefix := range []string{"MOVED ", "ASK ", "CLUSTERDOWN ", "TRYAGAIN ", "LOADING ", "MASTERDOWN ", "READONLY "} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return false
}
