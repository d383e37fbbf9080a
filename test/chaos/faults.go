package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"

	"github.com/message-gateway/gateway/internal/testenv/services"
)

// fault is something that breaks and is mended again. do returns once it is
// mended; what it says afterwards becomes part of its line.
type fault struct {
	name string
	// length is how long it lasts, where the seed decides that.
	length time.Duration
	do     func(ctx context.Context, r *run) (string, error)
}

func (f fault) String() string { return fmt.Sprintf("%s, %v", f.name, f.length) }

// notRunError is why this machine cannot have a fault.
type notRunError struct{ why string }

func (e *notRunError) Error() string { return e.why }

// sleep waits, or until the run is interrupted.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// killServices ends servers without warning and starts them again.
func killServices(names []string, down time.Duration) fault {
	return fault{"kill -9 " + strings.Join(names, " and "), down, func(ctx context.Context, r *run) (string, error) {
		for _, name := range names {
			r.servers[name].Kill()
		}
		if err := sleep(ctx, down); err != nil {
			return "", err
		}
		began := time.Now()
		for _, name := range names {
			if err := r.servers[name].Start(); err != nil {
				return "", err
			}
		}
		for _, name := range names {
			if err := r.servers[name].Await(ctx); err != nil {
				return "", err
			}
		}
		return fmt.Sprintf("down %.1f s, then %.1f s to start", down.Seconds(), time.Since(began).Seconds()), nil
	}}
}

// pauseService stops a server where it stands: connections stay open.
func pauseService(name string, d time.Duration) fault {
	return fault{"SIGSTOP " + name, d, func(ctx context.Context, r *run) (string, error) {
		r.servers[name].Pause()
		defer r.servers[name].Resume()
		return seconds(d), sleep(ctx, d)
	}}
}

// pauseProc stops a node or a sender where it stands, as a long collection of
// garbage or a machine that is moved does.
func pauseProc(name string, d time.Duration) fault {
	return fault{"SIGSTOP " + name, d, func(ctx context.Context, r *run) (string, error) {
		services.Signal(r.procs[name].cmd, syscall.SIGSTOP)
		defer services.Signal(r.procs[name].cmd, syscall.SIGCONT)
		return seconds(d), sleep(ctx, d)
	}}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// network breaks the links to a service, of all processes or of one.
func network(how, service, process string, d time.Duration) fault {
	whose := process
	if process == "" {
		whose = "everyone"
	}
	return fault{how + " links of " + whose + " to " + service, d, func(ctx context.Context, r *run) (string, error) {
		proxies := r.links.of(service, process)
		return seconds(d), withToxic(ctx, proxies, how, func() error { return sleep(ctx, d) })
	}}
}

// during breaks links while another fault happens, and for some time before.
func during(how, service, process string, before time.Duration, inner fault) fault {
	return fault{inner.name + " during " + network(how, service, process, 0).name, inner.length, func(ctx context.Context, r *run) (string, error) {
		var detail string
		err := withToxic(ctx, r.links.of(service, process), how, func() error {
			if err := sleep(ctx, before); err != nil {
				return err
			}
			var err error
			detail, err = inner.do(ctx, r)
			if err != nil {
				return err
			}
			return sleep(ctx, before)
		})
		return detail, err
	}}
}

func withToxic(ctx context.Context, proxies []*toxiproxy.Proxy, how string, during func() error) error {
	if how == "cut" {
		cut(proxies)
		err := during()
		if mended := mend(proxies); mended != nil {
			return mended
		}
		return err
	}
	if err := spoil(proxies, how); err != nil {
		return err
	}
	err := during()
	heal(ctx, proxies)
	return err
}

// deviceNetwork breaks the connections between the devices and a node. The
// toxics lose what TCP would repeat, so the connections end with it.
func deviceNetwork(how, node string, d time.Duration) fault {
	f := network(how, node, deviceLinks, d)
	inner := f.do
	f.do = func(ctx context.Context, r *run) (string, error) {
		detail, err := inner(ctx, r)
		cut(r.links.of(node, deviceLinks))
		return detail, errors.Join(err, mend(r.links.of(node, deviceLinks)))
	}
	return f
}

// killProc ends a node or a sender without warning.
func killProc(name string, down time.Duration) fault {
	return fault{"kill -9 " + name, down, func(ctx context.Context, r *run) (string, error) {
		r.procs[name].kill()
		if err := sleep(ctx, down); err != nil {
			return "", err
		}
		return "down " + seconds(down), r.startProc(ctx, name)
	}}
}

// restartNode ends a node as a deployment does.
func restartNode(name string) fault {
	return fault{"restart " + name, 0, func(ctx context.Context, r *run) (string, error) {
		r.procs[name].terminate()
		began := time.Now()
		if err := r.procs[name].wait(shutdownTime + 5*time.Second); err != nil {
			r.ledger.complain("restart: %v", err)
		}
		return "shutdown took " + seconds(time.Since(began)), r.startProc(ctx, name)
	}}
}

// order has a sender die, or close, by its own hand.
func order(what, name string) fault {
	return fault{name + ": " + what, 0, func(ctx context.Context, r *run) (string, error) {
		began := time.Now()
		if err := r.procs[name].tell(what); err != nil {
			return "", err
		}
		// Close waits for running sends for five seconds, and sends that are not
		// waits for answers end within their own deadline.
		err := r.procs[name].wait(15 * time.Second)
		if err != nil {
			r.ledger.complain("%s: %v", what, err)
		}
		return "it took " + seconds(time.Since(began)), r.startProc(ctx, name)
	}}
}

// deafDeath kills a sender whose commits are done but not confirmed.
func deafDeath(name string, d time.Duration) fault {
	return fault{"kill -9 " + name + " before its commits are confirmed", d, func(ctx context.Context, r *run) (string, error) {
		err := withToxic(ctx, r.links.of(mysqlService, name), "deaf", func() error {
			defer r.procs[name].kill()
			return sleep(ctx, d)
		})
		if err != nil {
			return "", err
		}
		return "", r.startProc(ctx, name)
	}}
}

// clockJump sets the clock of a process while it runs.
func clockJump(name string, rng *rand.Rand) fault {
	to := randomShift(rng)
	return fault{"the clock of " + name + " jumps", 0, func(_ context.Context, r *run) (string, error) {
		if !r.opts.clocks {
			return "", &notRunError{"clocks are left alone, by -clocks=false"}
		}
		return fmt.Sprintf("it is %v off now", to), r.procs[name].order(fmt.Sprint(orderClock, " ", int64(to.Seconds())))
	}}
}

// flood sends more than a stopped database takes.
func flood(d time.Duration) fault {
	return fault{fmt.Sprintf("SIGSTOP mysql under %d more sends/s", floodRate), d, func(ctx context.Context, r *run) (string, error) {
		before := sampleLoad()
		if err := r.begin(floodName, func(c *procConfig) { c.Pause = d }); err != nil {
			return "", err
		}
		p := r.procs[floodName]
		p.ending.Store(true) // it ends by itself
		if err := p.awaitUp(ctx); err != nil {
			return "", err
		}
		if err := sleep(ctx, floodAround); err != nil {
			return "", err
		}
		r.servers[mysqlService].Pause()
		err := sleep(ctx, d)
		r.servers[mysqlService].Resume()
		if err != nil {
			return "", err
		}
		if err := p.wait(floodAround + floodDeadline + drainTime); err != nil {
			r.ledger.complain("flood: %v", err)
		}
		return seconds(d) + ", " + r.checkFlood(ctx, p.name, before.others(sampleLoad())), nil
	}}
}
