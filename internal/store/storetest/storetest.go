// Package storetest holds every implementation of store.Store to the sentences
// of that interface.
package storetest

import (
	"database/sql"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/store"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

// Application is what a store under test offers beside the interface: the pool of
// an application that uses the same database. The subtests that need one say so
// where it is missing.
type Application interface {
	DB() *sql.DB
}

// Run runs the suite. open returns a store whose schema is migrated, and which
// subtests may share: they use users and ids of their own.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, group := range []struct {
		name string
		test func(t *testing.T, open func(t *testing.T) store.Store)
	}{
		{"Insert", testInsert},
		{"Ids", testIDs},
		{"Read", testRead},
		{"States", testStates},
		{"Answer", testAnswer},
		{"Expiry", testExpiry},
		{"Purge", testPurge},
		{"Contexts", testContexts},
	} {
		t.Run(group.name, func(t *testing.T) {
			group.test(t, open)
		})
	}
}

// bench is what one subtest works with.
type bench struct {
	store.Store
	*testing.T
	// user belongs to this subtest alone.
	user string
}

// run starts a parallel subtest with a user of its own.
func run(t *testing.T, open func(t *testing.T) store.Store, name string, test func(b *bench)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		test(&bench{Store: open(t), T: t, user: "user_" + testenv.Unique()})
	})
}

// db is the application's pool.
func (b *bench) db() *sql.DB {
	b.Helper()
	app, ok := b.Store.(Application)
	if !ok {
		b.Skip("not run: the store under test does not offer storetest.Application")
	}
	return app.DB()
}

// exec changes rows behind the back of the store.
func (b *bench) exec(query string, args ...any) {
	b.Helper()
	_, err := b.db().ExecContext(b.Context(), query, args...)
	require.NoError(b, err)
}

func (b *bench) remove(id string) {
	b.Helper()
	b.exec("UPDATE push_messages SET deleted_at = '2026-01-01 00:00:00' WHERE id = ?", id)
}

func (b *bench) reliable(seq int64) *store.Message {
	return &store.Message{
		ID: uuid.NewString(), SenderType: "server", SenderID: "backend_1", UserID: b.user,
		PushType: wire.Reliable, Seq: seq, Payload: json.RawMessage(`{"n":1}`), Status: wire.Pending,
		Nonce: uuid.NewString(),
	}
}

func (b *bench) command(seq int64, timeout time.Duration) *store.Message {
	m := b.reliable(seq)
	m.PushType = wire.Command
	m.Payload = json.RawMessage(`{"type":"T","data":{}}`)
	m.RequestID = uuid.NewString()
	m.ExpiresAt = b.Now().Add(timeout)
	m.RetryInterval = time.Minute
	return m
}

// insert stores messages that must be new.
func (b *bench) insert(msgs ...*store.Message) {
	b.Helper()
	duplicates, err := b.Insert(b.Context(), msgs)
	require.NoError(b, err)
	require.Empty(b, duplicates)
}

func (b *bench) get(id string) *store.Message {
	b.Helper()
	m, err := b.Get(b.Context(), id)
	require.NoError(b, err)
	return m
}

func (b *bench) unfinished() []string {
	b.Helper()
	msgs, err := b.Unfinished(b.Context(), b.user, store.Cursor{}, 1000)
	require.NoError(b, err)
	return ids(msgs)
}

func (b *bench) answer(id, response string, at time.Time) store.AnswerOutcome {
	b.Helper()
	outcomes, err := b.Answer(b.Context(), []store.Answer{{ID: id, Response: json.RawMessage(response), At: at}})
	require.NoError(b, err)
	require.Len(b, outcomes, 1)
	return outcomes[0]
}

func (b *bench) settle(id string, delivered, acknowledged time.Time) {
	b.Helper()
	require.NoError(b, b.Settle(b.Context(), []store.Settlement{
		{ID: id, DeliveredAt: delivered, AcknowledgedAt: acknowledged},
	}))
}

func ids(msgs []*store.Message) []string {
	all := make([]string, len(msgs))
	for i, m := range msgs {
		all[i] = m.ID
	}
	return all
}

// sameTime allows for columns that keep whole seconds.
func (b *bench) sameTime(want, got time.Time) {
	b.Helper()
	require.WithinDuration(b, want, got, time.Second)
	require.Equal(b, time.UTC, got.Location())
}
