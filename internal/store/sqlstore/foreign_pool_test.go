package sqlstore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/store/storetest"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

func TestFromMySQL(t *testing.T) {
	cfg := testenv.MySQL(t)
	ctx := t.Context()
	for _, c := range []struct{ name, variable, value, fault string }{
		{"sql_mode", "sql_mode", "''", "sql_mode"},
		{"charset", "character_set_client", "latin1", "charset=utf8mb4"},
	} {
		bad := cfg.Clone()
		bad.Params = map[string]string{c.variable: c.value}
		_, err := FromMySQL(ctx, openPool(t, bad))
		require.ErrorContains(t, err, c.fault)
	}
	zone := cfg.Clone()
	zone.Params = map[string]string{"time_zone": "'+05:00'"}
	zone.Loc = time.FixedZone("elsewhere", 7*3600)
	for _, parse := range []bool{false, true} {
		zone.ParseTime = parse
		db := openPool(t, zone)
		s, err := FromMySQL(ctx, db)
		require.NoError(t, err, "without TIMESTAMP columns the zone does not matter")
		require.WithinDuration(t, time.Now(), s.Now(), time.Minute)
		require.NoError(t, s.Migrate(ctx))
		m := &store.Message{ID: uuid.NewString(), UserID: "u", PushType: wire.Reliable}
		_, err = s.Insert(ctx, []*store.Message{m})
		require.NoError(t, err)
		got, err := s.Get(ctx, m.ID)
		require.NoError(t, err)
		require.Equal(t, m.CreatedAt, got.CreatedAt)
		require.NoError(t, s.Close())
		require.NoError(t, s.Close())
		require.NoError(t, db.PingContext(ctx), "a pool that was handed over stays open")
	}
	db := openPool(t, cfg)
	for _, statement := range []string{"DROP TABLE push_messages", foreignTables["TIMESTAMP, other order, more columns"]} {
		_, err := db.ExecContext(ctx, statement)
		require.NoError(t, err)
	}
	_, err := FromMySQL(ctx, openPool(t, zone))
	require.ErrorContains(t, err, "time_zone")
}

// TestHandedOverPool runs the whole suite over the driver's defaults.
func TestHandedOverPool(t *testing.T) {
	for _, found := range []bool{false, true} {
		c := testenv.MySQL(t)
		c.ClientFoundRows = found
		c.InterpolateParams = found
		db := openPool(t, c)
		s, err := FromMySQL(t.Context(), db)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		require.NoError(t, s.Migrate(t.Context()))
		app := application{s, db}
		t.Run(fmt.Sprintf("clientFoundRows=%v", found), func(t *testing.T) {
			storetest.Run(t, func(*testing.T) store.Store { return app })
		})
	}
}

// TestInsertTxInForeignSession uses transactions whose session would change the
// meaning of the row.
func TestInsertTxInForeignSession(t *testing.T) {
	cfg := testenv.MySQL(t)
	ctx := t.Context()
	s := openMySQL(t, MySQLOptions{Config: cfg})
	_, err := s.w.ExecContext(ctx, foreignTables["TIMESTAMP, other order, more columns"])
	require.NoError(t, err)
	other := cfg.Clone()
	other.DBName = "mysql" // the application's own schema on the same server
	other.Loc = time.FixedZone("elsewhere", 7*3600)
	other.Params = map[string]string{"time_zone": "'-03:00'", "sql_mode": "''"}
	db := openPool(t, other)
	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	m := &store.Message{ID: uuid.NewString(), UserID: "u", PushType: wire.Command, ExpiresAt: s.Now().Add(time.Hour).Truncate(time.Second)}
	dup, err := s.InsertTx(ctx, tx, m)
	require.NoError(t, err)
	require.False(t, dup)
	long := *m
	long.ID, long.UserID = uuid.NewString(), strings.Repeat("x", 256)
	_, err = s.InsertTx(ctx, tx, &long)
	require.ErrorIs(t, err, store.ErrRejected, "nothing is cut off")
	var zone, mode string
	require.NoError(t, tx.QueryRowContext(ctx, "SELECT @@time_zone, @@sql_mode").Scan(&zone, &mode))
	require.Equal(t, []string{"-03:00", ""}, []string{zone, mode}, "the session is left as it was")
	require.NoError(t, tx.Commit())
	got, err := s.Get(ctx, m.ID)
	require.NoError(t, err)
	require.Equal(t, m.ExpiresAt, got.ExpiresAt)

	latin := cfg.Clone()
	require.NoError(t, latin.Apply(mysql.Charset("latin1", "")))
	tx, err = openPool(t, latin).BeginTx(ctx, nil)
	require.NoError(t, err)
	m.ID = uuid.NewString()
	_, err = s.InsertTx(ctx, tx, m)
	require.ErrorContains(t, err, "charset=utf8mb4")
	require.NoError(t, tx.Rollback())
}
