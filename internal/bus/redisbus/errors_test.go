package redisbus

import (
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/internal/wire"
)

func TestOpenReportsWhereAndNoPassword(t *testing.T) {
	s := startServer(t, "--requirepass", "right-secret")
	for name, o := range map[string]redis.UniversalOptions{
		"wrong password": {Addrs: []string{s.addr}, Password: "wrong-secret"},
		"wrong user":     {Addrs: []string{s.addr}, Username: "nobody", Password: "wrong-secret"},
		"nobody there":   {Addrs: []string{"127.0.0.1:1"}, Password: "wrong-secret", DialerRetries: 1, MaxRetries: -1},
		"no sentinel":    {Addrs: []string{"127.0.0.1:1"}, MasterName: "m", Password: "wrong-secret", DialerRetries: 1, MaxRetries: -1},
	} {
		_, err := Open(t.Context(), Options{Universal: &o})
		require.ErrorContains(t, err, o.Addrs[0], name)
		require.NotContains(t, err.Error(), "secret", name)
	}
	_, err := Open(t.Context(), Options{})
	require.Error(t, err)
	b, err := Open(t.Context(), Options{Universal: &redis.UniversalOptions{Addrs: []string{s.addr}, Password: "right-secret"}})
	require.NoError(t, err)
	require.NoError(t, b.Close())
}

func TestRingIsRefused(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer func() { require.NoError(t, ring.Close()) }()
	_, err := FromClient(t.Context(), ring, wire.Names{}, nil)
	require.Error(t, err)
}

// A counter that holds something else fails its own request only.
func TestSpoiledCounter(t *testing.T) {
	addr, names := testenv.Redis(t), testNames()
	b := open(t, addr, names)
	ctx := t.Context()
	require.NoError(t, b.client.Set(ctx, names.Seq("text"), "abc", 0).Err())
	require.NoError(t, b.client.LPush(ctx, names.Seq("list"), "x").Err())
	require.NoError(t, b.client.Set(ctx, names.Seq("negative"), "-7", 0).Err())
	seqs, err := b.NextSeqs(ctx, []bus.SeqRequest{
		{UserID: "text"}, {UserID: "fine"}, {UserID: "text", Floor: 3}, {UserID: "list"}, {UserID: "list", Floor: 1},
		{UserID: "negative", Floor: 4}, {UserID: "fine", Floor: 8},
	})
	var failed *bus.SeqError
	require.ErrorAs(t, err, &failed)
	for i, ok := range []bool{false, true, false, false, false, true, true} {
		if ok {
			require.NoError(t, failed.Errs[i])
		} else {
			require.ErrorContains(t, failed.Errs[i], "user ")
		}
	}
	require.Equal(t, []int64{0, 1, 0, 0, 0, 5, 9}, seqs)
	_, err = b.NextSeqs(ctx, []bus.SeqRequest{{UserID: "text"}})
	require.ErrorAs(t, err, &failed)
	value, err := b.client.Get(ctx, names.Seq("text")).Result()
	require.NoError(t, err)
	require.Equal(t, "abc", value, "it is left for who knows what it is")
}

// A channel that the ACL forbids fails its own call, not those that share the
// command.
func TestForbiddenChannel(t *testing.T) {
	s := startServer(t)
	admin := s.client(t)
	acl := func(rules ...any) {
		require.NoError(t, admin.Do(t.Context(), append([]any{"acl", "setuser", "gw"}, rules...)...).Err())
	}
	acl("on", ">pw", "~*", "+@all", "resetchannels", "&ok:*", "&later:*")
	b, err := Open(t.Context(), Options{Universal: &redis.UniversalOptions{Addrs: []string{s.addr}, Username: "gw", Password: "pw"}})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	in := listenTo(b)
	require.NoError(t, in.Subscribe(t.Context(), true, "later:x"))
	require.ErrorContains(t, in.Subscribe(t.Context(), true, "forbidden", "ok:0"), "NOPERM")
	errs := make(chan error, 40)
	for range 20 {
		go func() { errs <- in.Subscribe(t.Context(), true, "ok:1") }()
		go func() { errs <- in.Subscribe(t.Context(), true, "forbidden") }()
	}
	refused := 0
	for range 40 {
		if err := await(t, errs, "a call"); err != nil {
			require.ErrorContains(t, err, "NOPERM")
			refused++
		}
	}
	require.Equal(t, 20, refused)
	// After a reconnect one channel is not allowed any more: the rest comes back.
	acl("resetchannels", "&ok:*")
	await(t, in.gaps, "the gap after the reconnect")
	requireAllReached(t, b, []string{"ok:1"})
	require.Error(t, in.Subscribe(t.Context(), true, "later:x"))
}
