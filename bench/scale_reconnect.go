package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/bench/internal/devices"
)

// waitingEach is how many messages each user finds who returns.
const waitingEach = 3

// returned is what the return of users took.
type returned struct {
	// lasted is from the first dial until the last message was received, and
	// settled until all rows are FINISHED too; cpu is that of the node.
	lasted, settled, cpu time.Duration
	// kernel is the memory of one end of a connection, in bytes.
	kernel float64
}

// nodeDeath has users on a node that is killed, sends to them, and then lets
// them all connect to another node at once.
func nodeDeath(ctx context.Context, b *bench, in *install, sender *gateway.Client, users int) (r returned, err error) {
	start := func() (*serverProcess, error) {
		return b.startServer(ctx, in, ours, reliableProtocol, payloadSize, devices.Options{Ack: true})
	}
	if err := in.empty(ctx); err != nil {
		return r, err
	}
	doomed, err := start()
	if err != nil {
		return r, err
	}
	kernel, err := kernelMemory()
	if err == nil {
		err = doomed.connect(users)
	}
	if err != nil {
		doomed.stop()
		return r, err
	}
	connected, err := kernelMemory()
	if err != nil {
		doomed.stop()
		return r, err
	}
	r.kernel = (connected - kernel) / float64(2*users) // both ends are on this machine
	heir, err := start()
	if err != nil {
		doomed.stop()
		return r, err
	}
	defer heir.stop()
	doomed.Stop() // SIGKILL: nobody is told
	doomed.fleet.Stop()
	for left := users * waitingEach; left > 0; {
		batch := make([]gateway.Outgoing, min(left, gateway.MaxBatch))
		for i := range batch {
			left--
			batch[i] = gateway.Outgoing{UserID: fmt.Sprintf("user_%d", left%users), Payload: stamped(payloadSize)}
		}
		if _, err := sender.SendReliableBatch(ctx, batch); err != nil {
			return r, err
		}
	}
	if err := idle(heir); err != nil { // the notifications of users who are away are over
		return r, err
	}
	var list []devices.Connect
	if err := heir.Do("connects", [2]int{0, users}, &list); err != nil {
		return r, err
	}
	before, err := heir.spent()
	if err != nil {
		return r, err
	}
	began := time.Now()
	if err := heir.fleet.open(list); err != nil {
		return r, err
	}
	got, err := heir.fleet.wait(users * waitingEach)
	if err != nil {
		return r, err
	}
	r.lasted = got.Last.Sub(began)
	if err := finished(ctx, in, users*waitingEach); err != nil {
		return r, err
	}
	r.settled = time.Since(began)
	after, err := heir.spent()
	r.cpu = after.CPU - before.CPU
	return r, err
}

// scaleReconnect kills nodes with more and more users.
func scaleReconnect(ctx context.Context, b *bench) ([]line, error) {
	in, err := b.newInstall(ctx)
	if err != nil {
		return nil, err
	}
	sender, err := gateway.New(ctx, in.Config)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sender.Close() }()
	sizes := b.sizes(500, 1000, 2000, 4000)
	largest := sizes[len(sizes)-1]
	if l, few := fewFiles(largest); few {
		return []line{l}, nil
	}
	lasted, settled := series{name: "all have all", unit: "ms"}, series{name: "all rows FINISHED", unit: "ms"}
	cpu := series{name: "node's CPU", unit: "ms/user"}
	kernel := series{name: "kernel's memory", unit: "KB/socket"}
	var first returned
	for _, n := range sizes {
		r, err := nodeDeath(ctx, b, in, sender, n)
		if err != nil {
			return nil, err
		}
		size := fmt.Sprintf("%d users", n)
		cpu.flat(size, ms(r.cpu)/float64(n))
		kernel.flat(size, r.kernel/1024)
		if n == sizes[0] {
			first = r
			lasted.calibrate(size, ms(r.lasted))
			settled.calibrate(size, ms(r.settled))
			continue
		}
		times := float64(n) / float64(sizes[0])
		lasted.check(size, ms(r.lasted), ms(first.lasted)*times, "linear")
		settled.check(size, ms(r.settled), ms(first.settled)*times, "linear")
	}
	return slices.Concat(lasted.lines, settled.lines, cpu.lines, kernel.lines), nil
}

// idle waits until a server has next to nothing to do for half a second.
func idle(s *serverProcess) error {
	for range 60 {
		before, err := s.spent()
		if err != nil {
			return err
		}
		time.Sleep(500 * time.Millisecond)
		after, err := s.spent()
		if err != nil {
			return err
		}
		if after.CPU-before.CPU < 10*time.Millisecond {
			return nil
		}
	}
	return errors.New("the node is not idle after 30 seconds")
}

// kernelMemory is what the kernel holds that it cannot give back, in bytes:
// sockets, among all else.
func kernelMemory() (float64, error) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(l, "SUnreclaim:"); ok {
			var kib float64
			_, err := fmt.Sscanf(rest, "%g kB", &kib)
			return kib * 1024, err
		}
	}
	return 0, errors.New("/proc/meminfo has no SUnreclaim")
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }
