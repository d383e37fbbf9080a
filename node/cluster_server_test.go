package node_test

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/internal/testenv"
)

const clusterSlots = 16384

// startCluster starts three masters of a Redis Cluster of the test's own.
func startCluster(t *testing.T) (addrs []string) {
	t.Helper()
	binary := testenv.Binary(t, "redis-server")
	const masters = 3
	nodes := make([]*redis.Client, masters)
	for i := range nodes {
		port, busPort := testenv.FreePort(t), testenv.FreePort(t)
		addr := net.JoinHostPort("127.0.0.1", port)
		server := exec.Command(binary, "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--appendonly", "no", //nolint:noctx // ends with the test
			"--loglevel", "warning", "--cluster-enabled", "yes", "--cluster-port", busPort)
		require.NoError(t, server.Start())
		t.Cleanup(func() {
			_ = server.Process.Kill()
			_ = server.Wait() // reports the signal
		})
		nodes[i] = redis.NewClient(&redis.Options{Addr: addr})
		t.Cleanup(func() { _ = nodes[i].Close() })
		require.Eventually(t, func() bool { return nodes[i].Ping(context.Background()).Err() == nil }, devicetest.Patience, 10*time.Millisecond)
		require.NoError(t, nodes[i].ClusterAddSlotsRange(t.Context(), i*clusterSlots/masters, (i+1)*clusterSlots/masters-1).Err())
		require.NoError(t, nodes[i].Do(t.Context(), "cluster", "set-config-epoch", i+1).Err())
		require.NoError(t, nodes[0].Do(t.Context(), "cluster", "meet", "127.0.0.1", port, busPort).Err())
		addrs = append(addrs, addr)
	}
	for _, n := range nodes {
		require.Eventually(t, func() bool {
			info := n.ClusterInfo(t.Context()).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		}, devicetest.Patience, 10*time.Millisecond)
	}
	return addrs
}

// newCluster is a world whose Redis is a cluster.
func newCluster(t *testing.T) (w *world, addrs []string) {
	t.Helper()
	w, addrs = newReal(t), startCluster(t)
	w.client, _ = openOnCluster(t, w, addrs)
	return w, addrs
}

// openOnCluster is one more client, whose connections can be held up. Thaw them
// before its node ends.
func openOnCluster(t *testing.T, w *world, addrs []string) (*gateway.Client, *tap) {
	t.Helper()
	tap := &tap{}
	pool := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ContextTimeoutEnabled: true, Dialer: tap.dial})
	t.Cleanup(func() { _ = pool.Close() })
	return openClient(t, w.cfg, gateway.WithRedis(pool)), tap
}
