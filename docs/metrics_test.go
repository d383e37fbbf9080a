package docs_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	"go.yaml.in/yaml/v3"

	"github.com/message-gateway/gateway/internal/telemetry"
)

// instrument is what is known of a metric.
type instrument struct{ kind, unit string }

// recorder notes the instruments that are created.
type recorder struct {
	noop.MeterProvider
	all map[string]instrument
}

func (r *recorder) Meter(string, ...metric.MeterOption) metric.Meter { return recording{all: r.all} }

// recording is the recorder's Meter.
type recording struct {
	noop.Meter
	all map[string]instrument
}

func (r recording) note(name, kind, unit string) { r.all[name] = instrument{kind, unit} }

func (r recording) Int64Counter(name string, opts ...metric.Int64CounterOption) (metric.Int64Counter, error) {
	r.note(name, "counter", metric.NewInt64CounterConfig(opts...).Unit())
	return noop.Int64Counter{}, nil
}

func (r recording) Int64UpDownCounter(name string, opts ...metric.Int64UpDownCounterOption) (metric.Int64UpDownCounter, error) {
	r.note(name, "up-down counter", metric.NewInt64UpDownCounterConfig(opts...).Unit())
	return noop.Int64UpDownCounter{}, nil
}

func (r recording) Int64Histogram(name string, opts ...metric.Int64HistogramOption) (metric.Int64Histogram, error) {
	r.note(name, "histogram", metric.NewInt64HistogramConfig(opts...).Unit())
	return noop.Int64Histogram{}, nil
}

func (r recording) Float64Histogram(name string, opts ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	r.note(name, "histogram", metric.NewFloat64HistogramConfig(opts...).Unit())
	return noop.Float64Histogram{}, nil
}

func (r recording) Int64ObservableUpDownCounter(name string, opts ...metric.Int64ObservableUpDownCounterOption) (metric.Int64ObservableUpDownCounter, error) {
	r.note(name, "up-down counter", metric.NewInt64ObservableUpDownCounterConfig(opts...).Unit())
	return noop.Int64ObservableUpDownCounter{}, nil
}

func (r recording) Float64ObservableGauge(name string, opts ...metric.Float64ObservableGaugeOption) (metric.Float64ObservableGauge, error) {
	r.note(name, "gauge", metric.NewFloat64ObservableGaugeConfig(opts...).Unit())
	return noop.Float64ObservableGauge{}, nil
}

// registered are the metrics that the code has.
func registered(t *testing.T) map[string]instrument {
	t.Helper()
	r := &recorder{all: map[string]instrument{}}
	_, err := telemetry.New(r)
	require.NoError(t, err)
	require.NotEmpty(t, r.all)
	return r.all
}

// prometheus is the name that the OpenTelemetry exporter for Prometheus makes.
func prometheus(name string, i instrument) string {
	name = strings.ReplaceAll(name, ".", "_")
	suffix := map[string]string{"s": "_seconds", "By": "_bytes"}[i.unit]
	if i.unit == "1" && i.kind == "gauge" {
		suffix = "_ratio"
	}
	if !strings.HasSuffix(name, suffix) {
		name += suffix
	}
	if i.kind == "counter" {
		name += "_total"
	}
	return name
}

// The table of metrics.md has each metric of the code, and no other.
func TestMetricsTable(t *testing.T) {
	t.Parallel()
	text := pages(t)["metrics.md"]
	rows := regexp.MustCompile("(?m)^\\| `(gateway\\.[\\w.]+)` \\| `(\\w+)` \\| ([\\w -]+) \\| `([^`]+)` \\|").FindAllStringSubmatch(text, -1)
	metrics := registered(t)
	documented := map[string]bool{}
	for _, row := range rows {
		require.False(t, documented[row[1]], "twice: %s", row[1])
		documented[row[1]] = true
		i, ok := metrics[row[1]]
		require.True(t, ok, "nothing registers %s", row[1])
		require.Equal(t, instrument{row[3], row[4]}, i, row[1])
		require.Equal(t, prometheus(row[1], i), row[2])
	}
	for name := range metrics {
		require.True(t, documented[name], "not in the table: %s", name)
	}
}

