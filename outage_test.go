package gateway_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/wire"
)

// behindProxy puts a proxy before one of the servers.
func behindProxy(t testing.TB, addr *string) *proxy {
	t.Helper()
	p := newProxy(t, *addr)
	*addr = p.addr()
	return p
}

// hung is a backend one of whose servers takes everything and says nothing any
// more. One client has asked it before, for a command, the other has not.
type hung struct {
	used, unused      *gateway.Client
	userID, messageID string
}

func hang(t *testing.T, b *backend, server string) hung {
	t.Helper()
	addr := map[string]*string{"redis": &b.cfg.Redis.Addrs[0], "mysql": &b.cfg.MySQL.Addr, "rabbitmq": &b.cfg.RabbitMQ.Addrs[0]}[server]
	p := behindProxy(t, addr)
	h := hung{used: b.open(t), unused: b.open(t), userID: user()}
	stored, err := h.used.SendCommand(within(t, 20*time.Second), h.userID, "TYPE", 1, gateway.NoWait())
	require.NoError(t, err)
	h.messageID = stored.MessageID
	p.hold()
	t.Cleanup(p.release)
	return h
}

func TestAnswerDuringABrokenConnectionArrives(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	g := originalGatewayOn(t, b)
	p := behindProxy(t, &b.cfg.RabbitMQ.Addrs[0])
	c := b.open(t)
	done := sendCommand(t, c, user())
	n, id, _ := g.notified(t)
	p.cut()
	require.Eventually(t, func() bool { return c.Ping(within(t, time.Second)) != nil }, 20*time.Second, time.Millisecond)
	// Only to the queue, not to the database: it must still be there.
	g.answer(t, n, `"kept"`)
	select {
	case <-done:
		t.Fatal("the answer cannot be there")
	case <-time.After(50 * time.Millisecond):
	}
	p.restore()
	res := next(t, done)
	require.Equal(t, id, res.MessageID)
	require.Equal(t, `"kept"`, string(res.Response))

	// The same client goes on, with the same queue.
	done = sendCommand(t, c, user())
	again, _, _ := g.notified(t)
	require.Equal(t, n.ReplyTo, again.ReplyTo)
	g.answer(t, again, `"again"`)
	require.Equal(t, `"again"`, string(next(t, done).Response))
}

func TestRabbitMQDownDoesNotConcernReliableSends(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	g := originalGatewayOn(t, b)
	p := behindProxy(t, &b.cfg.RabbitMQ.Addrs[0])
	c, userID := b.open(t), user()
	p.cut()
	require.Eventually(t, func() bool { return c.Ping(within(t, time.Second)) != nil }, 20*time.Second, time.Millisecond)
	var sent []string
	for range 40 {
		id, err := c.SendReliable(within(t, 10*time.Second), userID, 1)
		require.NoError(t, err)
		sent = append(sent, id)
	}
	require.NoError(t, c.SendRealtime(within(t, 10*time.Second), userID, 1))
	require.Equal(t, 40, b.rows(t, userID))
	// A device of our own nodes answers over the database.
	online := user()
	direct := b.cfg
	direct.RabbitMQ.Addrs = []string{p.target}
	other, err := gateway.New(within(t, 20*time.Second), direct)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, other.Close()) })
	connect(t, other, online, always(`"answered"`))
	res, err := c.SendCommand(within(t, 20*time.Second), online, "TYPE", 1)
	require.NoError(t, err)
	require.Equal(t, `"answered"`, string(res.Response))

	p.restore()
	var told []string
	for range sent {
		_, id, _ := g.notified(t)
		told = append(told, id)
	}
	require.ElementsMatch(t, sent, told, "notifications wait for RabbitMQ")
}

