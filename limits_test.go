package gateway_test

import (
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

// limitFields are the fields of Limits, their variables and their bounds, apart
// from MessageTTL.
var limitFields = map[string]struct {
	variable string
	largest  int
}{
	"HubName": {"MSG_LIMIT_HUB_NAME", 1024}, "GroupName": {"MSG_LIMIT_GROUP_NAME", 4096}, "EventName": {"MSG_LIMIT_EVENT_NAME", 1024},
	"MetadataName": {"MSG_LIMIT_METADATA_NAME", 64 << 10}, "MetadataValue": {"MSG_LIMIT_METADATA_VALUE", 64 << 10}, "Metadata": {"MSG_LIMIT_METADATA", 64 << 10},
	"FilterBytes": {"MSG_LIMIT_FILTER_BYTES", 1 << 20}, "FilterClauses": {"MSG_LIMIT_FILTER_CLAUSES", 1000}, "FilterDepth": {"MSG_LIMIT_FILTER_DEPTH", 1000},
	"Page": {"MSG_LIMIT_PAGE", 10_000},
}

func TestBoundsOfLimits(t *testing.T) {
	t.Parallel()
	refused := func(l gateway.Limits) []string {
		_, err := gateway.New(t.Context(), gateway.Config{EmbeddedDir: t.TempDir(), Limits: l})
		if err == nil {
			t.Fatalf("%+v is accepted", l)
		}
		return problems(t, err)
	}
	accepted := func(l gateway.Limits) {
		c, err := gateway.New(t.Context(), gateway.Config{EmbeddedDir: t.TempDir(), Hub: "d", Limits: l})
		require.NoError(t, err, "%+v", l)
		require.NoError(t, c.Close())
	}
	var smallest, largest gateway.Limits
	require.Equal(t, len(limitFields)+1, reflect.TypeFor[gateway.Limits]().NumField(), "a field without test")
	for name, f := range limitFields {
		with := func(value int) gateway.Limits {
			var l gateway.Limits
			reflect.ValueOf(&l).Elem().FieldByName(name).SetInt(int64(value))
			return l
		}
		assert.Equal(t, []string{f.variable}, refused(with(-1)), name)
		assert.Equal(t, []string{f.variable}, refused(with(f.largest+1)), name)
		_, err := gateway.New(t.Context(), gateway.Config{EmbeddedDir: t.TempDir(), Limits: with(-1)})
		require.ErrorContains(t, err, fmt.Sprintf("%s: is not between 1 and %d", f.variable, f.largest))
		reflect.ValueOf(&smallest).Elem().FieldByName(name).SetInt(1)
		reflect.ValueOf(&largest).Elem().FieldByName(name).SetInt(int64(f.largest))
	}
	for _, ttl := range []time.Duration{-1, time.Millisecond, 1500 * time.Millisecond, 24*time.Hour + time.Second} {
		assert.Equal(t, []string{"MSG_LIMIT_MESSAGE_TTL"}, refused(gateway.Limits{MessageTTL: ttl}), ttl)
	}
	smallest.MessageTTL, largest.MessageTTL = time.Second, 24*time.Hour
	accepted(smallest)
	accepted(largest)
	_, err := gateway.New(t.Context(), gateway.Config{EmbeddedDir: t.TempDir(), Hub: "dd", Limits: smallest})
	require.ErrorContains(t, err, "MSG_HUB: must start with a letter and have at most 1 letters")
}

func TestDefaultLimits(t *testing.T) {
	t.Parallel()
	require.Equal(t, gateway.Limits{
		HubName: 128, GroupName: 1024, EventName: 128, MetadataName: 256, MetadataValue: 1024, Metadata: 8 << 10,
		MessageTTL: 300 * time.Second, FilterBytes: 64 << 10, FilterClauses: 100, FilterDepth: 100, Page: 200,
	}, gateway.DefaultLimits())
	doc, err := os.ReadFile("docs/configuration.md")
	require.NoError(t, err)
	defaults := reflect.ValueOf(gateway.DefaultLimits())
	for name, f := range limitFields {
		row := rowOf(t, string(doc), f.variable)
		require.Contains(t, row, "| `"+strconv.FormatInt(defaults.FieldByName(name).Int(), 10)+"` |")
	}
	require.Contains(t, rowOf(t, string(doc), "MSG_LIMIT_MESSAGE_TTL"), "| `5m0s` |")
}

// rowOf is the row of a table that begins with a variable.
func rowOf(t *testing.T, doc, variable string) string {
	t.Helper()
	_, row, found := strings.Cut(doc, "\n| `"+variable+"` ")
	require.True(t, found, variable)
	row, _, _ = strings.Cut(row, "\n")
	return row
}

func TestLimitsFromTheEnvironment(t *testing.T) {
	vars, want := map[string]string{"MSG_LIMIT_MESSAGE_TTL": "7s"}, gateway.Limits{MessageTTL: 7 * time.Second}
	value := 10
	for name, f := range limitFields {
		value++
		vars[f.variable] = strconv.Itoa(value)
		reflect.ValueOf(&want).Elem().FieldByName(name).SetInt(int64(value))
	}
	setenv(t, required(vars))
	cfg, err := gateway.LoadConfig()
	require.NoError(t, err)
	require.Equal(t, want, cfg.Limits)
	setenv(t, required(map[string]string{"MSG_LIMIT_PAGE": "10001", "MSG_LIMIT_METADATA": "-1", "MSG_LIMIT_MESSAGE_TTL": "7"}))
	_, err = gateway.LoadConfig()
	require.ElementsMatch(t, []string{"MSG_LIMIT_PAGE", "MSG_LIMIT_METADATA", "MSG_LIMIT_MESSAGE_TTL"}, problems(t, err))
}

// TestLimitsOfHubs goes to each limit and one beyond it, with the default ones
// and with others.
func TestLimitsOfHubs(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]gateway.Limits{
		"default": gateway.DefaultLimits(),
		"small": {
			HubName: 7, GroupName: 3, EventName: 9, MetadataName: 4, MetadataValue: 5, Metadata: 8,
			MessageTTL: 2 * time.Second, FilterBytes: 200, FilterClauses: 2, FilterDepth: 3, Page: 6,
		},
		"large": {
			HubName: 1024, GroupName: 4096, EventName: 1024, MetadataName: 1 << 10, MetadataValue: 32 << 10, Metadata: 64 << 10,
			MessageTTL: 24 * time.Hour, FilterBytes: 1 << 20, FilterClauses: 1000, FilterDepth: 1000, Page: 10_000,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := embeddedBackend(t)
			b.cfg.Limits = limits
			testLimitsOfHubs(t, b.open(t), limits)
		})
	}
}

