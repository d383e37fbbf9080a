package node

import (
	"net/url"
	"strings"
	"testing"

	"github.com/message-gateway/gateway/internal/protocol"
)

// FuzzParseTarget: whatever a handshake asks for, the hub is a valid one, and
// the prefix is what really stands before the client path, so that a token for
// another path does not fit.
func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{
		"/client/hubs/default", "/client/?hub=x", "/client?HUB=x&hub=y", "/a/b/client/hubs/c", "/client/hubs/%64", "/client/hubs/a%2Fclient",
		"/client/hubs/x/client/hubs/y", "/client/hubs/default/", "//client//", "/client/hubs/d?awps_connection_id=1&awps_reconnection_token=2",
		"/client/hubs/d?webpubsub_mode=sendToGroup&group=g&noEcho=true", "/client/hubs/%", "/%2e%2e/client/hubs/d",
	} {
		f.Add(seed)
	}
	limits := protocol.DefaultLimits()
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.Parse(raw)
		if err != nil {
			return
		}
		got, err := parseTarget(u, &limits)
		if err != nil {
			return
		}
		if !limits.ValidHub(got.hub) {
			t.Errorf("%q: hub %q", raw, got.hub)
		}
		if !strings.HasPrefix(u.EscapedPath(), got.prefix+"/client") {
			t.Errorf("%q: prefix %q", raw, got.prefix)
		}
		if got.recovery() && (got.connectionID == "" || got.reconnectionToken == "") {
			t.Errorf("%q: recovery of %+v", raw, got)
		}
	})
}
