package redisbus

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/testenv"
)

// startSentinel starts a sentinel that watches over master under the name m.
func startSentinel(t *testing.T, master *server) *server {
	t.Helper()
	host, port, err := net.SplitHostPort(master.addr)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil,
		"sentinel monitor m %s %s 1\nsentinel down-after-milliseconds m 500\nsentinel failover-timeout m 3000\n", host, port), 0o600))
	return launch(t, testenv.FreePort(t), master.args[0], file, "--sentinel")
}

// Sentinel promotes the replica while the former master lives on, and serves
// as a replica: the listener has to leave it, or it would not be counted.
func TestSentinelFailover(t *testing.T) {
	master := startServer(t)
	host, port, err := net.SplitHostPort(master.addr)
	require.NoError(t, err)
	replica := startServer(t, "--replicaof", host+" "+port)
	sentinel := startSentinel(t, master)
	require.Eventually(t, func() bool {
		known, err := sentinel.client(t).Do(t.Context(), "sentinel", "replicas", "m").Slice()
		return err == nil && len(known) == 1 &&
			infoField(replica.client(t).Info(t.Context(), "replication").Val(), "master_link_status:") == "up"
	}, patience, 50*time.Millisecond)
	b, err := Open(t.Context(), Options{
		Universal: &redis.UniversalOptions{Addrs: []string{sentinel.addr}, MasterName: "m"},
		Names:     testNames(),
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	in := listenTo(b)
	names := channelNames(100)
	require.NoError(t, in.Subscribe(t.Context(), true, names...))
	draw := func() error {
		_, err := b.NextSeqs(t.Context(), []bus.SeqRequest{{UserID: "u"}})
		return err
	}
	require.NoError(t, draw())
	requireAllReached(t, b, names)
	epoch := b.Epoch()

	require.Eventually(t, func() bool { // refused while the replica is too new
		return sentinel.client(t).Do(t.Context(), "sentinel", "failover", "m").Err() == nil
	}, patience, 100*time.Millisecond)
	require.Eventually(t, func() bool { return draw() == nil && b.Epoch() != epoch }, patience, 20*time.Millisecond)
	await(t, in.gaps, "the gap after the failover")
	counts, err := replica.client(t).PubSubNumSub(t.Context(), names[0]).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, counts[names[0]], "the listener is at the new master")
	requireAllReached(t, b, names)
}
