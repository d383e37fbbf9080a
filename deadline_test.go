package gateway_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
)

// overdue is how much later than its end a call may return on a busy machine.
const overdue = 2 * time.Second

// A server that takes everything and says nothing any more holds no call past
// the end of its ctx, whatever the call, and whether it has been asked before.
func TestServersThatHang(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"redis", "mysql", "rabbitmq"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			h := hang(t, realBackend(t), server)
			for state, c := range map[string]*gateway.Client{"used": h.used, "unused": h.unused} {
				for call, do := range callsOf(c, h.userID, h.messageID) {
					t.Run(state+" "+call, func(t *testing.T) {
						t.Parallel()
						const allowed = 300 * time.Millisecond
						began := time.Now()
						err := do(within(t, allowed))
						assert.Less(t, time.Since(began), allowed+overdue, "%v", err)
						if err != nil {
							noSecret(t, err.Error())
						}
					})
				}
			}
		})
	}
}

// callsOf are the calls of a client that ask a server.
func callsOf(c *gateway.Client, userID, messageID string) map[string]func(context.Context) error {
	hub := c.Hub("default")
	return map[string]func(context.Context) error{
		"SendRealtime":  func(ctx context.Context) error { return c.SendRealtime(ctx, userID, 1) },
		"FailIfOffline": func(ctx context.Context) error { return c.SendRealtime(ctx, userID, 1, gateway.FailIfOffline()) },
		"SendReliable":  func(ctx context.Context) error { return second(c.SendReliable(ctx, userID, 1)) },
		"SendReliable again": func(ctx context.Context) error {
			return second(c.SendReliable(ctx, userID, 1, gateway.WithMessageID(uuid.NewString())))
		},
		"SendReliableBatch": func(ctx context.Context) error {
			return second(c.SendReliableBatch(ctx, []gateway.Outgoing{{UserID: userID}, {UserID: userID}}))
		},
		"SendCommand": func(ctx context.Context) error { return second(c.SendCommand(ctx, userID, "TYPE", 1)) },
		"SendCommand again": func(ctx context.Context) error {
			return second(c.SendCommand(ctx, userID, "TYPE", 1, gateway.WithMessageID(messageID)))
		},
		"NoWait": func(ctx context.Context) error {
			return second(c.SendCommand(ctx, userID, "TYPE", 1, gateway.NoWait()))
		},
		"AwaitCommand": func(ctx context.Context) error { return second(c.AwaitCommand(ctx, messageID)) },
		"Message":      func(ctx context.Context) error { return second(c.Message(ctx, messageID)) },
		"History":      func(ctx context.Context) error { return second(c.History(ctx, userID, gateway.HistoryQuery{})) },
		"Online":       func(ctx context.Context) error { return second(c.Online(ctx, userID)) },
		"Ping":         c.Ping,
		"Migrate":      c.Migrate,
		"SendToAll":    func(ctx context.Context) error { return hub.SendToAll(ctx, 1) },
		"UserExists":   func(ctx context.Context) error { return second(hub.UserExists(ctx, userID)) },
		"AddUserToGroup": func(ctx context.Context) error {
			return hub.AddUserToGroup(ctx, "red", userID)
		},
	}
}

// An error at the end of ctx says whether something may have been stored.
func TestErrorsAtTheEndSayWhatIsStored(t *testing.T) {
	t.Parallel()
	for server, want := range map[string]string{"redis": "nothing was stored", "mysql": "may or may not be stored"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			b := realBackend(t)
			addr := &b.cfg.MySQL.Addr
			if server == "redis" {
				addr = &b.cfg.Redis.Addrs[0]
			}
			p := behindProxy(t, addr)
			c, unused, userID := b.open(t), b.open(t), user()
			_, err := c.SendReliable(within(t, 20*time.Second), userID, 1)
			require.NoError(t, err)
			p.hold()
			defer p.release()
			if server == "mysql" { // the first send reads what the columns can hold
				_, err := unused.SendReliable(within(t, 300*time.Millisecond), userID, 1)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "nothing was stored")
			}
			for call, send := range map[string]func(context.Context) error{
				"SendReliable": func(ctx context.Context) error { return second(c.SendReliable(ctx, userID, 1)) },
				"SendReliableBatch": func(ctx context.Context) error {
					return second(c.SendReliableBatch(ctx, []gateway.Outgoing{{UserID: userID}, {UserID: userID}}))
				},
				"NoWait": func(ctx context.Context) error {
					return second(c.SendCommand(ctx, userID, "TYPE", 1, gateway.NoWait()))
				},
			} {
				err := send(within(t, 300*time.Millisecond))
				require.ErrorIs(t, err, context.DeadlineExceeded, call)
				require.ErrorContains(t, err, p.addr(), call)
				if server == "redis" && call != "SendReliableBatch" {
					continue // it may have been in one flush with others: see internal/outbound
				}
				require.ErrorContains(t, err, want, call)
			}
		})
	}
}

// The timeout of a command bounds everything that the call does, from the first
// look at the table on, also for a caller whose ctx never ends.
func TestTimeoutOfACommandBoundsTheCall(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"redis", "mysql"} {
		t.Run(server, func(t *testing.T) {
			t.Parallel()
			h := hang(t, realBackend(t), server)
			for state, c := range map[string]*gateway.Client{"used": h.used, "unused": h.unused} {
				for option, opt := range map[string]gateway.SendOption{
					"no option": gateway.WithSender("server", "x"), "NoWait": gateway.NoWait(),
					"FailIfOffline": gateway.FailIfOffline(), "WithMessageID": gateway.WithMessageID(h.messageID),
				} {
					t.Run(state+" "+option, func(t *testing.T) {
						t.Parallel()
						const timeout = 300 * time.Millisecond
						began := time.Now()
						_, err := c.SendCommand(context.WithoutCancel(t.Context()), h.userID, "TYPE", 1, gateway.WithTimeout(timeout), opt)
						assert.Less(t, time.Since(began), timeout+overdue, "%v", err)
						if option == "FailIfOffline" && server+state == "mysqlused" {
							require.ErrorIs(t, err, gateway.ErrUserOffline, "Redis says so")
						} else {
							require.ErrorIs(t, err, gateway.ErrCommandTimeout)
							require.NotErrorIs(t, err, context.DeadlineExceeded, "the ctx did not end")
						}
					})
				}
			}
		})
	}
}

// A command that timed out is looked at once more, but not past the end of ctx.
func TestLastLookEndsWithTheContext(t *testing.T) {
	t.Parallel()
	b := realBackend(t)
	p := behindProxy(t, &b.cfg.MySQL.Addr)
	c, userID := b.open(t), user()
	d := connect(t, c, userID, nil)
	const timeout, margin = time.Second, 100 * time.Millisecond
	// A busy machine may be late once, not each time.
	least := time.Hour
	for range 5 {
		ctx := within(t, timeout+margin)
		done := make(chan error, 1)
		go func() { done <- second(c.SendCommand(ctx, userID, "TYPE", 1, gateway.WithTimeout(timeout))) }()
		next(t, d.hints) // it is stored
		p.hold()
		<-ctx.Done()
		end := time.Now()
		require.ErrorIs(t, next(t, done), gateway.ErrCommandTimeout)
		least = min(least, time.Since(end))
		p.release()
	}
	require.Less(t, least, 200*time.Millisecond)
}
