package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/bench/internal/devices"
	"github.com/message-gateway/gateway/bench/internal/trend"
)

// soakOptions are those of a long run under a steady load.
type soakOptions struct {
	duration      time.Duration
	devices, rate int
}

const (
	// soakSample is how often everything is measured, soakLine how often it is
	// printed.
	soakSample = 10 * time.Second
	soakLine   = time.Minute
	// soakRetention is short, so that the table has to stop growing in a run.
	soakRetention = 30 * time.Second
	soakDeadline  = 10 * time.Second
	// soakInFlight bounds the calls that run: what does not fit is late.
	soakInFlight = 10_000
)

// runtimeSums are what a process holds after a collection.
type runtimeSums struct {
	Bytes      float64 `json:"bytes"` // heap and stacks
	Goroutines float64 `json:"goroutines"`
}

func runtimeNow() runtimeSums {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return runtimeSums{float64(m.HeapAlloc + m.StackInuse), float64(runtime.NumGoroutine())}
}

// soak is a sender in this process, a node and the devices in others.
type soak struct {
	opts   soakOptions
	in     *install
	client *gateway.Client
	server *serverProcess
	began  time.Time

	running      sync.WaitGroup
	inFlight     chan struct{}
	sent, failed atomic.Int64
	late         atomic.Int64
	mu           sync.Mutex
	sample       error // one of those that failed

	nodeMemory, nodeGoroutines, memory, goroutines, rows, bytes, p99 trend.Series
}

// warnings has a client print what it warns of: what was lost or late, and why.
func warnings(of string) gateway.Option {
	return gateway.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})).With("of", of))
}

// runSoak fails if a send does, if a message is not delivered in the end, or if
// anything grows without bound.
func runSoak(ctx context.Context, b *bench, o soakOptions) error {
	if limit := raiseFileLimit(); limit < uint64(o.devices)+200 {
		return fmt.Errorf("%d devices: a process may open %d files", o.devices, limit)
	}
	s := &soak{
		opts: o, inFlight: make(chan struct{}, soakInFlight),
		nodeMemory: trend.Series{Name: "memory of the node, MB", Floor: 10}, nodeGoroutines: trend.Series{Name: "goroutines of the node", Floor: 50},
		memory: trend.Series{Name: "memory of the sender, MB", Floor: 10}, goroutines: trend.Series{Name: "goroutines of the sender", Floor: 200},
		rows: trend.Series{Name: "rows of the table", Floor: 20 * float64(o.rate)}, bytes: trend.Series{Name: "table and indexes, MB", Floor: 16},
		p99: trend.Series{Name: "p99 from send to device, ms", Floor: 250},
	}
	var err error
	if s.in, err = b.newInstall(ctx); err != nil {
		return err
	}
	if s.client, err = gateway.New(ctx, s.in.Config, warnings("sender")); err != nil {
		return err
	}
	defer func() { _ = s.client.Close() }()
	args := serverArgs{Config: s.in.Config, Protocol: reliableProtocol, Retention: soakRetention, Warn: true}
	if b.opts.profile != "" {
		args.Profile = b.opts.profile + ".server"
	}
	s.server, err = b.startServerWith(ctx, args, devices.Options{Ack: true, Answer: true})
	if err != nil {
		return err
	}
	defer s.server.stop()
	began := time.Now()
	if err := s.server.connect(o.devices); err != nil {
		return err
	}
	fmt.Printf("%d devices connected in %.1f s; %d sends a second for %v: 70 %% reliable, 20 %% realtime, 10 %% commands\n",
		o.devices, time.Since(began).Seconds(), o.rate, o.duration)
	if err := s.warm(ctx); err != nil {
		return err
	}
	fmt.Printf("%8s %8s %10s %10s %9s %9s %11s %11s %11s %11s %9s %8s\n", "time", "failed", "sends/s", "received/s", "p50 ms", "p99 ms",
		"node MB", "goroutines", "sender MB", "goroutines", "rows", "table MB")
	s.began = time.Now()
	stop := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() { s.send(ctx, stop) })
	err = s.watch(ctx)
	close(stop)
	load.Wait()
	s.running.Wait()
	if args.Profile != "" {
		var resident float64
		err = errors.Join(err, s.server.Do("memory", nil, &resident)) // writes its heap
	}
	return errors.Join(err, s.settle(ctx), s.verdict())
}

// send starts calls in step with the clock.
func (s *soak) send(ctx context.Context, stop <-chan struct{}) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		for due := int(time.Since(s.began).Seconds() * float64(s.opts.rate)); n < due; n++ {
			select {
			case s.inFlight <- struct{}{}:
				s.running.Go(func() {
					s.one(ctx, rand.IntN(s.opts.devices), rand.IntN(kindCommand+1))
					<-s.inFlight
				})
			default:
				s.late.Add(1)
			}
		}
	}
}

