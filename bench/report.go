package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// kind is which figure a line compares.
type kind struct {
	unit string
	get  func(figures) float64
}

var (
	perSecond = kind{"/s", func(f figures) float64 { return f.Rate }}
	p50       = kind{"µs p50", func(f figures) float64 { return f.P50 }}
	p99       = kind{"µs p99", func(f figures) float64 { return f.P99 }}
	cpuPerOp  = kind{"µs CPU/op", func(f figures) float64 { return f.CPU }}
	kilobytes = kind{"KB", func(f figures) float64 { return f.Value }}
	millis    = kind{"ms", func(f figures) float64 { return f.Value }}
)

// line is one line of the table: our figure beside another, and the goal.
type line struct {
	Row    string  `json:"row"`
	Counts string  `json:"counts"`
	Unit   string  `json:"unit"`
	Ours   float64 `json:"ours"`
	// Against is whom Theirs belongs to; empty for a goal that is a number.
	Against string  `json:"against,omitempty"`
	Theirs  float64 `json:"theirs,omitempty"`
	// Ratio is the median over the rounds of ours / theirs.
	Ratio  float64   `json:"ratio,omitempty"`
	Ratios []float64 `json:"ratios,omitempty"`
	Goal   string    `json:"goal,omitempty"`
	Met    *bool     `json:"met,omitempty"`
	// Allocs and CPU are those of our process, per operation.
	Allocs       float64 `json:"allocs_per_op"`
	CPU          float64 `json:"cpu_us_per_op"`
	TheirsAllocs float64 `json:"theirs_allocs_per_op,omitempty"`
	TheirsCPU    float64 `json:"theirs_cpu_us_per_op,omitempty"`
	Note         string  `json:"note,omitempty"`
}

// goal is a bound of a ratio, or of our own figure.
type goal struct {
	text  string
	holds func(v float64) bool
}

func atLeast(x float64) goal {
	return goal{fmt.Sprintf("≥ %g ×", x), func(v float64) bool { return v >= x }}
}

func atMost(x float64) goal {
	return goal{fmt.Sprintf("≤ %g ×", x), func(v float64) bool { return v <= x }}
}

func below(x float64, unit string) goal {
	return goal{fmt.Sprintf("≤ %g %s", x, unit), func(v float64) bool { return v <= x }}
}

// noGoal is for lines that only inform.
var noGoal = goal{}

// compare makes a line of two sides, by the median of the rounds' ratios.
func compare(k kind, ours []figures, name string, theirs []figures, g goal) line {
	a, b := medians(ours), medians(theirs)
	l := line{
		Unit: k.unit, Ours: k.get(a), Against: name, Theirs: k.get(b), Goal: g.text,
		Allocs: a.Allocs, CPU: a.CPU, TheirsAllocs: b.Allocs, TheirsCPU: b.CPU,
	}
	for i := range min(len(ours), len(theirs)) {
		if other := k.get(theirs[i]); other > 0 {
			l.Ratios = append(l.Ratios, k.get(ours[i])/other)
		}
	}
	l.Ratio = median(l.Ratios)
	if g.holds != nil && len(l.Ratios) > 0 {
		met := g.holds(l.Ratio)
		l.Met = &met
	}
	return l
}

// alone makes a line of our side only, whose goal is a number.
func alone(k kind, ours []figures, g goal) line {
	a := medians(ours)
	l := line{Unit: k.unit, Ours: k.get(a), Goal: g.text, Allocs: a.Allocs, CPU: a.CPU}
	if g.holds != nil {
		met := g.holds(l.Ours)
		l.Met = &met
	}
	return l
}

// notRun is a line that says why there are no figures.
func notRun(what, why string) line { return line{Note: what + " not run: " + why} }

// report is what the JSON file holds.
type report struct {
	Began    time.Time         `json:"began"`
	Seconds  float64           `json:"seconds"`
	Machine  map[string]string `json:"machine"`
	Settings map[string]string `json:"settings"`
	Short    bool              `json:"short"`
	Scale    bool              `json:"scale"`
	Lines    []line            `json:"lines"`
}

func newReport(ctx context.Context, b *bench) *report {
	return &report{
		Began: time.Now(), Short: b.opts.short, Scale: b.opts.scale, Settings: b.settings(ctx),
		Machine: map[string]string{
			"go": runtime.Version(), "cpus": fmt.Sprint(runtime.NumCPU()), "cpu": cpuModel(),
			"load": firstWords("/proc/loadavg", 3), "kernel": firstWords("/proc/sys/kernel/osrelease", 1),
		},
	}
}

func (r *report) print(out io.Writer) {
	_, _ = fmt.Fprintf(out, "%s, %s cores of %s, Linux %s, %s; load %s before the first row\n", r.Began.UTC().Format("2006-01-02 15:04 UTC"),
		r.Machine["cpus"], r.Machine["cpu"], r.Machine["kernel"], r.Machine["go"], r.Machine["load"])
	for _, name := range []string{"redis", "mysql", "innodb_flush_log_at_trx_commit", "sync_binlog", "rabbitmq", "nats", "sqlite", "files"} {
		if v := r.Settings[name]; v != "" {
			_, _ = fmt.Fprintf(out, "%s: %s\n", name, v)
		}
	}
	_, _ = fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := "row\tours\tunit\ttheirs\tratio\tgoal\tmet\tallocs/op\tCPU µs/op\tagainst\t"
	if r.Scale {
		head = "row\tmeasured\tunit\tpredicted\tratio\tgoal\tmet\t\t\tmodel\t"
	}
	_, _ = fmt.Fprintln(w, head)
	for _, l := range r.Lines {
		if l.Unit == "" {
			continue
		}
		theirs, ratio := "", ""
		if l.Against != "" {
			theirs, ratio = number(l.Theirs), fmt.Sprintf("%.2f", l.Ratio)
		}
		met := ""
		if l.Met != nil {
			met = map[bool]string{true: "yes", false: "NO"}[*l.Met]
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n",
			l.Row, number(l.Ours), l.Unit, theirs, ratio, l.Goal, met, number(l.Allocs), number(l.CPU), l.Against)
	}
	_ = w.Flush()
	for _, l := range r.Lines {
		if l.Note != "" {
			_, _ = fmt.Fprintf(out, "%s: %s\n", l.Row, l.Note)
		}
	}
	_, _ = fmt.Fprintf(out, "%.0f s in all\n", r.Seconds)
}

func (r *report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// number prints three digits that mean something.
func number(v float64) string {
	switch {
	case v == 0:
		return ""
	case v >= 1000:
		s := fmt.Sprintf("%.0f", v)
		if len(s) > 3 {
			s = s[:len(s)-3] + "," + s[len(s)-3:]
		}
		if len(s) > 7 {
			s = s[:len(s)-7] + "," + s[len(s)-7:]
		}
		return s
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func firstWords(path string, n int) string {
	text, err := os.ReadFile(path) //nolint:gosec // files of /proc
	if err != nil {
		return "unknown"
	}
	words := strings.Fields(string(text))
	return strings.Join(words[:min(n, len(words))], " ")
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for l := range strings.Lines(string(text)) {
		if _, name, ok := strings.Cut(l, ":"); ok && strings.HasPrefix(l, "model name") {
			return strings.TrimSpace(name)
		}
	}
	return runtime.GOARCH
}
