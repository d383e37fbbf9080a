package gateway_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/wire"
)

// always answers every command with the same response.
func always(response string) func(*wire.Hint) json.RawMessage {
	return func(*wire.Hint) json.RawMessage { return json.RawMessage(response) }
}

func TestSendCommandReturnsTheAnswer(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx := b.open(t), within(t, 30*time.Second)
		for _, response := range []string{`{"ok":true}`, `null`, `"text"`, `[1,2]`, `{"error":"mine"}`, `{"error":{"code":"x"}}`} {
			userID := user()
			d := connect(t, c, userID, always(response))
			res, err := c.SendCommand(ctx, userID, "CLIENT_SERVER:ADD", point{X: 1},
				gateway.WithTimeout(30*time.Second), gateway.WithSender("server", "backend_1"))
			require.NoError(t, err)
			assert.Equal(t, response, string(res.Response))
			assert.False(t, res.Late)
			hint := next(t, d.hints)
			assert.Equal(t, res.MessageID, hint.ID)
			var envelope map[string]any
			require.NoError(t, json.Unmarshal(hint.Envelope, &envelope))
			assert.NotEmpty(t, envelope["sentAt"])
			expires, err := time.Parse(time.RFC3339, envelope["expiresAt"].(string))
			require.NoError(t, err)
			assert.WithinDuration(t, time.Now().Add(30*time.Second), expires, 10*time.Second)
			delete(envelope, "sentAt")
			delete(envelope, "expiresAt")
			assert.Equal(t, map[string]any{
				"kind": "command", "id": res.MessageID, "seq": 1.0, "requestId": hint.RequestID, "type": "CLIENT_SERVER:ADD",
				"data": map[string]any{"x": 1.0}, "sender": map[string]any{"type": "server", "id": "backend_1"},
			}, envelope)

			msg, err := c.Message(ctx, res.MessageID)
			require.NoError(t, err)
			assert.Equal(t, gateway.StatusFinished, msg.Status)
			assert.Equal(t, gateway.KindCommand, msg.Kind)
			assert.JSONEq(t, `{"type":"CLIENT_SERVER:ADD","data":{"x":1}}`, string(msg.Payload))
			assert.Equal(t, response, string(msg.Response))

			again, err := c.AwaitCommand(ctx, res.MessageID)
			require.NoError(t, err)
			assert.Equal(t, res, again)
		}
	})
}

func TestCommandErrorOfTheDevice(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 30*time.Second), user()
		connect(t, c, userID, always(string(wire.DeviceError{Code: "Busy", Message: "later"}.Encode())))
		res, err := c.SendCommand(ctx, userID, "TYPE", nil)
		for range 2 {
			var failure *gateway.CommandError
			require.ErrorAs(t, err, &failure)
			require.Equal(t, &gateway.CommandError{Code: "Busy", Message: "later"}, failure)
			require.NotErrorIs(t, err, gateway.ErrCommandTimeout)
			require.NotNil(t, res)
			require.Nil(t, res.Response)
			res, err = c.AwaitCommand(ctx, res.MessageID)
		}
		_, err = gateway.Call[int](ctx, c, userID, "TYPE", nil)
		var failure *gateway.CommandError
		require.ErrorAs(t, err, &failure)
	})
}

