// Package membroker is the broker inside one process, for the embedded backend
// and for tests.
//
// It keeps the semantics of RabbitMQ, as the wire contract uses it, except for
// durability: the queues live and die with the process. A notification is dropped
// while no consumer has ever been there (no queue is bound), and waits in the
// queue from the first one on. An answer to a queue that does not exist is
// dropped. What waits is bounded; at the limit the oldest is dropped, counted
// and logged, which costs latency and no message, since a notification is only
// a hint and the database holds the answers.
package membroker

import (
	"log/slog"
	"math/bits"
	"sync"

	"github.com/message-gateway/gateway/internal/broker"
)

const (
	// maxNotifications is how many notifications wait or pause.
	maxNotifications = 100_000
	// maxAnswers is how many answers wait in one reply queue.
	maxAnswers = 100_000
)

// Hub is what the handles of one process share: its queues. Its methods may be
// called at the same time from several goroutines. A hub without handles holds
// no goroutine and needs no Close.
type Hub struct {
	log *slog.Logger

	mu            sync.Mutex
	notifications *queue[attempt] // nil before the first consumer
	replies       map[string]*queue[broker.Answer]
}

// attempt is a notification and how many handlers failed on it.
type attempt struct {
	broker.Notification
	failed int
}

// NewHub returns a hub without queues. A nil logger logs nothing.
func NewHub(logger *slog.Logger) *Hub {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Hub{log: logger, replies: make(map[string]*queue[broker.Answer])}
}

// declareNotifications returns the queue that all consumers share.
func (h *Hub) declareNotifications() *queue[attempt] {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.notifications == nil {
		h.notifications = newQueue[attempt](maxNotifications, h.logDrops("notifications"))
	}
	return h.notifications
}

// notificationQueue returns the shared queue, or nil if none is declared yet.
func (h *Hub) notificationQueue() *queue[attempt] {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.notifications
}

func (h *Hub) declareReplies(name string) *queue[broker.Answer] {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := newQueue[broker.Answer](maxAnswers, h.logDrops(name))
	h.replies[name] = q
	return q
}

func (h *Hub) deleteReplies(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.replies, name)
}

// replyQueue returns the named queue, or nil if there is none.
func (h *Hub) replyQueue(name string) *queue[broker.Answer] {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.replies[name]
}

// logDrops logs the 1st, 2nd, 4th, 8th … drop, so that a flood does not become
// a flood of log lines.
func (h *Hub) logDrops(name string) func(uint64) {
	return func(n uint64) {
		if bits.OnesCount64(n) == 1 {
			h.log.Warn("queue full, oldest dropped", "queue", name, "dropped", n)
		}
	}
}
