package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/centrifugal/centrifuge"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/bench/internal/child"
	"github.com/message-gateway/gateway/bench/internal/devices"
	"github.com/message-gateway/gateway/node" //nolint:depguard // as in servers.go
)

// fleet is the devices, in a process of their own.
type fleet struct{ *child.Process }

// fleetArgs start a fleet.
type fleetArgs struct {
	Addr    string          `json:"addr"`
	Options devices.Options `json:"options"`
}

func startFleet(ctx context.Context, addr string, opts devices.Options) (*fleet, error) {
	p, err := child.Start(ctx, "role", "devices")
	if err != nil {
		return nil, err
	}
	if err := p.Do("start", fleetArgs{addr, opts}, nil); err != nil {
		p.Stop()
		return nil, err
	}
	return &fleet{p}, nil
}

func (f *fleet) open(list []devices.Connect) error { return f.Do("open", list, nil) }
func (f *fleet) closeAll() error                   { return f.Do("closeAll", nil, nil) }
func (f *fleet) reset() error                      { return f.Do("reset", nil, nil) }

func (f *fleet) wait(n int) (r devices.Result, err error) {
	err = f.Do("wait", n, &r)
	return r, err
}

// returns is how long one device takes from its dial to its n-th message.
func (f *fleet) returns(how devices.Connect, n int) (d time.Duration, err error) {
	err = f.Do("returns", returnArgs{how, n}, &d)
	return d, err
}

type returnArgs struct {
	Connect  devices.Connect `json:"connect"`
	Messages int             `json:"messages"`
}

// devicesRole is the child.
func devicesRole([]string) error {
	raiseFileLimit()
	var f *devices.Fleet
	return child.Serve(map[string]child.Handler{
		"start": child.Handle(func(a fleetArgs) (_ any, err error) {
			f, err = devices.New(a.Addr, a.Options)
			return nil, err
		}),
		"open":     child.Handle(func(list []devices.Connect) (any, error) { return nil, f.Open(list) }),
		"reset":    child.Handle(func(any) (any, error) { f.Reset(); return nil, nil }),
		"closeAll": child.Handle(func(any) (any, error) { f.CloseAll(); return nil, nil }),
		"wait":     child.Handle(func(n int) (any, error) { return f.Wait(n) }),
		"returns": child.Handle(func(a returnArgs) (any, error) {
			f.Reset()
			began := time.Now()
			if err := f.Open([]devices.Connect{a.Connect}); err != nil {
				return nil, err
			}
			r, err := f.Wait(a.Messages)
			return r.Last.Sub(began), err
		}),
	})
}

// serverKind is which server runs in a process of its own.
type serverKind string

const (
	ours   serverKind = "node"
	peer   serverKind = "centrifuge"
	writes serverKind = "bare writes"
)

// serverArgs start a server in a process of its own.
type serverArgs struct {
	Kind     serverKind     `json:"kind"`
	Redis    string         `json:"redis"`
	Prefix   string         `json:"prefix"`
	Config   gateway.Config `json:"config"`
	Protocol string         `json:"protocol"`
	Size     int            `json:"size"`
	Profile  string         `json:"profile"`
	// Retention is the node's, its default if zero.
	Retention time.Duration `json:"retention"`
	// Warn has it print what its node warns of.
	Warn bool `json:"warn"`
}

// serverProcess is a server in a process of its own, with the fleet of its
// devices in another.
type serverProcess struct {
	*child.Process
	fleet *fleet
	open  int
}

func (b *bench) startServer(ctx context.Context, in *install, kind serverKind, protocol string, size int, opts devices.Options) (*serverProcess, error) {
	args := serverArgs{Kind: kind, Redis: b.redis, Prefix: in.Prefix + "centrifuge", Config: in.Config, Protocol: protocol, Size: size}
	if b.opts.profile != "" && kind == ours {
		args.Profile = b.opts.profile + ".server"
	}
	return b.startServerWith(ctx, args, opts)
}