func TestRealtimeWorksWhileMySQLIsDown(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	b.open(t)
	p := behindProxy(t, &b.cfg.MySQL.Addr)
	c, err := gateway.New(within(t, 20*time.Second), b.cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	p.cut() // before the client has ever looked at the table
	userID := user()
	d := connect(t, c, userID, nil)
	began := time.Now()
	require.NoError(t, c.SendRealtime(context.WithoutCancel(t.Context()), userID, 1, gateway.FailIfOffline()))
	_, err = c.Online(context.WithoutCancel(t.Context()), userID)
	require.NoError(t, err)
	require.Less(t, time.Since(began), 5*time.Second)
	require.Equal(t, "1", string(next(t, d.realtime)))

	for name, err := range map[string]error{
		"reliable": second(c.SendReliable(within(t, 300*time.Millisecond), userID, 1)),
		"history":  second(c.History(within(t, 300*time.Millisecond), userID, gateway.HistoryQuery{})),
		"message":  second(c.Message(within(t, 300*time.Millisecond), "x")),
	} {
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
		require.ErrorContains(t, err, p.addr(), name)
		noSecret(t, err.Error())
	}
	p.restore()
	_, err = c.SendReliable(within(t, 20*time.Second), userID, 1)
	require.NoError(t, err)
}

func TestCallersLearnThatRedisIsDown(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	p := behindProxy(t, &b.cfg.Redis.Addrs[0])
	c, userID := b.open(t), user()
	_, err := c.SendReliable(within(t, 20*time.Second), userID, 1)
	require.NoError(t, err)
	p.cut()
	for name, send := range map[string]func(context.Context) error{
		"realtime": func(ctx context.Context) error { return c.SendRealtime(ctx, userID, 1) },
		"reliable": func(ctx context.Context) error { return second(c.SendReliable(ctx, userID, 1)) },
		"batch": func(ctx context.Context) error {
			return second(c.SendReliableBatch(ctx, []gateway.Outgoing{{UserID: userID}}))
		},
		"command": func(ctx context.Context) error { return second(c.SendCommand(ctx, userID, "TYPE", 1)) },
		"online":  func(ctx context.Context) error { return second(c.Online(ctx, userID)) },
	} {
		began := time.Now()
		err := send(within(t, 2*time.Second))
		require.Error(t, err, name)
		require.Less(t, time.Since(began), 10*time.Second, name)
		require.ErrorContains(t, err, p.addr(), name)
		require.NotErrorIs(t, err, gateway.ErrInvalidArgument, name)
	}
	require.Equal(t, 1, b.rows(t, userID))
	p.restore()
	require.Eventually(t, func() bool { return second(c.SendReliable(within(t, 5*time.Second), userID, 1)) == nil }, 20*time.Second, 10*time.Millisecond)
}

// A server that accepts and never answers costs a caller no more than its ctx.
func TestCallersLearnThatMySQLHangs(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	c, userID := b.open(t), user()
	_, err := c.SendReliable(within(t, 20*time.Second), userID, 1)
	require.NoError(t, err)
	tx, err := b.db(t).BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	// LOCK TABLES would end the transaction; a lock on every row and gap does not.
	_, err = tx.ExecContext(t.Context(), "SELECT * FROM push_messages FOR UPDATE")
	require.NoError(t, err)
	began := time.Now()
	_, err = c.SendReliable(within(t, 300*time.Millisecond), userID, 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "mysql")
	require.Less(t, time.Since(began), 5*time.Second)
}

// Whatever is in the reply queue, and however fast, the waiter gets its answer.
func TestFastAnswersAreNotLost(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx := b.open(t), within(t, 60*time.Second)
		userID := user()
		connect(t, c, userID, func(h *wire.Hint) json.RawMessage { return json.RawMessage(`"` + h.ID + `"`) })
		began := time.Now()
		for range 50 {
			res, err := c.SendCommand(ctx, userID, "TYPE", 1)
			require.NoError(t, err)
			require.Equal(t, `"`+res.MessageID+`"`, string(res.Response))
		}
		// Each by the queue: the database is looked at every two seconds only.
		require.Less(t, time.Since(began), 30*time.Second)
	})
}

// An answer that is there before the INSERT has returned finds its waiter.
func TestAnswerBeforeTheCommitReturns(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	p := behindProxy(t, &b.cfg.MySQL.Addr)
	c, ctx, userID := b.open(t), within(t, 60*time.Second), user()
	_, err := c.SendReliable(ctx, userID, 1)
	require.NoError(t, err)
	g := originalGatewayOn(t, b)
	p.hold() // the INSERT goes through, its confirmation does not come back
	done := sendCommand(t, c, userID)
	var id, request, queue string
	require.Eventually(t, func() bool {
		return b.db(t).QueryRowContext(ctx, "SELECT id, command_request_id, command_response_queue FROM push_messages WHERE target_user_id = ? AND push_type = 2",
			userID).Scan(&id, &request, &queue) == nil
	}, 20*time.Second, time.Millisecond)
	require.NotEmpty(t, queue, "a gateway that reads the row can answer")
	n := notification(queue, request)
	g.answer(t, n, `"fast"`)
	// The queue is empty again once the client has taken the answer.
	require.Eventually(t, func() bool {
		q, err := g.ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err == nil && q.Messages == 0
	}, 20*time.Second, time.Millisecond)
	p.release()
	require.Equal(t, `"fast"`, string(next(t, done).Response))
}