func TestEndsOfAWait(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, userID := b.open(t), user()
		const short = 200 * time.Millisecond
		for name, end := range map[string]struct {
			ctx     func() (context.Context, context.CancelFunc)
			timeout time.Duration
			is, not []error
			status  gateway.Status
		}{
			"command timeout": {
				func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) }, short,
				[]error{gateway.ErrCommandTimeout}, []error{context.DeadlineExceeded, context.Canceled}, gateway.StatusTimedOut,
			},
			"deadline": {
				func() (context.Context, context.CancelFunc) { return context.WithTimeout(t.Context(), 3*short) }, time.Minute,
				[]error{gateway.ErrCommandTimeout, context.DeadlineExceeded}, []error{context.Canceled}, gateway.StatusPending,
			},
			"cancel": {
				func() (context.Context, context.CancelFunc) {
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(3*short, cancel)
					return ctx, cancel
				}, time.Minute,
				[]error{context.Canceled}, []error{gateway.ErrCommandTimeout, context.DeadlineExceeded}, gateway.StatusPending,
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				ctx, cancel := end.ctx()
				defer cancel()
				began := time.Now()
				res, err := c.SendCommand(ctx, userID, "TYPE", 1, gateway.WithTimeout(end.timeout))
				assert.Less(t, time.Since(began), 10*time.Second)
				for _, is := range end.is {
					require.ErrorIs(t, err, is)
				}
				for _, not := range end.not {
					require.NotErrorIs(t, err, not)
				}
				require.NotErrorIs(t, err, gateway.ErrClosed)
				require.Nil(t, res.Response)
				msg, err := c.Message(within(t, 10*time.Second), res.MessageID)
				require.NoError(t, err)
				require.Equal(t, end.status, msg.Status)

				awaiting, cancelAwait := end.ctx()
				defer cancelAwait()
				_, err = c.AwaitCommand(awaiting, res.MessageID)
				for _, is := range end.is {
					require.ErrorIs(t, err, is)
				}
				for _, not := range end.not {
					require.NotErrorIs(t, err, not)
				}
			})
		}
	})
}

// However early the command's own timeout comes, it is not taken for ctx's.
func TestTinyTimeouts(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 60*time.Second), user()
		for i := range 100 {
			_, err := c.SendCommand(ctx, userID, "TYPE", 1, gateway.WithTimeout(time.Duration(i)*50*time.Microsecond+1))
			require.ErrorIs(t, err, gateway.ErrCommandTimeout)
			require.NotErrorIs(t, err, context.DeadlineExceeded)
		}
	})
}

func TestNoWaitAndAwaitFromAnotherClient(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		one, two := b.open(t), b.open(t)
		ctx, userID := within(t, 30*time.Second), user()
		began := make(chan struct{})
		d := connect(t, one, userID, func(*wire.Hint) json.RawMessage {
			<-began
			return json.RawMessage(`42`)
		})
		res, err := one.SendCommand(ctx, userID, "TYPE", 1, gateway.NoWait())
		require.NoError(t, err)
		require.Nil(t, res.Response)
		require.Empty(t, next(t, d.hints).ResponseQueue)
		require.False(t, b.row(t, res.MessageID).responseQueue.Valid)
		var wg sync.WaitGroup
		for _, c := range []*gateway.Client{one, two, two} {
			wg.Go(func() {
				got, err := c.AwaitCommand(ctx, res.MessageID)
				assert.NoError(t, err)
				assert.Equal(t, &gateway.CommandResult{MessageID: res.MessageID, Response: json.RawMessage(`42`)}, got)
			})
		}
		close(began)
		wg.Wait()
	})
}

func TestAwaitCommandErrors(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 30*time.Second), user()
		_, err := c.AwaitCommand(ctx, uuid.NewString())
		require.ErrorIs(t, err, gateway.ErrMessageNotFound)
		id, err := c.SendReliable(ctx, userID, 1)
		require.NoError(t, err)
		_, err = c.AwaitCommand(ctx, id)
		require.ErrorIs(t, err, gateway.ErrNotCommand)
		res, err := c.SendCommand(ctx, userID, "TYPE", 1, gateway.NoWait(), gateway.WithTimeout(2*time.Second))
		require.NoError(t, err)
		_, err = c.AwaitCommand(ctx, res.MessageID)
		require.ErrorIs(t, err, gateway.ErrCommandTimeout)
		require.NotErrorIs(t, err, context.DeadlineExceeded)

		purged, err := c.SendCommand(ctx, userID, "TYPE", 1, gateway.NoWait())
		require.NoError(t, err)
		failed := make(chan error, 1)
		go func() { failed <- second(c.AwaitCommand(ctx, purged.MessageID)) }()
		require.Eventually(t, func() bool { return b.rows(t, userID) == 3 }, 10*time.Second, time.Millisecond)
		_, err = b.db(t).ExecContext(ctx, "DELETE FROM push_messages WHERE id = ?", purged.MessageID)
		require.NoError(t, err)
		require.ErrorIs(t, next(t, failed), gateway.ErrMessageNotFound)
	})
}