// The table of queues has each queue of the code, and no other.
func TestQueuesTable(t *testing.T) {
	t.Parallel()
	_, text, found := strings.Cut(pages(t)["metrics.md"], "## Queues")
	require.True(t, found)
	var documented []telemetry.QueueName
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(text, -1) {
		if row[1] != "queue" {
			documented = append(documented, telemetry.QueueName(row[1]))
		}
	}
	require.ElementsMatch(t, telemetry.QueueNames, documented)
}

// series are the names that a Prometheus server has of the metrics.
func series(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for name, i := range registered(t) {
		name = prometheus(name, i)
		if i.kind != "histogram" {
			all[name] = true
			continue
		}
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			all[name+suffix] = true
		}
	}
	return all
}

// requireSeries requires that an expression asks for metrics that exist.
func requireSeries(t *testing.T, expr string) {
	t.Helper()
	names := regexp.MustCompile(`\bgateway_\w+`).FindAllString(expr, -1)
	require.NotEmpty(t, names, expr)
	known := series(t)
	for _, name := range names {
		require.True(t, known[name], "%s, in %s", name, expr)
	}
}

// The dashboard is one that Grafana takes, and asks for metrics that exist.
func TestDashboard(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../deploy/grafana-dashboard.json")
	require.NoError(t, err)
	var dashboard struct {
		Title         string
		UID           string
		SchemaVersion int
		Templating    struct{ List []struct{ Name, Type string } }
		Panels        []struct {
			ID      int
			Title   string
			Type    string
			GridPos *struct{ H, W, X, Y int }
			Targets []struct{ Expr, RefID string }
		}
	}
	require.NoError(t, json.Unmarshal(raw, &dashboard))
	require.NotEmpty(t, dashboard.Title)
	require.NotEmpty(t, dashboard.UID)
	require.GreaterOrEqual(t, dashboard.SchemaVersion, 36)
	ids := map[int]bool{}
	taken := map[[2]int]string{}
	asked := map[string]bool{}
	for _, p := range dashboard.Panels {
		require.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
		require.NotNil(t, p.GridPos, p.Title)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				require.Empty(t, taken[at], "%s lies over another panel", p.Title)
				taken[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			require.NotEmpty(t, target.RefID, p.Title)
			requireSeries(t, target.Expr)
			for _, name := range regexp.MustCompile(`\bgateway_\w+`).FindAllString(target.Expr, -1) {
				asked[name] = true
			}
		}
	}
	for name, i := range registered(t) {
		name = prometheus(name, i)
		shown := asked[name] || asked[name+"_bucket"] || asked[name+"_count"] || asked[name+"_sum"]
		require.True(t, shown, "no panel shows %s", name)
	}
}

// Each alert asks for metrics that exist, is explained to operators, and stands
// in the table of metrics, and the other way round.
func TestAlerts(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../deploy/prometheus-alerts.yaml")
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(raw, &file))
	texts := pages(t)
	var alerts []string
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			alerts = append(alerts, rule.Alert)
			requireSeries(t, rule.Expr)
			require.Contains(t, []string{"critical", "warning"}, rule.Labels["severity"], rule.Alert)
			require.NotEmpty(t, rule.Annotations["summary"], rule.Alert)
			require.Contains(t, rule.Annotations["runbook_url"], "docs/operations.md#"+strings.ToLower(rule.Alert))
			require.Contains(t, texts["operations.md"], "\n### "+rule.Alert+"\n")
		}
	}
	for _, page := range []string{"metrics.md", "operations.md"} {
		named := regexp.MustCompile(`\bGateway[A-Z]\w+`).FindAllString(texts[page], -1)
		slices.Sort(named)
		require.ElementsMatch(t, alerts, slices.Compact(named), page)
	}
}
