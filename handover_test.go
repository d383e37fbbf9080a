package gateway_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/message-gateway/gateway"
)

// Pools that are handed over stay the caller's: the fields of Config are not
// used, and Close leaves them open.
func TestPoolsThatAreHandedOver(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	rdb := redis.NewClient(&redis.Options{Addr: b.cfg.Redis.Addrs[0], ContextTimeoutEnabled: true})
	defer func() { require.NoError(t, rdb.Close()) }()
	cfg := b.mysql.Clone()
	cfg.ParseTime, cfg.Loc = true, time.UTC
	cfg.Params = map[string]string{"time_zone": "'+00:00'"}
	db, err := sql.Open("mysql", cfg.FormatDSN())
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	b.cfg.Redis = gateway.RedisConfig{KeyPrefix: b.names.RedisPrefix}
	b.cfg.MySQL = gateway.MySQLConfig{}

	ctx, userID := within(t, 30*time.Second), user()
	c, err := gateway.New(ctx, b.cfg, gateway.WithRedis(rdb), gateway.WithMySQL(db))
	require.NoError(t, err)
	require.NoError(t, c.Migrate(ctx))
	require.NoError(t, c.Ping(ctx))
	d := connect(t, c, userID, always(`1`))
	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	id, err := c.SendReliableTx(ctx, tx, userID, 1)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	require.Equal(t, id, next(t, d.hints).ID)
	_, err = c.SendCommand(ctx, userID, "TYPE", 1)
	require.NoError(t, err)
	n, err := rdb.Get(ctx, b.names.Seq(userID)).Int64()
	require.NoError(t, err)
	require.Equal(t, int64(2), n, "the prefix is used")

	require.NoError(t, c.Close())
	require.NoError(t, rdb.Ping(ctx).Err())
	require.NoError(t, db.PingContext(ctx))
}

func TestSendsAreCounted(t *testing.T) {
	t.Parallel()
	b := embeddedBackend(t)
	reader := sdk.NewManualReader()
	c := b.open(t, gateway.WithMeterProvider(sdk.NewMeterProvider(sdk.WithReader(reader))))
	ctx, userID := within(t, 20*time.Second), user()
	require.NoError(t, c.SendRealtime(ctx, userID, 1))
	for range 2 {
		_, err := c.SendReliable(ctx, userID, 1)
		require.NoError(t, err)
	}
	_, err := c.SendCommand(ctx, userID, "TYPE", 1, gateway.NoWait())
	require.NoError(t, err)
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(ctx, &all))
	counts := map[string]int64{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "gateway.sends" {
				for _, p := range sum.DataPoints {
					kind, _ := p.Attributes.Value(attribute.Key("kind"))
					outcome, _ := p.Attributes.Value(attribute.Key("outcome"))
					counts[kind.AsString()+" "+outcome.AsString()] = p.Value
				}
			}
		}
	}
	require.Equal(t, map[string]int64{"realtime ok": 1, "reliable ok": 2, "command ok": 1}, counts)
}
