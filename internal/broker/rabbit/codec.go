package rabbit

import (
	"encoding/json"
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/message-gateway/gateway/internal/broker"
)

const contentType = "application/json"

// attemptHeader counts the failed attempts on a notification (ours: it is only
// on what comes back from a retry queue).
const attemptHeader = "x-gateway-attempt"

// body is the body of a notification. Readers ignore other members.
type body struct {
	MessageID *string `json:"message_id"`
}

func encode(n broker.Notification) (amqp.Publishing, error) {
	raw, err := json.Marshal(body{MessageID: &n.MessageID})
	return amqp.Publishing{
		ContentType:   contentType,
		DeliveryMode:  amqp.Persistent,
		ReplyTo:       n.ReplyTo,
		CorrelationId: n.CorrelationID,
		Body:          raw,
	}, err
}

func decode(d amqp.Delivery) (broker.Notification, error) {
	var b body
	if err := json.Unmarshal(d.Body, &b); err != nil {
		return broker.Notification{}, err
	}
	if b.MessageID == nil || *b.MessageID == "" {
		return broker.Notification{}, errors.New("no message_id")
	}
	return broker.Notification{MessageID: *b.MessageID, ReplyTo: d.ReplyTo, CorrelationID: d.CorrelationId}, nil
}

// failedBefore reads how many attempts on a notification failed. The header is
// only a pace: a strange value costs nothing but a wrong pause.
func failedBefore(d amqp.Delivery) int {
	if n, ok := d.Headers[attemptHeader].(int32); ok && n > 0 {
		return int(min(n, 1<<20))
	}
	return 0
}

// again is the delivery as it goes to a retry queue. Its headers stay behind:
// among them is x-death, by which the server drops a message that expires in the
// same queue a second time.
func again(d amqp.Delivery, failed int, expiration string) amqp.Publishing {
	return amqp.Publishing{
		Headers:       amqp.Table{attemptHeader: int32(failed)},
		ContentType:   contentType,
		DeliveryMode:  amqp.Persistent,
		ReplyTo:       d.ReplyTo,
		CorrelationId: d.CorrelationId,
		Expiration:    expiration,
		Body:          d.Body,
	}
}
