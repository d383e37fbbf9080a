package gateway_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/testenv"
)

// originalGateway knows what the wire contract says, and nothing of this
// library: it has an AMQP channel, an SQL pool and a Redis client.
type originalGateway struct {
	*backend
	ch            *amqp.Channel
	redis         *redis.Client
	notifications <-chan amqp.Delivery
}

// originalGatewayOn binds a queue of its own to the exchange, which it declares as the
// original does.
func originalGatewayOn(t testing.TB, b *backend) *originalGateway {
	t.Helper()
	g := &originalGateway{backend: b, ch: admin.channel(t, testenv.RabbitMQ(t)), redis: redis.NewClient(&redis.Options{Addr: testenv.Redis(t)})}
	exchange := b.names.RabbitPrefix + "ws.message.direct.exchange"
	require.NoError(t, g.ch.ExchangeDeclare(exchange, "direct", true, false, false, false, nil))
	q, err := g.ch.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, g.ch.QueueBind(q.Name, "ws.message.direct", exchange, false, nil))
	g.notifications, err = g.ch.Consume(q.Name, "", true, true, false, false, nil)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := g.ch.QueueDelete(q.Name, false, false, false)
		assert.NoError(t, err)
		assert.NoError(t, g.ch.Close())
		assert.NoError(t, g.redis.Close())
	})
	return g
}

// notified takes the next notification and the row that it names.
func (g *originalGateway) notified(t testing.TB) (n amqp.Delivery, id string, r row) {
	t.Helper()
	n = next(t, g.notifications)
	var body struct {
		MessageID string `json:"message_id"`
	}
	require.NoError(t, json.Unmarshal(n.Body, &body))
	return n, body.MessageID, g.row(t, body.MessageID)
}

// finish writes the device's answer as the original does.
func (g *originalGateway) finish(t testing.TB, id, response string) {
	t.Helper()
	_, err := g.db(t).ExecContext(context.WithoutCancel(t.Context()), `UPDATE push_messages SET status = 'FINISHED', command_response = ?,
		delivering_at = UTC_TIMESTAMP(), request_delivered_at = UTC_TIMESTAMP(), finished_at = UTC_TIMESTAMP(), updated_at = UTC_TIMESTAMP() WHERE id = ?`, response, id)
	require.NoError(t, err)
}

// answer publishes the device's answer to whoever waits.
func (g *originalGateway) answer(t testing.TB, n amqp.Delivery, response string) {
	t.Helper()
	require.NoError(t, g.ch.PublishWithContext(t.Context(), "", n.ReplyTo, false, false,
		amqp.Publishing{ContentType: "application/json", CorrelationId: n.CorrelationId, Body: []byte(response)}))
}

// notification stands for one that did not come over RabbitMQ.
func notification(replyTo, correlationID string) amqp.Delivery {
	return amqp.Delivery{ReplyTo: replyTo, CorrelationId: correlationID}
}

// sendCommand sends in the background.
func sendCommand(t testing.TB, c *gateway.Client, userID string, opts ...gateway.SendOption) <-chan *gateway.CommandResult {
	t.Helper()
	done := make(chan *gateway.CommandResult, 1)
	ctx := within(t, 60*time.Second)
	go func() {
		res, err := c.SendCommand(ctx, userID, "CLIENT_SERVER:CREATE_CANVAS", point{X: 1}, opts...)
		assert.NoError(t, err)
		done <- res
	}()
	return done
}

func TestOriginalGatewayAnswersACommand(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	c, g, userID := b.open(t), originalGatewayOn(t, b), user()
	began := time.Now()
	done := sendCommand(t, c, userID, gateway.WithSender("server", "backend_1"), gateway.WithTimeout(90*time.Second))
	n, id, r := g.notified(t)
	assert.Equal(t, "application/json", n.ContentType)
	assert.Equal(t, uint8(2), n.DeliveryMode)
	assert.Equal(t, r.requestID.String, n.CorrelationId)
	assert.NotEmpty(t, n.ReplyTo)
	require.NoError(t, uuid.Validate(id))
	require.NoError(t, uuid.Validate(r.requestID.String))
	require.NoError(t, uuid.Validate(r.nonce.String))
	assert.Equal(t, text("server"), r.senderType)
	assert.Equal(t, text("backend_1"), r.senderID)
	assert.Equal(t, userID, r.userID)
	assert.Equal(t, 2, r.pushType)
	assert.Equal(t, int64(1), r.seq.Int64)
	assert.JSONEq(t, `{"type":"CLIENT_SERVER:CREATE_CANVAS","data":{"x":1}}`, r.payload.String)
	assert.Equal(t, "PENDING", r.status)
	assert.False(t, r.response.Valid)
	if r.responseQueue.Valid {
		assert.Equal(t, n.ReplyTo, r.responseQueue.String)
	}
	assert.WithinDuration(t, began.Add(90*time.Second), r.expiredAt.(time.Time), 15*time.Second)
	assert.Equal(t, int64(60000), r.retryInterval.Int64)
	assert.Nil(t, r.deliveringAt)
	assert.Nil(t, r.requestDelivered)
	assert.Nil(t, r.finised)
	assert.WithinDuration(t, began, r.createdAt.(time.Time), 15*time.Second)
	assert.WithinDuration(t, began, r.updatedAt.(time.Time), 15*time.Second)
	assert.Nil(t, r.deletedAt)
	seq, err := g.redis.Get(t.Context(), b.names.RedisPrefix+"seq:user:"+userID).Int64()
	require.NoError(t, err)
	assert.Equal(t, int64(1), seq)

	g.finish(t, id, `{"ok":true}`)
	g.answer(t, n, `{"ok":true}`)
	res := next(t, done)
	assert.Equal(t, id, res.MessageID)
	assert.JSONEq(t, `{"ok":true}`, string(res.Response))
}

