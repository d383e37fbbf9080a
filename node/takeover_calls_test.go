package node_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"takeover/calls": testTakeoverCalls,
})

// What a call changed, and reported as done, holds although the connection moved
// to another node meanwhile.
func testTakeoverCalls(t *testing.T, w *world) {
	hosts := []*host{w.node(t, node.Options{}), w.node(t, node.Options{})}
	h, ctx := newHub(t, w), t.Context()
	access, err := h.ClientAccessToken(ctx, "ann", gateway.WithEndpoint(hosts[0].server.URL))
	require.NoError(t, err)
	d := devicetest.Connect(t, devicetest.Options{URL: access.URL, Subprotocol: devicetest.Reliable})
	id, base := d.Connected.ConnectionID, access.URL
	const moves = 80
	unanswered := 0
	for i := range moves {
		from, to := hosts[i%2], hosts[(i+1)%2]
		group, revoked := fmt.Sprint("group ", i), fmt.Sprint("revoked ", i)
		require.NoError(t, h.GrantPermission(ctx, gateway.PermissionSendToGroup, id, revoked))
		d.Drop()
		changes := map[string]func() error{
			"join":   func() error { return h.AddConnectionToGroup(ctx, group, id) },
			"grant":  func() error { return h.GrantPermission(ctx, gateway.PermissionSendToGroup, id, group) },
			"revoke": func() error { return h.RevokePermission(ctx, gateway.PermissionSendToGroup, id, revoked) },
		}
		done := make(chan map[string]error, 1)
		go func() {
			errs := map[string]error{}
			time.Sleep(time.Duration(rand.IntN(4000)) * time.Microsecond)
			for name, change := range changes {
				errs[name] = change()
			}
			done <- errs
		}()
		d = recoverAt(t, d, from, to, base)
		base = strings.Replace(base, from.server.URL[len("http"):], to.server.URL[len("http"):], 1)
		errs := <-done
		for name, err := range errs {
			if err != nil {
				require.ErrorIs(t, err, gateway.ErrNodeUnanswered, name)
				unanswered++
				require.NoError(t, changes[name](), "%s, again", name)
			}
		}
		joined, err1 := h.GroupExists(ctx, group)
		granted, err2 := h.HasPermission(ctx, gateway.PermissionSendToGroup, id, group)
		kept, err3 := h.HasPermission(ctx, gateway.PermissionSendToGroup, id, revoked)
		require.NoError(t, errors.Join(err1, err2, err3))
		assert.True(t, joined, "move %d: joined", i)
		assert.True(t, granted, "move %d: granted", i)
		assert.False(t, kept, "move %d: revoked", i)
	}
	t.Logf("%d calls of %d met a move, and were repeated", unanswered, 3*moves)
}
