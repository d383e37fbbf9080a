// Command chaos is the fault suite: it starts Redis, MySQL and RabbitMQ, nodes
// and senders as child processes, connects devices, breaks everything on a
// schedule that a seed decides, and then accounts for every message.
//
//	make chaos [DURATION=2m] [SEED=1]
//
// It ends with "chaos: OK", or with what was violated and exit code 1.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

func init() {
	// Children are told to end when the thread that started them does; the main
	// thread, which starts all of them, lives as long as this process.
	runtime.LockOSThread()
}

func main() {
	if role := os.Getenv(procVariable); role != "" {
		os.Exit(runProc(role))
	}
	var o options
	flag.DurationVar(&o.duration, "duration", 2*time.Minute, "how long, from the start of the services to the report; the least is what one round of all faults takes")
	flag.Uint64Var(&o.seed, "seed", 0, "what decides the schedule; 0 picks one and prints it")
	flag.IntVar(&o.users, "users", 45, "users, each with devices of one of the kinds")
	flag.IntVar(&o.rate, "rate", 60, "sends a second of each of the two senders")
	flag.StringVar(&o.only, "only", "", "run only the faults whose name contains this")
	flag.StringVar(&o.old, "old", "", "this program of an earlier version, for rolling restarts; one that does not exist is none")
	flag.BoolVar(&o.clocks, "clocks", true, "have the clocks of the processes differ by minutes; takes a build by scripts/build-chaos")
	flag.BoolVar(&o.plan, "plan", false, "print the first round of the schedule, and end")
	flag.BoolVar(&o.keep, "keep", false, "keep the folder with the processes' logs also when all is well")
	flag.Parse()
	if flag.NArg() > 0 || o.users < len(kinds) || o.rate < 1 {
		fmt.Fprintf(os.Stderr, "chaos: no arguments, at least %d users, and a rate\n", len(kinds))
		os.Exit(2)
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1_000_000) + 1
	}
	if o.plan {
		for _, f := range roundOf(o, 1) {
			fmt.Println(f)
		}
		return
	}
	if _, err := os.Stat(o.old); err != nil {
		o.old = ""
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := realMain(ctx, o)
	stop()
	os.Exit(code)
}

// options are the flags.
type options struct {
	duration    time.Duration
	seed        uint64
	users, rate int
	only, old   string
	clocks      bool
	plan, keep  bool
}

// realMain runs the suite; whatever it started is ended when it returns.
func realMain(ctx context.Context, o options) (code int) {
	dir, err := os.MkdirTemp("", "gw-chaos-")
	if err != nil {
		fmt.Fprintf(os.Stderr, "chaos: %v\n", err)
		return 1
	}
	defer func() {
		if code == 0 && !o.keep {
			_ = os.RemoveAll(dir) // what is left of it costs nobody anything
			return
		}
		fmt.Printf("logs are in %s\n", filepath.Join(dir, "*.log"))
	}()
	fmt.Printf("chaos: seed %d, duration %v, %d users, 2 senders with %d sends/s each\n", o.seed, o.duration, o.users, o.rate)
	r := newRun(o, dir)
	defer r.stop()
	err = r.all(ctx)
	switch {
	case ctx.Err() != nil:
		fmt.Println("chaos: interrupted")
		return 130
	case err != nil:
		fmt.Printf("chaos: FAILED to run (seed %d): %v\n", o.seed, err)
		return 1
	}
	return r.report()
}