// warm has every device answer a command: what a connection takes for its first
// one would look like growth for as long as some have had none.
func (s *soak) warm(ctx context.Context) error {
	began := time.Now()
	tick := time.NewTicker(time.Second / time.Duration(s.opts.rate))
	defer tick.Stop()
	for i := range s.opts.devices {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		s.running.Go(func() { s.one(ctx, i, kindCommand) })
	}
	s.running.Wait()
	fmt.Printf("each of them has had a command within %.1f s, %d of which failed\n", time.Since(began).Seconds(), s.failed.Swap(0))
	s.sent.Store(0)
	return nil
}

// kindCommand is the tenth of the sends that are commands.
const kindCommand = 9

// one sends to a user; kind is up to kindCommand.
func (s *soak) one(ctx context.Context, i, kind int) {
	ctx, cancel := context.WithTimeout(ctx, soakDeadline)
	defer cancel()
	user := fmt.Sprintf("user_%d", i)
	var err error
	switch {
	case kind < 7:
		_, err = s.client.SendReliable(ctx, user, stamped(payloadSize))
	case kind < kindCommand:
		err = s.client.SendRealtime(ctx, user, stamped(payloadSize))
	default:
		_, err = s.client.SendCommand(ctx, user, "SOAK", stamped(payloadSize), gateway.WithTimeout(soakDeadline))
	}
	s.sent.Add(1)
	if err != nil && ctx.Err() != context.Canceled {
		s.failed.Add(1)
		s.mu.Lock()
		s.sample = err
		s.mu.Unlock()
	}
}

// watch measures until the time is over.
func (s *soak) watch(ctx context.Context) error {
	if err := s.server.fleet.reset(); err != nil {
		return err
	}
	printed, sent, received := s.began, int64(0), 0
	tick := time.NewTicker(soakSample)
	defer tick.Stop()
	for time.Since(s.began) < s.opts.duration {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		// Latencies first: what is measured next stops the processes a moment.
		got, err := s.server.fleet.wait(0)
		if err != nil {
			return err
		}
		if err := s.measure(ctx, got); err != nil {
			return err
		}
		received += got.Received
		if now := time.Now(); now.Sub(printed) > soakLine-soakSample/2 {
			seconds, all := now.Sub(printed).Seconds(), s.sent.Load()
			fmt.Printf("%8v %8d %10.0f %10.0f %9.1f %9.1f %11.1f %11.0f %11.1f %11.0f %9.0f %8.1f\n", now.Sub(s.began).Round(time.Second), s.failed.Load(),
				float64(all-sent)/seconds, float64(received)/seconds, got.P50/1e3, s.p99.Last(), s.nodeMemory.Last(), s.nodeGoroutines.Last(),
				s.memory.Last(), s.goroutines.Last(), s.rows.Last(), s.bytes.Last())
			printed, sent, received = now, all, 0
		}
		if err := s.server.fleet.reset(); err != nil {
			return err
		}
	}
	return nil
}

func (s *soak) measure(ctx context.Context, got devices.Result) error {
	var node runtimeSums
	if err := s.server.Do("runtime", nil, &node); err != nil {
		return err
	}
	var rows, bytes float64
	if err := s.in.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM push_messages").Scan(&rows); err != nil {
		return err
	}
	if err := s.in.db.QueryRowContext(ctx, `SELECT data_length + index_length FROM information_schema.tables
		WHERE table_schema = DATABASE() AND table_name = 'push_messages'`).Scan(&bytes); err != nil {
		return err
	}
	at, own := time.Since(s.began), runtimeNow()
	s.nodeMemory.Add(at, node.Bytes/1e6)
	s.nodeGoroutines.Add(at, node.Goroutines)
	s.memory.Add(at, own.Bytes/1e6)
	s.goroutines.Add(at, own.Goroutines)
	s.rows.Add(at, rows)
	s.bytes.Add(at, bytes/1e6)
	s.p99.Add(at, got.P99/1e3)
	return nil
}

// settle waits until everything that was stored is over.
func (s *soak) settle(ctx context.Context) error {
	var open int
	for range 300 {
		if err := s.in.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM push_messages WHERE status NOT IN ('FINISHED', 'TIMED_OUT')").Scan(&open); err != nil {
			return err
		}
		if open == 0 {
			return s.server.Do("await", s.opts.devices, nil)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("%d messages are not delivered half a minute after the last send", open)
}

func (s *soak) verdict() error {
	errs := []error{
		s.nodeMemory.Check(), s.nodeGoroutines.Check(), s.memory.Check(), s.goroutines.Check(), s.rows.Check(), s.bytes.Check(), s.p99.Check(),
	}
	if failed := s.failed.Load(); failed > 0 {
		errs = append(errs, fmt.Errorf("%d of %d sends failed, such as: %w", failed, s.sent.Load(), s.sample))
	}
	if late := s.late.Load(); late > 0 {
		fmt.Printf("%d sends were left out, as %d were running already\n", late, soakInFlight)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Printf("soak: OK, %d sends in %v, nothing grows without bound\n", s.sent.Load(), time.Since(s.began).Round(time.Second))
	return nil
}
