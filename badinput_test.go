package gateway_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

// badInput is a call that must fail with exactly one of the sentinels.
type badInput struct {
	name string
	want error
	ctx  bool // pass a nil ctx
	user string
	data any
	typ  string
	opts []gateway.SendOption
	// only names the sends that the case concerns; empty means all of them.
	only string
}

func sentinels() []error {
	return []error{
		gateway.ErrNilContext, gateway.ErrEmptyUserID, gateway.ErrInvalidUserID, gateway.ErrInvalidMessageID,
		gateway.ErrInvalidSender, gateway.ErrInvalidPayload, gateway.ErrPayloadTooLarge, gateway.ErrInvalidTimeout,
		gateway.ErrInvalidCommandType, gateway.ErrInvalidOption, gateway.ErrInvalidQuery, gateway.ErrInvalidHub,
	}
}

func badInputs(userID string) []badInput {
	const stored, command = "reliable tx batch command", "command"
	type opts = []gateway.SendOption
	return []badInput{
		{name: "nil ctx", want: gateway.ErrNilContext, ctx: true},
		{name: "empty user", want: gateway.ErrEmptyUserID, user: "-"},
		{name: "user not UTF-8", want: gateway.ErrInvalidUserID, user: userID + "\xff"},
		{name: "user too long", want: gateway.ErrInvalidUserID, user: userID + strings.Repeat("ü", 256-len(userID))},
		{name: "channel", want: gateway.ErrInvalidPayload, data: make(chan int)},
		{name: "NaN", want: gateway.ErrInvalidPayload, data: math.NaN()},
		{name: "raw message not JSON", want: gateway.ErrInvalidPayload, data: json.RawMessage(`{"a":`)},
		{name: "raw message of two values", want: gateway.ErrInvalidPayload, data: json.RawMessage(`1 2`)},
		{name: "raw message empty", want: gateway.ErrInvalidPayload, data: json.RawMessage{}},
		{name: "raw message not UTF-8", want: gateway.ErrInvalidPayload, data: json.RawMessage("\"\xff\"")},
		{name: "payload over the limit", want: gateway.ErrPayloadTooLarge, data: strings.Repeat("x", gateway.DefaultMaxPayload-1)},
		{name: "raw payload over the limit", want: gateway.ErrPayloadTooLarge, data: json.RawMessage(`"` + strings.Repeat("x", gateway.DefaultMaxPayload) + `"`)},
		{name: "binary over the limit", want: gateway.ErrPayloadTooLarge, data: gateway.Binary(make([]byte, gateway.DefaultMaxPayload))},
		{name: "empty message id", want: gateway.ErrInvalidMessageID, opts: opts{gateway.WithMessageID("")}, only: stored},
		{name: "message id not UTF-8", want: gateway.ErrInvalidMessageID, opts: opts{gateway.WithMessageID("\xff")}, only: stored},
		{name: "message id too long", want: gateway.ErrInvalidMessageID, opts: opts{gateway.WithMessageID(strings.Repeat("x", 65))}, only: stored},
		{name: "sender id not UTF-8", want: gateway.ErrInvalidSender, opts: opts{gateway.WithSender("server", "\xff")}, only: stored},
		{name: "sender type not UTF-8", want: gateway.ErrInvalidSender, opts: opts{gateway.WithSender("\xff", "x")}, only: stored},
		{name: "sender id too long", want: gateway.ErrInvalidSender, opts: opts{gateway.WithSender("server", strings.Repeat("x", 256))}, only: stored},
		{name: "sender type too long", want: gateway.ErrInvalidSender, opts: opts{gateway.WithSender(strings.Repeat("x", 33), "x")}, only: stored},
		{name: "negative retry interval", want: gateway.ErrInvalidTimeout, opts: opts{gateway.WithRetryInterval(-1)}, only: stored},
		{name: "retry interval too long", want: gateway.ErrInvalidTimeout, opts: opts{gateway.WithRetryInterval(gateway.MaxRetryInterval + 1)}, only: stored},
		{name: "negative timeout", want: gateway.ErrInvalidTimeout, opts: opts{gateway.WithTimeout(-time.Second)}, only: command},
		{name: "timeout too long", want: gateway.ErrInvalidTimeout, opts: opts{gateway.WithTimeout(gateway.MaxTimeout + 1)}, only: command},
		{name: "empty type", want: gateway.ErrInvalidCommandType, typ: "-", only: command},
		{name: "type not UTF-8", want: gateway.ErrInvalidCommandType, typ: "\xff", only: command},
		{name: "timeout of no command", want: gateway.ErrInvalidOption, opts: opts{gateway.WithTimeout(time.Second)}, only: "realtime reliable tx batch"},
		{name: "no wait of no command", want: gateway.ErrInvalidOption, opts: opts{gateway.NoWait()}, only: "realtime reliable tx batch"},
		{name: "message id of realtime", want: gateway.ErrInvalidOption, opts: opts{gateway.WithMessageID("x")}, only: "realtime"},
		{name: "sender of realtime", want: gateway.ErrInvalidOption, opts: opts{gateway.WithSender("server", "x")}, only: "realtime"},
		{name: "offline check inside", want: gateway.ErrInvalidOption, opts: opts{gateway.FailIfOffline()}, only: "tx batch"},
	}
}