func TestLateAnswerIsKept(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 30*time.Second), user()
		d := connect(t, c, userID, nil)
		res, err := c.SendCommand(ctx, userID, "TYPE", 1, gateway.WithTimeout(500*time.Millisecond))
		require.ErrorIs(t, err, gateway.ErrCommandTimeout)
		respond(t, c, next(t, d.hints), json.RawMessage(`"late"`))
		late, err := c.AwaitCommand(ctx, res.MessageID)
		require.NoError(t, err)
		require.Equal(t, &gateway.CommandResult{MessageID: res.MessageID, Response: json.RawMessage(`"late"`), Late: true}, late)
		msg, err := c.Message(ctx, res.MessageID)
		require.NoError(t, err)
		require.Equal(t, gateway.StatusTimedOut, msg.Status)
	})
}

func TestFirstAnswerWins(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 30*time.Second), user()
		d := connect(t, c, userID, always(`1`))
		res, err := c.SendCommand(ctx, userID, "TYPE", 1)
		require.NoError(t, err)
		require.Equal(t, `1`, string(res.Response))
		respond(t, c, next(t, d.hints), json.RawMessage(`2`))
		res, err = c.AwaitCommand(ctx, res.MessageID)
		require.NoError(t, err)
		require.Equal(t, `1`, string(res.Response))
	})
}

func TestCommandWithAMessageIDThatIsStored(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		one, two := b.open(t), b.open(t)
		ctx, userID, id := within(t, 30*time.Second), user(), uuid.NewString()
		hold := make(chan struct{})
		connect(t, one, userID, func(*wire.Hint) json.RawMessage {
			<-hold
			return json.RawMessage(`"one"`)
		})
		var wg sync.WaitGroup
		for _, c := range []*gateway.Client{one, two, one} {
			wg.Go(func() {
				res, err := c.SendCommand(ctx, userID, "TYPE", 1, gateway.WithMessageID(id))
				if assert.NoError(t, err) {
					assert.Equal(t, `"one"`, string(res.Response))
				}
			})
		}
		require.Eventually(t, func() bool { return b.rows(t, userID) == 1 }, 10*time.Second, time.Millisecond)
		_, err := two.SendCommand(ctx, userID, "TYPE", 1, gateway.WithMessageID(id), gateway.WithTimeout(50*time.Millisecond))
		require.ErrorIs(t, err, gateway.ErrCommandTimeout, "its own timeout ends the wait")
		close(hold)
		wg.Wait()
		require.Equal(t, 1, b.rows(t, userID))
		res, err := two.SendCommand(ctx, userID, "TYPE", 1, gateway.WithMessageID(id))
		require.NoError(t, err)
		require.Equal(t, `"one"`, string(res.Response))
	})
}

func TestCall(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 30*time.Second), user()
		connect(t, c, userID, always(`{"x":3}`))
		got, err := gateway.Call[point](ctx, c, userID, "TYPE", 1)
		require.NoError(t, err)
		require.Equal(t, point{X: 3}, got)
		_, err = gateway.Call[[]int](ctx, c, userID, "TYPE", 1)
		var failure *gateway.CommandError
		require.Error(t, err)
		require.NotErrorAs(t, err, &failure)
		require.NotErrorIs(t, err, gateway.ErrCommandTimeout)

		// Options in a slice with room behind them belong to the caller.
		opts := append(make([]gateway.SendOption, 0, 8), gateway.WithSender("server", "x"))
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, err := gateway.Call[point](ctx, c, userID, "TYPE", 1, opts...)
				assert.NoError(t, err)
			})
		}
		wg.Wait()
		require.Nil(t, opts[:2][1])
	})
}