func TestOriginalGatewayGetsReliableMessages(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	c, g, userID, ctx := b.open(t), originalGatewayOn(t, b), user(), within(t, 30*time.Second)
	id, err := c.SendReliable(ctx, userID, point{X: 1})
	require.NoError(t, err)
	n, got, r := g.notified(t)
	assert.Equal(t, id, got)
	assert.Empty(t, n.ReplyTo)
	assert.Empty(t, n.CorrelationId)
	assert.Equal(t, uint8(2), n.DeliveryMode)
	assert.Equal(t, 1, r.pushType)

	// A command that does not wait has no reply_to either.
	res, err := c.SendCommand(ctx, userID, "TYPE", 1, gateway.NoWait())
	require.NoError(t, err)
	n, got, _ = g.notified(t)
	assert.Equal(t, res.MessageID, got)
	assert.Empty(t, n.ReplyTo)
	g.finish(t, got, `7`)
	res, err = c.AwaitCommand(ctx, got)
	require.NoError(t, err)
	assert.Equal(t, `7`, string(res.Response))

	// In a transaction the notification comes after the commit.
	tx, err := b.db(t).BeginTx(ctx, nil)
	require.NoError(t, err)
	id, err = c.SendReliableTx(ctx, tx, userID, 1)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	_, got, _ = g.notified(t)
	assert.Equal(t, id, got)

	// Realtime goes over Redis as it is.
	sub := g.redis.Subscribe(ctx, b.names.RedisPrefix+"realtime:user:"+userID)
	defer func() { require.NoError(t, sub.Close()) }()
	_, err = sub.Receive(ctx)
	require.NoError(t, err)
	require.NoError(t, c.SendRealtime(ctx, userID, point{X: 2}))
	msg, err := sub.ReceiveMessage(ctx)
	require.NoError(t, err)
	assert.Equal(t, `{"x":2}`, msg.Payload)
}

// Someone else's SDK draws from the same counter.
func TestOriginalSDKSharesTheCounter(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	c, g, userID, ctx := b.open(t), originalGatewayOn(t, b), user(), within(t, 30*time.Second)
	for want := int64(2); want <= 6; want += 2 {
		require.NoError(t, g.redis.Incr(ctx, b.names.RedisPrefix+"seq:user:"+userID).Err())
		id, err := c.SendReliable(ctx, userID, 1)
		require.NoError(t, err)
		assert.Equal(t, want, g.row(t, id).seq.Int64)
	}
}

func TestAnswerOnlyInTheDatabaseIsFound(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	c, g := b.open(t), originalGatewayOn(t, b)
	done := sendCommand(t, c, user())
	_, id, _ := g.notified(t)
	g.finish(t, id, `"found"`)
	require.Equal(t, `"found"`, string(next(t, done).Response))

	// A command that the gateway finished without an answer, or with a broken one.
	done = sendCommand(t, c, user())
	n, id, _ := g.notified(t)
	g.answer(t, n, `not JSON`)
	_, err := b.db(t).ExecContext(t.Context(), "UPDATE push_messages SET status = 'FINISHED' WHERE id = ?", id)
	require.NoError(t, err)
	require.Equal(t, `null`, string(next(t, done).Response))
}

func TestAnswersToNobodyAreDropped(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	c, g := b.open(t), originalGatewayOn(t, b)
	done := sendCommand(t, c, user())
	n, _, _ := g.notified(t)
	stranger := n
	stranger.CorrelationId = uuid.NewString()
	g.answer(t, stranger, `"stranger"`)
	stranger.CorrelationId = ""
	g.answer(t, stranger, `"nobody"`)
	g.answer(t, n, `"mine"`)
	g.answer(t, n, `"twice"`)
	require.Equal(t, `"mine"`, string(next(t, done).Response))
}
