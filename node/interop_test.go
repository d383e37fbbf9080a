package node_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

// originalSDK plays the original Python SDK with raw drivers: it knows the wire
// contract and nothing else.
type originalSDK struct {
	w       *world
	ch      *amqp.Channel
	queue   string
	answers <-chan amqp.Delivery
	// answered are the requests whose answers came.
	answered map[string]bool
}

func newOriginalSDK(t *testing.T, w *world) *originalSDK {
	t.Helper()
	conn, err := amqp.Dial(w.amqpURL)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.ExchangeDeclare(w.names.Exchange(), "direct", true, false, false, false, nil))
	q, err := ch.QueueDeclare("", false, true, true, false, nil) // exclusive, auto-delete, named by the server
	require.NoError(t, err)
	answers, err := ch.ConsumeWithContext(t.Context(), q.Name, "", true, true, false, false, nil)
	require.NoError(t, err)
	return &originalSDK{w: w, ch: ch, queue: q.Name, answers: answers, answered: map[string]bool{}}
}

// row stores a message as the original does: exactly the contract's columns.
func (o *originalSDK) row(t *testing.T, u string, pushType int, payload string, more map[string]any) string {
	t.Helper()
	seq, err := o.w.redis.Incr(t.Context(), o.w.names.RedisPrefix+"seq:user:"+u).Result()
	require.NoError(t, err)
	id, now := uuid.NewString(), sqlTime(time.Now())
	columns := map[string]any{
		"id": id, "sender_type": "server", "sender_id": "python", "target_user_id": u, "push_type": pushType, "seq": seq,
		"payload": payload, "status": "PENDING", "nonce": uuid.NewString(), "created_at": now, "updated_at": now,
	}
	for name, value := range more {
		columns[name] = value
	}
	o.w.insert(t, columns)
	return id
}

func (o *originalSDK) commandRow(t *testing.T, u string) (id, requestID string) {
	t.Helper()
	requestID = uuid.NewString()
	id = o.row(t, u, 2, `{"type": "CLIENT_SERVER:CREATE_CANVAS", "data": {"w": 3}}`, map[string]any{
		"command_request_id": requestID, "expired_at": sqlTime(time.Now().Add(30 * time.Minute)), "retry_interval": 60000,
		"command_response": "null", // as its ORM writes what is not there
	})
	return id, requestID
}

// notify publishes the notification; requestID is empty for a reliable message.
func (o *originalSDK) notify(t *testing.T, id, requestID string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"message_id": id, "trace": "ignored"})
	require.NoError(t, err)
	p := amqp.Publishing{ContentType: "application/json", DeliveryMode: 2, Body: body}
	if requestID != "" {
		p.ReplyTo, p.CorrelationId = o.queue, requestID
	}
	require.NoError(t, o.ch.PublishWithContext(t.Context(), o.w.names.Exchange(), "ws.message.direct", false, false, p))
}

// answer wants the answer to a command on the reply queue, and the row finished.
// An earlier answer may come again: who stores it and who learns of the queue at
// that moment both send it.
func (o *originalSDK) answer(t *testing.T, id, requestID, want string) {
	t.Helper()
	timeout := time.After(devicetest.Patience)
	for answered := ""; answered != requestID; {
		select {
		case a := <-o.answers:
			answered = a.CorrelationId
			require.True(t, answered == requestID || o.answered[answered], "an answer to %s", answered)
			assert.JSONEq(t, want, string(a.Body))
		case <-timeout:
			t.Fatal("no answer came to the reply queue")
		}
	}
	o.answered[requestID] = true
	m := o.w.hasStatus(t, id, gateway.StatusFinished)
	assert.JSONEq(t, want, string(m.Response))
	var queue string
	require.NoError(t, o.w.db.QueryRowContext(t.Context(), "SELECT command_response_queue FROM push_messages WHERE id = ?", id).Scan(&queue))
	assert.Equal(t, o.queue, queue)
}

