package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// options are those of the command line.
type options struct {
	rows    *regexp.Regexp
	short   bool
	curves  bool
	scale   bool
	json    string
	timeout time.Duration
	profile string
	soak    soakOptions
}

func main() {
	if handled, err := runRole(os.Args[1:]); handled {
		exit(err)
	}
	var o options
	run := flag.String("run", "", "measure only the rows whose name matches this regular expression")
	flag.BoolVar(&o.short, "short", false, "a quick look: fewer rounds, fewer connections")
	flag.BoolVar(&o.curves, "curves", false, "measure growth curves instead of the table")
	flag.BoolVar(&o.scale, "scale", false, "check the model of docs/scaling.md instead of the table")
	flag.StringVar(&o.json, "json", "", "write the figures to this file as JSON")
	flag.StringVar(&o.profile, "profile", "", "run our side only, and write its CPU profile to this file (of a server process: to FILE.server, and its heap to FILE.server.heap)")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Minute, "stop, and fail, after this time (30 minutes at least with -curves)")
	flag.DurationVar(&o.soak.duration, "soak", 0, "instead of measuring, run under a steady load for this long, and fail if anything grows without bound")
	flag.IntVar(&o.soak.devices, "devices", 10_000, "with -soak: how many devices are connected")
	flag.IntVar(&o.soak.rate, "rate", 500, "with -soak: how many sends a second")
	list := flag.Bool("list", false, "list the rows and stop")
	flag.Parse()
	if o.curves {
		o.timeout = max(o.timeout, 30*time.Minute)
	}
	if o.soak.duration > 0 {
		o.timeout = max(o.timeout, o.soak.duration+5*time.Minute)
	}
	if *list {
		for _, r := range slices.Concat(rows(), curves(), scales()) {
			fmt.Printf("%-26s %s\n", r.name, r.counts)
		}
		return
	}
	var err error
	if o.rows, err = regexp.Compile(*run); err != nil {
		exit(fmt.Errorf("-run: %w", err))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	err = measure(ctx, o)
	cancel()
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// silent takes the lines that go-redis writes while its servers go away.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func measure(ctx context.Context, o options) error {
	redis.SetLogger(silent{})
	log.SetOutput(os.Stderr)
	b, err := openBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.close()
	if o.soak.duration > 0 {
		return runSoak(ctx, b, o.soak)
	}
	if o.profile != "" {
		if err := startProfile(o.profile); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	todo := rows()
	switch {
	case o.scale:
		todo = scales()
	case o.curves:
		todo = curves()
	}
	r := newReport(ctx, b)
	var failed []error
	for _, row := range todo {
		if !o.rows.MatchString(row.name) || ctx.Err() != nil {
			continue
		}
		began := time.Now()
		lines, err := row.run(ctx, b)
		note := fmt.Sprintf("%.1f s", time.Since(began).Seconds())
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", row.name, err))
			note += ", failed: " + err.Error()
		}
		fmt.Fprintf(os.Stderr, "%-26s %s\n", row.name, note)
		for i := range lines {
			lines[i].Counts = row.counts
			if lines[i].Row == "" {
				lines[i].Row = row.name
			}
		}
		r.Lines = append(r.Lines, lines...)
	}
	r.Seconds = time.Since(r.Began).Seconds()
	r.print(os.Stdout)
	if o.json != "" {
		failed = append(failed, r.write(o.json))
	}
	if ctx.Err() != nil {
		failed = append(failed, errors.New("stopped before the end: "+ctx.Err().Error()))
	}
	return errors.Join(failed...)
}

// startProfile profiles until pprof.StopCPUProfile.
func startProfile(path string) error {
	f, err := os.Create(path) //nolint:gosec // the file that the caller of this program names
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

// heapProfile writes what is in use, and prints how it is divided.
func heapProfile(path string) error {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(os.Stderr, "heap %.1f MB, stacks %.1f MB\n", float64(m.HeapInuse)/1e6, float64(m.StackInuse)/1e6)
	f, err := os.Create(path) //nolint:gosec // beside the file that the caller of this program names
	if err != nil {
		return err
	}
	return errors.Join(pprof.WriteHeapProfile(f), f.Close())
}

// runRole is this program as a child process: `bench role NAME ARG…`.
func runRole(args []string) (handled bool, err error) {
	if len(args) < 2 || args[0] != "role" {
		return false, nil
	}
	redis.SetLogger(silent{})
	role, ok := roles()[args[1]]
	if !ok {
		return true, fmt.Errorf("no role %q", strings.Join(args[1:], " "))
	}
	return true, role(args[2:])
}
