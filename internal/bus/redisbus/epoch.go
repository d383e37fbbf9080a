package redisbus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// drawing is the context key of the *Bus that draws sequence numbers.
type drawing struct{}

// epochs counts the moments at which counters may have gone back. There are
// three signs, all of them seen by the node hooks while numbers are drawn, so
// that the epoch has changed before the caller gets the numbers:
//
//   - A node answers as another process, or as the master of another history,
//     than before: after its connections were dialled anew, INFO is asked on the
//     connection that draws (run_id and master_replid).
//   - On a cluster, another node answers for a slot than before (a failover; a
//     slot that was moved, too, which does no harm).
//   - Where INFO is forbidden, as some managed services do: every new connection
//     counts as another process.
//
// A FLUSHALL leaves no such sign.
type epochs struct {
	n atomic.Uint64

	mu     sync.Mutex
	nodes  map[string]uint16 // addresses of nodes, numbered from 1
	owners []uint16          // the node that answered last for each slot, 0 for none
}

func (e *epochs) current() uint64 { return e.n.Load() + 1 }

func (e *epochs) advance() { e.n.Add(1) }

// answered notes which node drew the numbers of the slots of cmds.
func (e *epochs) answered(addr string, cmds []redis.Cmder) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.owners == nil {
		e.owners = make([]uint16, slots)
		e.nodes = make(map[string]uint16)
	}
	node, ok := e.nodes[addr]
	if !ok {
		if len(e.nodes) >= 1<<15 {
			clear(e.nodes) // addresses that came and went
			clear(e.owners)
			e.advance()
		}
		node = uint16(len(e.nodes) + 1)
		e.nodes[addr] = node
	}
	for _, cmd := range cmds {
		draw, ok := cmd.(seqCmd)
		if !ok || draw.Err() != nil {
			continue
		}
		if owner := e.owners[draw.slot]; owner != 0 && owner != node {
			e.advance()
		}
		e.owners[draw.slot] = node
	}
}

// settle is how long after a dial connections to the process before may still
// be in use: until a check later than that, every draw is checked.
const settle = 10 * time.Second

// nodeHook watches the connections to one node: it checks who answers, and
// keeps a listener's connection from being dialled again behind its back.
type nodeHook struct {
	bus  *Bus
	addr string

	dials    atomic.Uint64 // connections opened
	dialled  instant       // when the last one was
	verified atomic.Uint64 // dials at the last check that settled

	strangers atomic.Uint64 // pipes whose server does not say who it is

	mu      sync.Mutex
	remote  string // where the last connection led to
	id      string // who answered last, "" for nobody yet
	checked uint64 // dials when INFO was refused last
}

func newNodeHook(b *Bus, node *redis.Client) *nodeHook {
	h := &nodeHook{bus: b, addr: node.Options().Addr}
	// A client that was handed over may have connections already.
	h.dials.Store(1)
	h.dialled.now()
	return h
}

// DialHook counts connections; see permit for those of listeners.
func (h *nodeHook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		p, _ := ctx.Value(permitKey{}).(*permit)
		if p != nil && p.bus != h.bus {
			p = nil
		}
		if p != nil && !p.take() {
			return nil, errConnectionLost
		}
		conn, err := next(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if p != nil {
			return p.keep(conn)
		}
		h.mu.Lock()
		h.remote = conn.RemoteAddr().String()
		h.mu.Unlock()
		h.dialled.now()
		h.dials.Add(1)
		return conn, nil
	}
}

// ProcessHook leaves single commands alone.
func (h *nodeHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook checks who answers pipelines that draw numbers.
func (h *nodeHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if ctx.Value(drawing{}) != h.bus {
			return next(ctx, cmds)
		}
		var err error
		if dials := h.dials.Load(); h.verified.Load() != dials {
			err = h.checkedDraw(ctx, next, cmds, dials)
		} else {
			err = next(ctx, cmds)
		}
		if h.bus.cluster != nil {
			h.bus.epochs.answered(h.addr, cmds)
		}
		return err
	}
}

// checkedDraw runs cmds and asks on the same connection who answered.
func (h *nodeHook) checkedDraw(ctx context.Context, next redis.ProcessPipelineHook, cmds []redis.Cmder, dials uint64) error {
	began := time.Now()
	server := redis.NewStringCmd(ctx, "info", "server")
	replication := redis.NewStringCmd(ctx, "info", "replication")
	all := make([]redis.Cmder, 0, len(cmds)+2)
	all = append(append(all, cmds...), server, replication)
	err := next(ctx, all)
	id, known := identity(server.Val(), replication.Val())
	switch {
	case known && replication.Err() == nil:
		h.mu.Lock()
		remote := h.remote
		h.mu.Unlock()
		h.observe(id, remote)
	case refused(server):
		h.observeRefused(h.dials.Load()) // this draw itself may have dialled
	default:
		return err // the connection broke: the next draw is checked
	}
	if began.Sub(h.dialled.get()) > settle {
		h.verified.Store(dials)
	}
	for _, cmd := range cmds {
		if e := cmd.Err(); e != nil {
			return e
		}
	}
	return nil // or go-redis would give the error of INFO to every command
}

// observe notes who answered, at which address.
func (h *nodeHook) observe(id, remote string) {
	h.mu.Lock()
	another := h.id != "" && h.id != id || h.id == "" && h.checked != 0
	h.id = id
	h.mu.Unlock()
	if another {
		h.bus.epochs.advance()
		h.bus.log.Warn("another redis process answers than before: sequence counters are checked", "addr", h.addr)
		h.bus.serverMoved(remote)
	}
}

// observeRefused stands in for observe where INFO is forbidden.
func (h *nodeHook) observeRefused(dials uint64) {
	h.mu.Lock()
	another := h.checked != 0 && h.checked != dials || h.checked == 0 && h.id != ""
	h.checked = dials
	h.mu.Unlock()
	if another {
		h.bus.epochs.advance()
	}
}

// stranger names a process that does not say who it is: each connection may
// lead to another one.
func (h *nodeHook) stranger() string {
	return fmt.Sprint("unknown ", h.strangers.Add(1))
}

// identity names the process that answered and the history it is master of, by
// its INFO server and INFO replication.
func identity(server, replication string) (id string, ok bool) {
	run := infoField(server, "run_id:")
	if run == "" {
		return "", false
	}
	return run + "/" + infoField(replication, "master_replid:"), true
}

// refused reports whether INFO was answered, but not with what is asked for.
func refused(server *redis.StringCmd) bool {
	err := server.Err()
	var answered redis.Error
	return err == nil || errors.As(err, &answered)
}

func infoField(info, field string) string {
	_, rest, found := strings.Cut(info, "\n"+field)
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, "\r")
	return value
}
