package node

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/control"
)

// Each node gives a sign of life, a pulse, which all nodes hear. Who watches
// states learns from it that a node is dead, whose connections can say nothing
// any more, and that a node could not publish a change.
//
// Time is not measured by a clock but by the pulses of the node itself, which
// come over the same channel: while it hears nothing, it judges nobody.
const (
	pulseInterval = 2 * time.Second
	// maxSilence is how many own pulses a node hears without one of another
	// node until it takes that for dead.
	maxSilence = 3
)

// peers are the nodes that this one knows to live, itself among them.
type peers struct {
	node *Node
	// states is how many states the connections of this node have. lost counts
	// what others may have missed of them: that a change could not be
	// published, or that this node could not be asked.
	states atomic.Int64
	lost   atomic.Uint64

	mu sync.Mutex
	m  map[string]*peerNode
}

type peerNode struct {
	silence int
	// pulsed says that a pulse was heard, and not only a change; lost is what
	// the last one said.
	pulsed bool
	lost   uint64
}

// run sends the pulses.
func (p *peers) run(ctx context.Context) {
	tick := time.NewTicker(pulseInterval)
	defer tick.Stop()
	last := time.Now()
	for {
		if time.Since(last) > maxSilence*pulseInterval {
			p.renew()
		}
		if err := p.pulse(ctx); err == nil {
			last = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// renew makes what the connections of this node have news again, because others
// may take it for dead, and have said so.
func (p *peers) renew() {
	p.node.sessions.each(func(s *session) { s.renewStates() })
}

// missed is called when this node hears others again. While it did not, nobody
// could ask it either.
func (p *peers) missed() {
	p.renew()
	p.lost.Add(1)
	p.node.views.doubt()
}

func (p *peers) pulse(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, pulseInterval)
	defer cancel()
	m := control.Pulse{Node: p.node.id, States: p.states.Load(), Lost: p.lost.Load()}
	_, err := p.node.core.Bus.Publish(bounded, []bus.Publication{{
		Channel: p.node.core.Names.Nodes(), Payload: m.Encode(), Sharded: true,
	}})
	return err
}

// heard takes a pulse. It must not block.
func (p *peers) heard(raw []byte) {
	decoded, err := control.Decode(raw)
	pulse, ok := decoded.(*control.Pulse)
	if err != nil || !ok {
		p.node.core.Log.Warn("message for all nodes not understood")
		return
	}
	dead, news := p.note(pulse)
	for _, id := range dead {
		p.node.core.Log.Warn("a node is silent, its group states are taken as ended", "node", id)
		p.node.views.vanish(id)
	}
	if news || len(dead) > 0 {
		p.node.views.doubt()
	}
}

// note returns the nodes that are dead now, and whether there are changes that
// this node may not have heard of.
func (p *peers) note(pulse *control.Pulse) (dead []string, news bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	from := p.get(pulse.Node)
	news = from.lost != pulse.Lost || !from.pulsed && pulse.States > 0
	from.silence, from.pulsed, from.lost = 0, true, pulse.Lost
	if pulse.Node != p.node.id {
		return nil, news
	}
	for id, other := range p.m {
		if other.silence++; other.silence > maxSilence && id != p.node.id {
			dead = append(dead, id)
			delete(p.m, id)
		}
	}
	return dead, news
}

// alive notes that a node holds a state.
func (p *peers) alive(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.get(id).silence = 0
}

// get finds or begins a node; the lock is held.
func (p *peers) get(id string) *peerNode {
	if p.m[id] == nil {
		if p.m == nil {
			p.m = map[string]*peerNode{}
		}
		p.m[id] = &peerNode{}
	}
	return p.m[id]
}