func TestOriginalSDK(t *testing.T) {
	t.Parallel()
	w := newReal(t)
	// Two nodes: either may consume a notification, one holds the user.
	h := w.node(t, node.Options{})
	w.node(t, node.Options{})
	const answer = `{"canvas": "c1", "ok": true}`
	for name, run := range map[string]func(*testing.T, *originalSDK){
		"realtime": func(t *testing.T, o *originalSDK) {
			u := user()
			d, bare := h.connect(t, u, devicetest.JSON), h.connect(t, u, devicetest.None)
			require.NoError(t, w.redis.Publish(t.Context(), w.names.RedisPrefix+"realtime:user:"+u, `{"typing": true}`).Err())
			assert.Equal(t, `{"typing": true}`, string(d.Message(t).Data))
			assert.Equal(t, `{"typing": true}`, string(bare.Next(t).Raw))
			require.NoError(t, w.redis.Publish(t.Context(), w.names.RedisPrefix+"realtime:user:"+u, `no JSON`).Err())
			w.nothingStored(t, u, d)
		},
		"reliable": func(t *testing.T, o *originalSDK) {
			u := user()
			d := h.connect(t, u, devicetest.Reliable)
			// Several, so that both nodes get some of the notifications.
			for i := range 6 {
				id := o.row(t, u, 1, `{"n": `+itoa(i)+`}`, nil)
				o.notify(t, id, "")
				e := d.Envelope(t)
				assert.Equal(t, id, e.ID)
				assert.EqualValues(t, i+1, e.Seq)
				assert.Equal(t, "python", e.Sender.ID)
				assert.JSONEq(t, `{"n": `+itoa(i)+`}`, string(e.Payload))
				d.SequenceAck(t, e.SequenceID)
				w.finished(t, id)
			}
			// Our own client goes on where the other has stopped.
			w.reliable(t, u, 1)
			assert.EqualValues(t, 7, d.Envelope(t).Seq)
		},
		"command": func(t *testing.T, o *originalSDK) {
			u := user()
			d := h.connect(t, u, devicetest.Reliable)
			for range 6 {
				id, requestID := o.commandRow(t, u)
				o.notify(t, id, requestID)
				e := d.Envelope(t)
				assert.Equal(t, id, e.ID)
				assert.Equal(t, requestID, e.RequestID)
				assert.Equal(t, "CLIENT_SERVER:CREATE_CANVAS", e.Type)
				assert.JSONEq(t, `{"w": 3}`, string(e.Data))
				require.True(t, d.Respond(t, requestID, json.RawMessage(answer)).Success)
				o.answer(t, id, requestID, answer)
			}
		},
		"offline": func(t *testing.T, o *originalSDK) {
			u := user()
			id, requestID := o.commandRow(t, u)
			o.notify(t, id, requestID)
			require.Eventually(t, func() bool {
				var queue *string
				err := w.db.QueryRowContext(t.Context(), "SELECT command_response_queue FROM push_messages WHERE id = ?", id).Scan(&queue)
				return err == nil && queue != nil && *queue == o.queue
			}, devicetest.Patience, 5*time.Millisecond)
			d := h.connect(t, u, devicetest.JSON)
			e := d.Envelope(t)
			assert.Equal(t, id, e.ID)
			d.Acknowledge(t, id)
			w.hasStatus(t, id, gateway.StatusRequestDelivered)
			require.True(t, d.Respond(t, requestID, json.RawMessage(answer)).Success)
			o.answer(t, id, requestID, answer)
		},
		// The device connects between the INSERT and the notification, so the
		// node learns only later where the answer goes.
		"rowBeforeNotification": func(t *testing.T, o *originalSDK) {
			u := user()
			id, requestID := o.commandRow(t, u)
			d := h.connect(t, u, devicetest.JSON)
			assert.Equal(t, id, d.Envelope(t).ID)
			d.Acknowledge(t, id)
			w.hasStatus(t, id, gateway.StatusRequestDelivered)
			o.notify(t, id, requestID)
			require.Eventually(t, func() bool {
				var queue *string
				err := w.db.QueryRowContext(t.Context(), "SELECT command_response_queue FROM push_messages WHERE id = ?", id).Scan(&queue)
				return err == nil && queue != nil && *queue == o.queue
			}, devicetest.Patience, 5*time.Millisecond)
			require.True(t, d.Respond(t, requestID, json.RawMessage(answer)).Success)
			o.answer(t, id, requestID, answer)
		},
		// As before, but the device has answered before the notification came.
		"answerBeforeNotification": func(t *testing.T, o *originalSDK) {
			u := user()
			id, requestID := o.commandRow(t, u)
			d := h.connect(t, u, devicetest.JSON)
			assert.Equal(t, id, d.Envelope(t).ID)
			require.True(t, d.Respond(t, requestID, json.RawMessage(answer)).Success)
			w.hasStatus(t, id, gateway.StatusFinished)
			o.notify(t, id, requestID)
			o.answer(t, id, requestID, answer)
		},
		// What a device sees follows the hints, not the numbers.
		"hintsOutOfOrder": func(t *testing.T, o *originalSDK) {
			u := user()
			d := h.connect(t, u, devicetest.JSON)
			before := w.reliable(t, u, 0)
			assert.Equal(t, before, d.Envelope(t).ID) // what is stored comes after the catch-up
			first, second := o.row(t, u, 1, `1`, nil), o.row(t, u, 1, `2`, nil)
			o.notify(t, second, "")
			later := d.Envelope(t)
			o.notify(t, first, "")
			earlier := d.Envelope(t)
			assert.Equal(t, []string{second, first}, []string{later.ID, earlier.ID})
			assert.Greater(t, later.Seq, earlier.Seq)
		},
		"hostileNotifications": func(t *testing.T, o *originalSDK) {
			for _, body := range []string{``, `null`, `[]`, `{}`, `{"message_id": 7}`, `{"message_id": ""}`, `{"message_id": "unknown"}`, `not JSON`} {
				require.NoError(t, o.ch.PublishWithContext(t.Context(), w.names.Exchange(), "ws.message.direct", false, false, amqp.Publishing{Body: []byte(body)}))
			}
			u := user()
			d := h.connect(t, u, devicetest.JSON)
			id := o.row(t, u, 1, `1`, nil)
			o.notify(t, id, "")
			assert.Equal(t, id, d.Envelope(t).ID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, newOriginalSDK(t, w))
		})
	}
}

// TestAnswerWithoutWaiter: the reply queue of a caller that is gone does no
// harm.
func TestAnswerWithoutWaiter(t *testing.T) {
	t.Parallel()
	w := newReal(t)
	h := w.node(t, node.Options{})
	o := newOriginalSDK(t, w)
	u := user()
	d := h.connect(t, u, devicetest.JSON)
	id, requestID := o.commandRow(t, u)
	o.notify(t, id, requestID)
	d.Envelope(t)
	require.NoError(t, o.ch.Close())
	require.True(t, d.Respond(t, requestID, 1).Success)
	w.hasStatus(t, id, gateway.StatusFinished)
	ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
	defer cancel()
	res, err := w.client.AwaitCommand(ctx, id)
	require.NoError(t, err)
	assert.JSONEq(t, `1`, string(res.Response))
}
