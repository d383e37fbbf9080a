package main

import (
	"time"

	"github.com/message-gateway/gateway/bench/internal/child"
)

// meter drives the two processes. After an error its methods do nothing, so
// that a measurement reads as a list of steps.
type meter struct {
	server, clients *child.Process
	n               int // connections open now, once connect was called
	out, in         int // messages so far, all connections together
	err             error
}

func (m *meter) do(c *child.Process, name string, n int, value any) {
	if m.err == nil {
		m.err = c.Do(name, n, value)
	}
}

// connect opens connections until there are n and lets the server come to rest.
func (m *meter) connect(n int) {
	m.n = n
	m.do(m.clients, "open", n, nil)
	m.do(m.server, "conns", n, nil)
	if m.err == nil {
		time.Sleep(500 * time.Millisecond)
	}
}

// fanOut sends k messages to every connection and waits until they are there.
func (m *meter) fanOut(k int) {
	m.out += k * m.n
	m.do(m.server, "fanout", k, nil)
	m.do(m.clients, "receive", m.out, nil)
}

// inbound has every client send k messages and waits until they are there.
func (m *meter) inbound(k int) {
	m.in += k * m.n
	m.do(m.clients, "send", k, nil)
	m.do(m.server, "receive", m.in, nil)
}

// cpu is the CPU time of the server while f runs.
func (m *meter) cpu(f func()) time.Duration {
	var before, after time.Duration
	m.do(m.server, "cpu", 0, &before)
	f()
	m.do(m.server, "cpu", 0, &after)
	return after - before
}

func (m *meter) memory() (v memory) {
	m.do(m.server, "memory", 0, &v)
	return v
}

// peak is the largest RSS the server ever had.
func (m *meter) peak() (v int64) {
	m.do(m.server, "peak", 0, &v)
	return v
}
