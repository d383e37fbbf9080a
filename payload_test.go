package gateway_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/internal/wire"
)

type point struct {
	X    int    `json:"x"`
	Note string `json:"note,omitempty"`
}

func payloads() map[string]struct {
	payload any
	stored  string
} {
	type c = struct {
		payload any
		stored  string
	}
	return map[string]c{
		"struct":       {point{X: 1, Note: "<&>"}, `{"x":1,"note":"<&>"}`},
		"nil":          {nil, `null`},
		"string":       {"hello \u2028 \"", `"hello ` + "\\u2028" + ` \""`},
		"number":       {12345678901234567, `12345678901234567`},
		"bytes":        {[]byte("ab"), `"YWI="`},
		"raw":          {json.RawMessage("{ \"b\" : 1.0,\n\t\"a\" : \"<é\\u00e9>\", \"b\":2 }"), "{ \"b\" : 1.0,\n\t\"a\" : \"<é\\u00e9>\", \"b\":2 }"},
		"raw scalar":   {json.RawMessage(" true "), " true "},
		"text":         {gateway.Text("hi \"you\" ✓"), `{"$text":"hi \"you\" ✓"}`},
		"empty text":   {gateway.Text(""), `{"$text":""}`},
		"binary":       {gateway.Binary{0, 255, 1}, `{"$binary":"AP8B"}`},
		"empty binary": {gateway.Binary{}, `{"$binary":""}`},
	}
}

func TestPayloadsAreStoredAndSentAsTheyAre(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c := b.open(t)
		for name, p := range payloads() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ctx, userID := within(t, 20*time.Second), user()
				d := connect(t, c, userID, nil)
				id, err := c.SendReliable(ctx, userID, p.payload)
				require.NoError(t, err)
				var stored string
				require.NoError(t, b.db(t).QueryRowContext(ctx, "SELECT payload FROM push_messages WHERE id = ?", id).Scan(&stored))
				assert.Equal(t, p.stored, stored)
				msg, err := c.Message(ctx, id)
				require.NoError(t, err)
				assert.Equal(t, p.stored, string(msg.Payload))

				var envelope struct{ Payload json.RawMessage }
				require.NoError(t, json.Unmarshal(next(t, d.hints).Envelope, &envelope))
				inner, _ := wire.Unwrap(json.RawMessage(p.stored))
				assert.JSONEq(t, string(inner), string(envelope.Payload))

				require.NoError(t, c.SendRealtime(ctx, userID, p.payload))
				assert.Equal(t, p.stored, string(next(t, d.realtime)))
			})
		}
	})
}

func TestPayloadLimit(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		b.cfg.MaxPayload = 100
		c, ctx, userID := b.open(t), within(t, 20*time.Second), user()
		full, over := strings.Repeat("x", 98), strings.Repeat("x", 99)
		_, err := c.SendReliable(ctx, userID, full)
		require.NoError(t, err)
		_, err = c.SendReliable(ctx, userID, over)
		require.ErrorIs(t, err, gateway.ErrPayloadTooLarge)
		require.NotContains(t, err.Error(), over)
		require.NoError(t, c.SendRealtime(ctx, userID, full))
		require.ErrorIs(t, c.SendRealtime(ctx, userID, over), gateway.ErrPayloadTooLarge)
		// For a command it is the data that counts.
		_, err = c.SendCommand(ctx, userID, "T", full, gateway.NoWait())
		require.NoError(t, err)
		_, err = c.SendCommand(ctx, userID, "T", over, gateway.NoWait())
		require.ErrorIs(t, err, gateway.ErrPayloadTooLarge)
		require.Equal(t, 2, b.rows(t, userID))
	})
}

// The hint goes out after the call has returned.
func TestCallersBufferIsFreeAfterTheCall(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 20*time.Second), user()
		d := connect(t, c, userID, nil)
		buf := json.RawMessage(`"0"`)
		for i := range 50 {
			buf[1] = byte('0' + i%10)
			_, err := c.SendReliable(ctx, userID, buf)
			require.NoError(t, err)
		}
		buf[1] = '!'
		for i := range 50 {
			var envelope struct{ Payload string }
			require.NoError(t, json.Unmarshal(next(t, d.hints).Envelope, &envelope))
			require.Equal(t, string(rune('0'+i%10)), envelope.Payload)
		}
	})
}

func TestDeeplyNestedPayloadIsRefusedOrStored(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 20*time.Second), user()
		deep := json.RawMessage(strings.Repeat("[", 200) + strings.Repeat("]", 200))
		_, err := c.SendReliable(ctx, userID, deep)
		if core.Of(c).StoreName[:5] == "mysql" && err != nil {
			require.ErrorIs(t, err, gateway.ErrInvalidPayload)
			require.Zero(t, b.rows(t, userID))
			return
		}
		require.NoError(t, err)
		require.Equal(t, 1, b.rows(t, userID))
	})
}

// TestPayloadIsTheCallersAgain: what was sent does not change with the caller's
// buffer, although the nodes may be told of it after the call has returned.
func TestPayloadIsTheCallersAgain(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 60*time.Second), user()
		d := connect(t, c, userID, nil)
		send := map[string]func(payload json.RawMessage) error{
			"reliable": func(p json.RawMessage) error { return second(c.SendReliable(ctx, userID, p)) },
			"batch": func(p json.RawMessage) error {
				return second(c.SendReliableBatch(ctx, []gateway.Outgoing{{UserID: userID, Payload: p}}))
			},
			"command": func(p json.RawMessage) error {
				return second(c.SendCommand(ctx, userID, "TYPE", p, gateway.NoWait()))
			},
			"transaction": func(p json.RawMessage) error {
				tx, err := b.db(t).BeginTx(ctx, nil)
				require.NoError(t, err)
				require.NoError(t, second(c.SendReliableTx(ctx, tx, userID, p)))
				clear(p)
				return tx.Commit()
			},
		}
		for name, do := range send {
			for range 50 {
				payload := json.RawMessage(`"the caller's"`)
				require.NoError(t, do(payload), name)
				clear(payload)
				require.Contains(t, string(next(t, d.hints).Envelope), `"the caller's"`, name)
			}
		}
		for range 50 {
			payload := json.RawMessage(`"the caller's"`)
			require.NoError(t, c.SendRealtime(ctx, userID, payload))
			clear(payload)
			require.Equal(t, `"the caller's"`, string(next(t, d.realtime)))
		}
	})
}