func (b *bench) startServerWith(ctx context.Context, args serverArgs, opts devices.Options) (*serverProcess, error) {
	p, err := child.Start(ctx, "role", "server")
	if err != nil {
		return nil, err
	}
	s := &serverProcess{Process: p}
	var addr string
	if err = p.Do("start", args, &addr); err == nil {
		s.fleet, err = startFleet(ctx, addr, opts)
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// connect opens connections until there are n.
func (s *serverProcess) connect(n int) error {
	var list []devices.Connect
	if err := s.Do("connects", [2]int{s.open, n - s.open}, &list); err != nil {
		return err
	}
	if err := s.fleet.open(list); err != nil {
		return err
	}
	s.open = n
	return s.Do("await", n, nil)
}

// spent is what the server process has spent so far.
type spent struct {
	CPU     time.Duration `json:"cpu"`
	Mallocs uint64        `json:"mallocs"`
}

func (s *serverProcess) spent() (v spent, err error) {
	err = s.Do("spent", nil, &v)
	return v, err
}

func (s *serverProcess) stop() {
	if s == nil {
		return
	}
	if s.fleet != nil {
		s.fleet.Stop()
	}
	_ = s.Do("stop", nil, nil) // so that reply queues and subscriptions go away
	s.Stop()
}

// serverRole is the child.
func serverRole([]string) error {
	raiseFileLimit()
	ctx := context.Background()
	var s server
	var size int
	var profile string
	return child.Serve(map[string]child.Handler{
		"start": child.Handle(func(a serverArgs) (_ any, err error) {
			size, profile = a.Size, a.Profile
			if a.Profile != "" {
				if err := startProfile(a.Profile); err != nil {
					return nil, err
				}
			}
			switch a.Kind {
			case ours:
				var opts []gateway.Option
				if a.Warn {
					opts = append(opts, warnings("node"))
				}
				s, err = startGateway(ctx, a.Config, a.Protocol, node.Options{Retention: a.Retention}, opts...)
			case peer:
				s, err = startCentrifuge(a.Redis, a.Prefix, func(string) map[string]centrifuge.SubscribeOptions {
					return map[string]centrifuge.SubscribeOptions{everyone: {}}
				})
			default:
				s, err = startWrites()
			}
			if err != nil {
				return nil, err
			}
			return s.address(), nil
		}),
		"connects": child.Handle(func(a [2]int) (any, error) { return s.connects(a[0], a[1]) }),
		"await":    child.Handle(func(n int) (any, error) { return nil, awaitConnections(s, n) }),
		"publish":  child.Handle(func(any) (any, error) { return nil, s.publish(ctx, stamped(size)) }),
		"memory": child.Handle(func(any) (any, error) {
			bytes, err := memory()
			if err == nil && profile != "" {
				err = heapProfile(profile + ".heap")
			}
			return bytes, err
		}),
		"runtime": child.Handle(func(any) (any, error) { return runtimeNow(), nil }),
		"spent": child.Handle(func(any) (any, error) {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return spent{cpuTime(), m.Mallocs}, nil
		}),
		"stop": child.Handle(func(any) (any, error) { pprof.StopCPUProfile(); s.stop(); return nil, nil }),
	})
}

func awaitConnections(s server, n int) error {
	for range 30_000 {
		if s.connections() == n {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("%d connections instead of %d", s.connections(), n)
}

// stamped is JSON of about this size with the time in it, which devices read.
func stamped(size int) json.RawMessage {
	const frame = len(`{"t":1234567890123456789,"body":""}`)
	return fmt.Appendf(nil, `{"t":%d,"body":"%s"}`, time.Now().UnixNano(), filler[:min(max(size-frame, 0), len(filler))])
}

var filler = func() []byte {
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = 'x'
	}
	return b
}()

// fewFiles says, where that is so, that a process may not open enough files for
// so many connections.
func fewFiles(connections int) (l line, few bool) {
	limit := raiseFileLimit()
	if limit >= uint64(connections)+200 {
		return line{}, false
	}
	return notRun(fmt.Sprintf("%d connections", connections), fmt.Sprintf("a process may open %d files", limit)), true
}