func testLimitsOfHubs(t *testing.T, c *gateway.Client, l gateway.Limits) {
	ctx := within(t, 30*time.Second)
	h := c.Hub("h")
	x := func(n int) string { return strings.Repeat("x", n) }
	send := func(opt gateway.HubOption) error { return h.SendToAll(ctx, 1, opt) }
	filter := func(text string) error { return send(gateway.WithFilter(text)) }
	clauses := func(n int) string {
		return strings.TrimSuffix(strings.Repeat("true eq true and ", n), " and ")
	}
	depth := func(n int) string { return strings.Repeat("(", n) + "true" + strings.Repeat(")", n) }
	length := func(n int) string { return "userId eq '" + x(n-12) + "'" }
	full := map[string]string{}
	for left, i := l.Metadata, 0; left > 0; i++ {
		key := strconv.Itoa(i)
		size := min(left, len(key)+l.MetadataValue)
		full[key] = x(max(size-len(key), 0))
		left -= size
	}
	more := map[string]string{"m": ""}
	for k, v := range full {
		more[k] = v
	}
	page := func(n int) error {
		_, err := h.GroupConnections(ctx, "g", "", n)
		return err
	}
	for name, e := range map[string]struct {
		at, beyond error
		want       error
	}{
		"hub":            {c.Hub(x(l.HubName)).SendToAll(ctx, 1), c.Hub(x(l.HubName+1)).SendToAll(ctx, 1), gateway.ErrInvalidHub},
		"group":          {h.SendToGroup(ctx, strings.Repeat("ä", l.GroupName), 1), h.SendToGroup(ctx, strings.Repeat("ä", l.GroupName+1), 1), gateway.ErrInvalidGroup},
		"metadata name":  {send(gateway.WithMetadata(map[string]string{x(l.MetadataName): ""})), send(gateway.WithMetadata(map[string]string{x(l.MetadataName + 1): ""})), gateway.ErrInvalidArgument},
		"metadata value": {send(gateway.WithMetadata(map[string]string{"k": x(l.MetadataValue)})), send(gateway.WithMetadata(map[string]string{"k": x(l.MetadataValue + 1)})), gateway.ErrInvalidArgument},
		"metadata":       {send(gateway.WithMetadata(full)), send(gateway.WithMetadata(more)), gateway.ErrInvalidArgument},
		"ttl":            {send(gateway.WithMessageTTL(l.MessageTTL)), send(gateway.WithMessageTTL(l.MessageTTL + time.Second)), gateway.ErrInvalidTimeout},
		"filter length":  {filter(length(l.FilterBytes)), filter(length(l.FilterBytes + 1)), gateway.ErrInvalidFilter},
		"filter clauses": {filter(clauses(l.FilterClauses)), filter(clauses(l.FilterClauses + 1)), gateway.ErrInvalidFilter},
		"filter depth":   {filter(depth(l.FilterDepth)), filter(depth(l.FilterDepth + 1)), gateway.ErrInvalidFilter},
		"page":           {page(l.Page), page(l.Page + 1), gateway.ErrInvalidQuery},
	} {
		assert.NoError(t, e.at, name)
		assert.ErrorIs(t, e.beyond, e.want, name)
		assert.ErrorIs(t, e.beyond, gateway.ErrInvalidArgument, name)
	}
	_, err := c.Hub(x(l.HubName+1)).ClientAccessToken(ctx, "u", gateway.WithEndpoint("https://h"))
	assert.ErrorIs(t, err, gateway.ErrInvalidHub)
}
