package node_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/internal/testenv"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"security/hostileNames": testHostileNames,
	"security/logs":         testSecretsInLogs,
	"security/slowLoris":    testSlowLoris,
})

// hostileNames are what someone may call themselves or a group.
func hostileNames() []string {
	return []string{
		`'; DROP TABLE push_messages; -- `, `" OR ""="`, `%`, `_`, `\`, `\'`, `/* */`, "`",
		`*`, `user?`, `[a-z]`, `{tag}`, `{tag}other`, `}{`, `a:b:c`, `group:all`, `:`,
		"a\r\nPUBLISH x y", "$3\r\nDEL\r\n", "line\nfeed", "tab\tand\x01control", "nul\x00nul",
		`../../etc/passwd`, `a/b`, `a?b#c`, `%2e%2e%2f`, `%00`, `${jndi:ldap://x}`, `{{.}}`, `<script>alert(1)</script>`,
		"ÀÉ", "A\u0300E\u0301", "ß", "ſs", "🙂", "\u202eevil", " leading", "trailing ", "Case", "case",
	}
}

// testHostileNames: a name is data everywhere. Each user gets its own messages
// and nobody else's, whatever their ids are, and so does each group.
func testHostileNames(t *testing.T, w *world) {
	h := w.node(t, node.Options{})
	hub, ctx := newHub(t, w), t.Context()
	suffix := testenv.Unique() // ids of this run only
	type named struct {
		userID string
		device *devicetest.Device
		member *devicetest.Device
	}
	var all []named
	for _, name := range hostileNames() {
		n := named{userID: suffix + name}
		n.device = h.connect(t, n.userID, devicetest.JSON)
		n.member = hub.connect(h, n.userID, devicetest.JSON, gateway.WithGroups(name))
		all = append(all, n)
	}
	for _, n := range all {
		name := strings.TrimPrefix(n.userID, suffix)
		id := w.reliable(t, n.userID, name)
		e := n.device.Envelope(t)
		require.Equal(t, id, e.ID, "%q", name)
		n.device.Acknowledge(t, id)
		w.hasStatus(t, id, gateway.StatusFinished)
		w.realtime(t, n.userID, name)
		var heard string
		require.NoError(t, json.Unmarshal(n.device.Message(t).Data, &heard))
		require.Equal(t, name, heard)
		require.NoError(t, hub.SendToGroup(ctx, name, gateway.Text(name)))
		require.Equal(t, name, n.member.Message(t).Text())
		require.NoError(t, hub.SendToUser(ctx, n.userID, gateway.Text("user "+name)))
		require.Equal(t, "user "+name, n.member.Message(t).Text())
		history, err := w.client.History(ctx, n.userID, gateway.HistoryQuery{})
		require.NoError(t, err)
		require.Len(t, history, 1, "%q shares its messages", name)
	}
	for _, n := range all {
		w.nothingStored(t, n.userID, n.device)
		require.Zero(t, n.member.Pending())
	}
}

// testSecretsInLogs: at the finest level, through everything that goes right
// and wrong, no log line has a token, a key, a password or a payload.
func testSecretsInLogs(t *testing.T, w *world) {
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client := openClient(t, w.cfg, gateway.WithLogger(logger))
	h := w.nodeOn(t, client, node.Options{})
	u, secret := user(), "payload-"+testenv.Unique()
	url := h.url(t, u)
	token := url[strings.Index(url, "access_token=")+len("access_token="):]

	d := devicetest.Connect(t, devicetest.Options{URL: url, Subprotocol: devicetest.Reliable})
	id, err := client.SendReliable(t.Context(), u, secret)
	require.NoError(t, err)
	require.Equal(t, id, d.Envelope(t).ID)
	require.NoError(t, client.SendRealtime(t.Context(), u, secret))
	d.Message(t)
	d.Event(t, "unknown", secret)
	recovered := d.Connected.ReconnectionToken
	d.SendText(t, `{"type":"`+secret+`"}`)
	d.Ended(t)
	for _, bad := range []string{token + "x", "x." + token, token[:len(token)-5]} {
		refusedWith(t, h.wsURL("/client/hubs/default?access_token="+bad), nil)
	}

	lines := log.String()
	require.NotEmpty(t, lines, "nothing was logged at all")
	secrets := []string{secret, token, token[strings.LastIndex(token, ".")+1:], recovered, accessKey, secondaryKey}
	for _, password := range []string{w.cfg.Redis.Password, w.cfg.MySQL.Password} {
		if password != "" {
			secrets = append(secrets, password)
		}
	}
	for _, s := range secrets {
		assert.NotContains(t, lines, s)
	}
}

// testSlowLoris: thousands of connections that never finish their handshake
// cost sockets, not devices: others connect meanwhile, and the server ends the
// slow ones after its ReadHeaderTimeout.
func testSlowLoris(t *testing.T, w *world) {
	client := w.open(t)
	n, err := node.New(client, node.Options{})
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(n)
	server.Config.ReadHeaderTimeout = 2 * time.Second
	server.Start()
	h := &host{Node: n, world: w, client: client, server: server}
	t.Cleanup(h.stop)

	address := strings.TrimPrefix(server.URL, "http://")
	slow := make([]net.Conn, 0, 2000)
	t.Cleanup(func() {
		for _, c := range slow {
			_ = c.Close()
		}
	})
	var dialer net.Dialer
	for i := range cap(slow) {
		c, err := dialer.DialContext(t.Context(), "tcp", address)
		require.NoError(t, err)
		slow = append(slow, c)
		if i%2 == 0 { // the others say nothing at all
			_, err = fmt.Fprintf(c, "GET /client/hubs/default HTTP/1.1\r\nHost: %s\r\nX-", address)
			require.NoError(t, err)
		}
	}
	d := h.connect(t, user(), devicetest.Reliable)
	d.Event(t, "x", "y")
	assert.Equal(t, 1, n.Connections(), "a handshake that is not there counts as no connection")
	for _, c := range slow {
		require.NoError(t, c.SetReadDeadline(time.Now().Add(2*devicetest.Patience)))
		_, err := io.Copy(io.Discard, c)
		require.NoError(t, err, "the server does not end a slow handshake")
	}
	d.Event(t, "x", "y")
}
