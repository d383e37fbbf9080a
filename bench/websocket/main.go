package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/message-gateway/gateway/bench/internal/child"
)

func main() {
	var (
		o       options
		names   = flag.String("libraries", "gobwas/ws,lxzan/gws,gorilla/websocket,internal/ws", "what to measure, in this order")
		timeout = flag.Duration("timeout", 3*time.Minute, "stop, and fail, after this time")
		out     = flag.String("json", "", "write the JSON to this file instead of after the table")
		role    = flag.String("role", "", "for child processes: server or clients")
		arg     = flag.String("arg", "", "for child processes")
	)
	flag.BoolVar(&o.InHandler, "in-handler", false, "read in the goroutine of net/http instead of a new one")
	flag.IntVar(&o.Connections, "n", 10_000, "connections")
	flag.IntVar(&o.Rounds, "rounds", 3, "rounds over all libraries; medians are reported")
	flag.IntVar(&o.Messages, "messages", 10, "messages of each kind on each connection")
	flag.Parse()
	var err error
	switch *role {
	case "server":
		err = runServer(*arg, o.InHandler)
	case "clients":
		err = runClients(*arg)
	default:
		ctx, cancel := context.WithTimeout(context.Background(), *timeout)
		defer cancel()
		err = run(ctx, o, strings.Split(*names, ","), *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "websocket:", err)
		os.Exit(1)
	}
}

// options are part of the report.
type options struct {
	Connections int  `json:"connections"`
	Rounds      int  `json:"rounds"`
	Messages    int  `json:"messages"`
	InHandler   bool `json:"in_handler"`
}

// sample is one library in one round: bytes for each connection, microseconds
// of server CPU for each message.
type sample struct {
	RSS        float64 `json:"rss_bytes"`
	HeapStack  float64 `json:"heap_stack_bytes"`
	RSSAfter   float64 `json:"rss_after_traffic_bytes"`
	FanOut     float64 `json:"fanout_cpu_us"`
	Burst      float64 `json:"burst_cpu_us"`
	Inbound    float64 `json:"inbound_cpu_us"`
	RSSAtBurst float64 `json:"rss_peak_bytes"`
}

type result struct {
	Library string   `json:"library"`
	Median  sample   `json:"median"`
	Samples []sample `json:"samples"`
}

func run(ctx context.Context, o options, names []string, out string) error {
	// Each process has a file for each connection and a few more.
	if limit := raiseFileLimit(); uint64(o.Connections)+100 > limit {
		return fmt.Errorf("%d connections need more than the %d open files this system allows", o.Connections, limit)
	}
	results := make([]result, len(names))
	for round := range o.Rounds {
		for i, name := range names {
			began := time.Now()
			s, err := measure(ctx, o, name)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			results[i].Library = name
			results[i].Samples = append(results[i].Samples, s)
			fmt.Fprintf(os.Stderr, "round %d %s: %.1f s\n", round+1, name, time.Since(began).Seconds())
		}
	}
	for i := range results {
		results[i].Median = median(results[i].Samples)
	}
	printTable(os.Stdout, o, results)
	w := io.Writer(os.Stdout)
	if out != "" {
		f, err := os.Create(out) //nolint:gosec // the file that the caller of this program names
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		w = f
	}
	return json.NewEncoder(w).Encode(map[string]any{"go": runtime.Version(), "cpus": runtime.NumCPU(), "options": o, "results": results})
}

// measure runs one library in fresh processes.
func measure(ctx context.Context, o options, name string) (s sample, err error) {
	server, err := child.Start(ctx, "-role", "server", "-arg", name, fmt.Sprintf("-in-handler=%t", o.InHandler))
	if err != nil {
		return s, err
	}
	defer server.Stop()
	var addr string
	if err := server.Do("addr", 0, &addr); err != nil {
		return s, err
	}
	clients, err := child.Start(ctx, "-role", "clients", "-arg", addr)
	if err != nil {
		return s, err
	}
	defer clients.Stop()

	m := meter{server: server, clients: clients, n: o.Connections}
	// The first connections pay for what is set up once.
	const warm = 50
	m.connect(warm)
	m.fanOut(1)
	m.inbound(1)
	before := m.memory()
	m.connect(o.Connections)
	idle := m.memory()
	perConn := func(a, b int64) float64 { return float64(b-a) / float64(o.Connections-warm) }
	s.RSS = perConn(before.RSS, idle.RSS)
	s.HeapStack = perConn(before.HeapStack, idle.HeapStack)

	total := float64(o.Connections * o.Messages)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / total }
	s.FanOut = us(m.cpu(func() {
		for range o.Messages {
			m.fanOut(1)
		}
	}))
	s.Inbound = us(m.cpu(func() {
		for range o.Messages {
			m.inbound(1)
		}
	}))
	s.Burst = us(m.cpu(func() { m.fanOut(o.Messages) }))
	s.RSSAtBurst = perConn(before.RSS, m.peak())
	s.RSSAfter = perConn(before.RSS, m.memory().RSS)
	return s, m.err
}

// median is taken for each figure by itself.
func median(samples []sample) sample {
	of := func(get func(sample) float64) float64 {
		var v []float64
		for _, s := range samples {
			v = append(v, get(s))
		}
		slices.Sort(v)
		return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
	}
	return sample{
		RSS:        of(func(s sample) float64 { return s.RSS }),
		HeapStack:  of(func(s sample) float64 { return s.HeapStack }),
		RSSAfter:   of(func(s sample) float64 { return s.RSSAfter }),
		FanOut:     of(func(s sample) float64 { return s.FanOut }),
		Burst:      of(func(s sample) float64 { return s.Burst }),
		Inbound:    of(func(s sample) float64 { return s.Inbound }),
		RSSAtBurst: of(func(s sample) float64 { return s.RSSAtBurst }),
	}
}

func printTable(out io.Writer, o options, results []result) {
	_, _ = fmt.Fprintf(out, "%s, %d CPUs, %d connections, %d rounds, %d messages of %d bytes\n\n",
		runtime.Version(), runtime.NumCPU(), o.Connections, o.Rounds, o.Messages, payloadSize)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "library\tidle RSS\theap+stack\tpeak RSS\tRSS after\tfan-out\tburst\tinbound\t")
	_, _ = fmt.Fprintln(w, "\tB/conn\tB/conn\tB/conn\tB/conn\tµs CPU\tµs CPU\tµs CPU\t")
	for _, r := range results {
		m := r.Median
		_, _ = fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t\n",
			r.Library, m.RSS, m.HeapStack, m.RSSAtBurst, m.RSSAfter, m.FanOut, m.Burst, m.Inbound)
	}
	_ = w.Flush()
	_, _ = fmt.Fprintln(out)
}
