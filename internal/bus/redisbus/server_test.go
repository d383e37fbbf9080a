package redisbus

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/testenv"
)

const patience = 30 * time.Second

// server is a redis-server of the test's own, which may be killed, stopped and
// started again on the same port.
type server struct {
	addr string
	args []string
	cmd  *exec.Cmd
}

// startServer starts a redis-server without persistence on a free port.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	return launch(t, testenv.FreePort(t), testenv.Binary(t, "redis-server"), append([]string{
		"--save", "", "--appendonly", "no", "--loglevel", "warning", "--repl-diskless-sync-delay", "0",
	}, args...)...)
}

func launch(t testing.TB, port, binary string, args ...string) *server {
	t.Helper()
	s := &server{addr: net.JoinHostPort("127.0.0.1", port)}
	s.args = append([]string{binary}, args...)
	s.args = append(s.args, "--port", port, "--bind", "127.0.0.1", "--dir", t.TempDir())
	s.start(t)
	t.Cleanup(func() {
		s.signal(t, syscall.SIGCONT)
		s.kill(t)
	})
	return s
}

// start starts the process and waits until it answers.
func (s *server) start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(s.args[0], s.args[1:]...) //nolint:noctx // ends with kill, not with a context
	require.NoError(t, s.cmd.Start())
	c := s.client(t)
	require.Eventually(t, func() bool {
		err := c.Ping(context.Background()).Err()
		return err == nil || redis.HasErrorPrefix(err, "NOAUTH")
	}, patience, 10*time.Millisecond, "redis-server did not start")
}

// kill ends the process at once, as a crash would.
func (s *server) kill(t testing.TB) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	require.NoError(t, s.cmd.Process.Kill())
	_ = s.cmd.Wait() // reports the signal
	s.cmd = nil
}

func (s *server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if s.cmd != nil {
		require.NoError(t, s.cmd.Process.Signal(sig))
	}
}

// client connects to the server directly, as its administrator.
func (s *server) client(t testing.TB) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: s.addr, MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// startCluster starts masters that share the slots, and one replica of the
// first of them.
func startCluster(t testing.TB, masters int) []*server {
	t.Helper()
	nodes := make([]*server, masters+1)
	for i := range nodes {
		nodes[i] = startServer(t, "--cluster-enabled", "yes", "--cluster-port", testenv.FreePort(t),
			"--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0")
	}
	ctx := t.Context()
	for i, n := range nodes {
		c := n.client(t)
		if i < masters {
			first, last := slots*i/masters, slots*(i+1)/masters-1
			require.NoError(t, c.Do(ctx, "cluster", "addslotsrange", first, last).Err())
		}
		require.NoError(t, c.Do(ctx, "cluster", "set-config-epoch", i+1).Err())
		if i > 0 {
			host, port, err := net.SplitHostPort(nodes[0].addr)
			require.NoError(t, err)
			require.NoError(t, c.Do(ctx, "cluster", "meet", host, port, nodes[0].clusterPort()).Err())
		}
	}
	for _, n := range nodes {
		c := n.client(t)
		require.Eventually(t, func() bool {
			known := infoField("\n"+c.ClusterInfo(ctx).Val(), "cluster_known_nodes:")
			state := infoField("\n"+c.ClusterInfo(ctx).Val(), "cluster_state:")
			return known == strconv.Itoa(len(nodes)) && state == "ok"
		}, patience, 20*time.Millisecond)
	}
	replica := nodes[masters].client(t)
	require.NoError(t, replica.ClusterReplicate(ctx, nodes[0].id(t)).Err())
	require.Eventually(t, func() bool {
		return infoField(replica.Info(ctx, "replication").Val(), "master_link_status:") == "up"
	}, patience, 20*time.Millisecond)
	return nodes
}

func (s *server) clusterPort() string {
	for i, a := range s.args {
		if a == "--cluster-port" {
			return s.args[i+1]
		}
	}
	return ""
}

func (s *server) id(t testing.TB) string {
	t.Helper()
	id, err := s.client(t).Do(t.Context(), "cluster", "myid").Text()
	require.NoError(t, err)
	return id
}

// openCluster opens a bus on a cluster.
func openCluster(t testing.TB, nodes []*server) *Bus {
	t.Helper()
	b, err := Open(t.Context(), Options{
		Universal: &redis.UniversalOptions{Addrs: []string{nodes[0].addr, nodes[1].addr}, IsClusterMode: true},
		Names:     testNames(),
		Logger:    slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// inbox collects what a listener receives.
type inbox struct {
	*listener
	messages chan string
	gaps     chan struct{}
}

func listenTo(b *Bus) *inbox {
	in := &inbox{messages: make(chan string, 100_000), gaps: make(chan struct{}, 1000)}
	in.listener = b.Listen(
		func(channel string, payload []byte) { in.messages <- channel + "=" + string(payload) },
		func() { in.gaps <- struct{}{} },
	).(*listener) //nolint:forcetypeassert // what Listen returns
	return in
}

// await waits for a signal.
func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(t, "timed out: "+what)
		panic("unreachable")
	}
}

// channelNames gives n names, spread over the slots.
func channelNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%schannel:%d", testenv.Unique()[:2], i)
	}
	return names
}
