package redisbus

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/bus/bustest"
)

func TestClusterConformance(t *testing.T) {
	nodes := startCluster(t, 3)
	bustest.Run(t, func(t *testing.T) (a, b bus.Bus) {
		x, y := openCluster(t, nodes), openCluster(t, nodes)
		y.names = x.names
		return x, y
	})
}

func TestKeySlotAgreesWithRedis(t *testing.T) {
	nodes := startCluster(t, 3)
	c := nodes[0].client(t)
	for _, key := range []string{
		"", "a", "123456789", "user:1", "{user}1", "x{user}y{z}", "{}x", "{", "}{", "{{a}}", "ünï", "\x00\xff", strings.Repeat("k", 1000),
	} {
		want, err := c.ClusterKeySlot(t.Context(), key).Result()
		require.NoError(t, err)
		require.EqualValues(t, want, keySlot(key), "key %q", key)
	}
}

// A slot moves: the old owner ends its subscriptions, and the listener follows.
func TestClusterSlotMoves(t *testing.T) {
	nodes := startCluster(t, 3)
	b := openCluster(t, nodes)
	in := listenTo(b)
	names := channelNames(300)
	require.NoError(t, in.Subscribe(t.Context(), true, names...))

	moved := names[0]
	slot := int(keySlot(moved))
	owner := min(slot*3/slots, 2)
	target := nodes[(owner+1)%3]
	targetID := target.id(t)
	for _, n := range []*server{target, nodes[owner], nodes[(owner+2)%3]} {
		require.NoError(t, n.client(t).Do(t.Context(), "cluster", "setslot", slot, "node", targetID).Err())
	}
	await(t, in.gaps, "the gap after the move")
	require.Eventually(t, func() bool {
		n, err := b.Publish(t.Context(), []bus.Publication{{Channel: moved, Payload: []byte("1"), Sharded: true}})
		return err == nil && n[0] == 1
	}, patience, 10*time.Millisecond)
	require.Equal(t, moved+"=1", await(t, in.messages, "a message on the moved channel"))
	requireAllReached(t, b, names)
	// A new channel in the slot finds its way, too.
	require.NoError(t, in.Subscribe(t.Context(), true, "new{"+moved+"}"))
}

// A master dies, and its replica takes over.
func TestClusterFailover(t *testing.T) {
	nodes := startCluster(t, 3)
	b := openCluster(t, nodes)
	in := listenTo(b)
	names := channelNames(1000)
	require.NoError(t, in.Subscribe(t.Context(), true, names...))
	require.NoError(t, in.Subscribe(t.Context(), false, names...))
	users := make([]bus.SeqRequest, 100)
	for i := range users {
		users[i].UserID = names[i]
	}
	_, err := b.NextSeqs(t.Context(), users)
	require.NoError(t, err)
	epoch := b.Epoch()

	nodes[0].kill(t)
	await(t, in.gaps, "the gap after the failover")
	require.Eventually(t, func() bool {
		_, err := b.NextSeqs(t.Context(), users)
		return err == nil
	}, patience, 50*time.Millisecond)
	require.NotEqual(t, epoch, b.Epoch(), "the replica may be behind")
	require.Eventually(t, func() bool {
		counts, err := b.Publish(t.Context(), publications(names))
		if err != nil {
			return false
		}
		for _, n := range counts {
			if n != 1 {
				return false
			}
		}
		return true
	}, patience, 50*time.Millisecond)
	// Plain channels are carried by any node; whoever publishes elsewhere reaches them.
	require.NoError(t, in.Subscribe(t.Context(), false, "plain"))
	counts, err := b.Subscribers(t.Context(), true, names)
	require.NoError(t, err)
	for _, n := range counts {
		require.EqualValues(t, 1, n)
	}
}

// A client of one's own that has connections already.
func TestClusterFromClient(t *testing.T) {
	nodes := startCluster(t, 3)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[1].addr}})
	defer func() { require.NoError(t, client.Close()) }()
	require.NoError(t, client.Set(t.Context(), "x", 1, 0).Err())
	b, err := FromClient(t.Context(), client, testNames(), nil)
	require.NoError(t, err)
	in := listenTo(b)
	require.NoError(t, in.Subscribe(t.Context(), true, "a", "b", "c"))
	requireAllReached(t, b, []string{"a", "b", "c"})
	_, err = b.NextSeqs(t.Context(), []bus.SeqRequest{{UserID: "u"}})
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.NoError(t, client.Ping(t.Context()).Err(), "it stays open")
}

func publications(names []string) []bus.Publication {
	pubs := make([]bus.Publication, len(names))
	for i, name := range names {
		pubs[i] = bus.Publication{Channel: name, Payload: []byte("m"), Sharded: true}
	}
	return pubs
}

// requireAllReached publishes to every channel and requires one receiver each.
func requireAllReached(t *testing.T, b *Bus, names []string) {
	t.Helper()
	counts, err := b.Publish(t.Context(), publications(names))
	require.NoError(t, err)
	for i, n := range counts {
		require.EqualValues(t, 1, n, "receivers of %q", names[i])
	}
}