func TestBadInputWritesNothing(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, userID := b.open(t), user()
		tx := func() *sql.Tx {
			tx, err := b.db(t).BeginTx(t.Context(), nil)
			require.NoError(t, err)
			t.Cleanup(func() { _ = tx.Rollback() })
			return tx
		}
		sends := map[string]func(context.Context, badInput) error{
			"realtime": func(ctx context.Context, in badInput) error {
				return c.SendRealtime(ctx, in.user, in.data, in.opts...)
			},
			"reliable": func(ctx context.Context, in badInput) error {
				_, err := c.SendReliable(ctx, in.user, in.data, in.opts...)
				return err
			},
			"tx": func(ctx context.Context, in badInput) error {
				tx := tx()
				_, err := c.SendReliableTx(ctx, tx, in.user, in.data, in.opts...)
				require.NoError(t, tx.Rollback())
				return err
			},
			"batch": func(ctx context.Context, in badInput) error {
				good := gateway.Outgoing{UserID: userID, Payload: 1}
				_, err := c.SendReliableBatch(ctx, []gateway.Outgoing{good, {UserID: in.user, Payload: in.data, Options: in.opts}})
				if !in.ctx {
					assert.ErrorContains(t, err, "message 1")
				}
				return err
			},
			"command": func(ctx context.Context, in badInput) error {
				res, err := c.SendCommand(ctx, in.user, in.typ, in.data, in.opts...)
				assert.Nil(t, res)
				return err
			},
		}
		for _, in := range badInputs(userID) {
			in.user = fallback(in.user, userID)
			in.typ = fallback(in.typ, "TYPE")
			if in.data == nil {
				in.data = 1
			}
			for name, send := range sends {
				if in.only != "" && !slices.Contains(strings.Fields(in.only), name) {
					continue
				}
				ctx := t.Context()
				if in.ctx {
					ctx = nil
				}
				err := send(ctx, in)
				for _, sentinel := range sentinels() {
					assert.Equal(t, errors.Is(in.want, sentinel), errors.Is(err, sentinel), "%s %s: %v against %v", name, in.name, err, sentinel)
				}
				assert.ErrorIs(t, err, gateway.ErrInvalidArgument, "%s %s", name, in.name)
			}
		}
		assert.Zero(t, b.rows(t, userID))
		assert.Equal(t, int64(1), draw(t, c, userID), "the counter is untouched")
	})
}

func TestBadArgumentsOfOtherMethods(t *testing.T) {
	t.Parallel()
	eachBackend(t, func(t *testing.T, b *backend) {
		c, ctx, userID := b.open(t), within(t, 20*time.Second), user()
		var none context.Context
		_, err := c.SendReliableTx(ctx, nil, userID, 1)
		require.ErrorIs(t, err, gateway.ErrInvalidArgument)
		_, err = c.SendReliableBatch(ctx, make([]gateway.Outgoing, gateway.MaxBatch+1))
		require.ErrorIs(t, err, gateway.ErrInvalidArgument)
		same := []gateway.SendOption{gateway.WithMessageID(user())}
		_, err = c.SendReliableBatch(ctx, []gateway.Outgoing{{UserID: userID, Options: same}, {UserID: userID, Options: same}})
		require.ErrorIs(t, err, gateway.ErrInvalidMessageID)
		ids, err := c.SendReliableBatch(ctx, nil)
		require.NoError(t, err)
		require.Empty(t, ids)
		for _, q := range []gateway.HistoryQuery{{Limit: -1}, {Limit: gateway.MaxHistoryLimit + 1}, {FromSeq: -1}} {
			_, err = c.History(ctx, userID, q)
			require.ErrorIs(t, err, gateway.ErrInvalidQuery)
			require.ErrorIs(t, err, gateway.ErrInvalidArgument)
		}
		_, err = c.History(ctx, "", gateway.HistoryQuery{})
		require.ErrorIs(t, err, gateway.ErrEmptyUserID)
		_, err = c.Online(ctx, userID, "")
		require.ErrorIs(t, err, gateway.ErrEmptyUserID)
		_, err = gateway.Call[int](ctx, c, userID, "TYPE", 1, gateway.NoWait())
		require.ErrorIs(t, err, gateway.ErrInvalidOption)

		for name, err := range map[string]error{
			"Ping":    c.Ping(none),
			"Migrate": c.Migrate(none),
			"Online":  second(c.Online(none, userID)),
			"History": second(c.History(none, userID, gateway.HistoryQuery{})),
			"Message": second(c.Message(none, "x")),
			"Await":   second(c.AwaitCommand(none, "x")),
			"Token":   second(c.ClientAccessToken(none, "x")),
		} {
			assert.ErrorIs(t, err, gateway.ErrNilContext, name)
		}
		assert.Zero(t, b.rows(t, userID))
		assert.Equal(t, int64(1), draw(t, c, userID), "the counter is untouched")
	})
}
