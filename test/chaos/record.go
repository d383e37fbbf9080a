package main

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// The kinds of records.
const (
	kindUp     = "up"     // the process is ready
	kindSend   = "send"   // a send returned; without error it promised the message
	kindDoomed = "doomed" // a message whose transaction never commits
	kindWait   = "wait"   // the wait for an answer returned
	kindClosed = "closed" // Close returned
	kindFlood  = "flood"  // the sums of a flood
	kindIdle   = "idle"   // told to stop, and every call has returned
	kindDied   = "died"   // ended by itself; its parent notes that
	kindGot    = "got"    // the original gateway received a message for a user of its own
)

// The ways of sending.
const (
	opReliable  = "reliable"
	opTx        = "tx"
	opBatch     = "batch"
	opRetry     = "retry"
	opCommand   = "command"
	opNoWait    = "nowait"
	opRealtime  = "realtime"
	opOriginal  = "original"  // written by the original SDK, beside this run
	opInherited = "inherited" // written by the original SDK, before this run
)

// The outcomes of a wait.
const (
	outAnswer  = "answer"
	outTimeout = "timeout"
	outClosed  = "closed"
	outCaller  = "caller" // the caller's own deadline came first
	outError   = "error"  // the send failed
)

// record is a line that a child prints.
type record struct {
	Kind string `json:"k"`
	From string `json:"f,omitempty"`
	Op   string `json:"o,omitempty"`
	// ID is the message's id, N the nonce in its payload, User whom it is for.
	ID   string `json:"i,omitempty"`
	N    string `json:"n,omitempty"`
	User string `json:"u,omitempty"`
	// Start and End are when the call began and returned, in µs since 1970.
	Start int64 `json:"s,omitempty"`
	End   int64 `json:"e,omitempty"`
	// Late is how long after its deadline the call returned, in µs, without
	// the time in which this process did not run at all.
	Late int64 `json:"l,omitempty"`
	// Early is how long before its time a wait was told that it had passed, in
	// µs.
	Early   int64      `json:"y,omitempty"`
	Error   string     `json:"x,omitempty"`
	Outcome string     `json:"c,omitempty"`
	Answer  string     `json:"a,omitempty"`
	Flood   *floodSums `json:"flood,omitempty"`
}

// recorder prints records, each with one write, as soon as they are true.
type recorder struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *recorder) put(r record) {
	line, err := json.Marshal(r)
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = o.w.Write(append(line, '\n')) // without a reader this process is over anyway
}

// payload is what every message carries.
type payload struct {
	User string `json:"u"`
	N    string `json:"n"`
}

// pulse notices when this process does not get to run: a call that returns late
// because of that is not the library's fault.
type pulse struct {
	mu     sync.Mutex
	last   time.Time // when it was felt last
	stalls []stall
}

type stall struct{ from, to time.Time }

const pulseTick = 20 * time.Millisecond

func startPulse() *pulse {
	p := &pulse{last: time.Now()}
	go func() {
		for {
			time.Sleep(pulseTick)
			p.mu.Lock()
			p.feel(time.Now())
			p.mu.Unlock()
		}
	}()
	return p
}

// feel notes that this process runs; p.mu is held. Calls that end do that, too:
// when the process goes on after a stall, they may run before the pulse does.
func (p *pulse) feel(now time.Time) {
	if now.Sub(p.last) > 3*pulseTick {
		p.stalls = append(p.stalls, stall{p.last, now})
		p.stalls = p.stalls[max(0, len(p.stalls)-1000):]
	}
	if now.After(p.last) {
		p.last = now
	}
}

// late is how long after its deadline something ended, without stalls.
func (p *pulse) late(deadline, end time.Time) time.Duration {
	late := end.Sub(deadline)
	if late <= 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.feel(end)
	for _, s := range p.stalls {
		from, to := s.from, s.to
		if from.Before(deadline) {
			from = deadline
		}
		if to.After(end) {
			to = end
		}
		if to.After(from) {
			late -= to.Sub(from)
		}
	}
	return max(late, 0)
}
