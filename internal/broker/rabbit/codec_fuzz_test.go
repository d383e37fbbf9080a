package rabbit

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// FuzzDecode: a body that anybody wrote names a message, or is refused; what
// goes to a retry queue is what came.
func FuzzDecode(f *testing.F) {
	for _, body := range []string{
		`{"message_id":"a"}`, `{"message_id":"a","message_id":"b"}`, `{"MESSAGE_ID":"a"}`, `{"message_id":null}`, `{"message_id":1}`,
		`{"message_id":""}`, `[]`, `"a"`, ``, `{`, "{\"message_id\":\"\xff\"}", `{"message_id":"\ud800"}`,
	} {
		f.Add([]byte(body), "queue", "id", int32(3))
	}
	f.Fuzz(func(t *testing.T, body []byte, replyTo, correlationID string, attempts int32) {
		d := amqp.Delivery{Body: body, ReplyTo: replyTo, CorrelationId: correlationID, Headers: amqp.Table{attemptHeader: attempts, "x-death": body}}
		n, err := decode(d)
		if err == nil {
			require.NotEmpty(t, n.MessageID)
			require.True(t, utf8.ValidString(n.MessageID))
			require.True(t, json.Valid(body))
			require.Equal(t, replyTo, n.ReplyTo)
			require.Equal(t, correlationID, n.CorrelationID)
		}
		failed := failedBefore(d)
		require.GreaterOrEqual(t, failed, 0)
		retried := again(d, failed+1, "500")
		require.Equal(t, body, retried.Body)
		require.Equal(t, amqp.Table{attemptHeader: int32(failed + 1)}, retried.Headers)
	})
}
