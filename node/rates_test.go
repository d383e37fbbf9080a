package node_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"rates/connectionsOfAnAddress": testRatesConnectionsOfAnAddress,
	"rates/connectionsOfAUser":     testRatesConnectionsOfAUser,
	"rates/messages":               testRatesMessages,
	"rates/slowedDown":             testRatesSlowedDown,
})

// never is a rate at which nothing comes back within a test.
func never(burst int) node.Rate { return node.Rate{PerSecond: 1e-4, Burst: burst} }

// header is an address that the test chooses, as a trusted proxy tells it.
func header(address string) http.Header { return http.Header{"X-Forwarded-For": {address}} }

var loopback = node.ForwardedFor(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))

// refusedWith is the status of a handshake that fails.
func refusedWith(t *testing.T, url string, header http.Header) *http.Response {
	t.Helper()
	_, response, err := devicetest.Dial(t.Context(), devicetest.Options{URL: url, Header: header})
	require.Error(t, err)
	require.NotNil(t, response, err)
	return response
}

// testRatesConnectionsOfAnAddress: also handshakes without a good token count,
// and those of other addresses do not.
func testRatesConnectionsOfAnAddress(t *testing.T, w *world) {
	a := w.node(t, node.Options{RateLimits: node.RateLimits{Address: loopback, ConnectionsPerAddress: never(2)}})
	first := devicetest.Connect(t, devicetest.Options{URL: a.url(t, user()), Subprotocol: devicetest.Reliable, Header: header("192.0.2.1")})
	require.Equal(t, http.StatusUnauthorized, refusedWith(t, a.wsURL("/client/hubs/default?access_token=guessed"), header("192.0.2.1")).StatusCode)
	refused := refusedWith(t, a.url(t, user()), header("192.0.2.1"))
	require.Equal(t, http.StatusTooManyRequests, refused.StatusCode)
	require.NotEmpty(t, refused.Header.Get("Retry-After"))
	devicetest.Connect(t, devicetest.Options{URL: a.url(t, user()), Header: header("192.0.2.2")})

	// One IPv6 subscriber has a whole /64.
	devicetest.Connect(t, devicetest.Options{URL: a.url(t, user()), Header: header("2001:db8::1")})
	devicetest.Connect(t, devicetest.Options{URL: a.url(t, user()), Header: header("2001:db8::ffff:2")})
	require.Equal(t, http.StatusTooManyRequests, refusedWith(t, a.url(t, user()), header("2001:db8::3")).StatusCode)
	devicetest.Connect(t, devicetest.Options{URL: a.url(t, user()), Header: header("2001:db8:0:1::1")})

	first.Event(t, "x", "y") // who is connected stays so
}

func testRatesConnectionsOfAUser(t *testing.T, w *world) {
	a := w.node(t, node.Options{RateLimits: node.RateLimits{ConnectionsPerUser: never(2)}})
	busy := user()
	a.connect(t, busy, devicetest.JSON)
	a.connect(t, busy, devicetest.JSON)
	refused := refusedWith(t, a.url(t, busy), nil)
	require.Equal(t, http.StatusTooManyRequests, refused.StatusCode)
	require.NotEmpty(t, refused.Header.Get("Retry-After"))
	for range 3 {
		a.connect(t, user(), devicetest.JSON)
		a.connect(t, "", devicetest.JSON)
	}
}

// testRatesMessages: all devices of a user, or of an address, share a bound;
// who is far beyond it is closed, and others notice nothing.
func testRatesMessages(t *testing.T, w *world) {
	for name, limits := range map[string]node.RateLimits{
		"user":    {MessagesPerUser: never(5)},
		"address": {Address: loopback, MessagesPerAddress: never(5)},
	} {
		a := w.node(t, node.Options{RateLimits: limits})
		id := user()
		connect := func(userID, address string) *devicetest.Device {
			return devicetest.Connect(t, devicetest.Options{URL: a.url(t, userID), Subprotocol: devicetest.Reliable, Header: header(address)})
		}
		one, two, other := connect(id, "192.0.2.1"), connect(id, "192.0.2.1"), connect(user(), "192.0.2.2")
		for range 2 {
			one.Event(t, "x", "y")
			two.Event(t, "x", "y")
		}
		one.Event(t, "x", "y")
		two.Ping(t)
		require.EqualValues(t, 1008, two.Ended(t), name)
		other.Event(t, "x", "y")
	}
}

// testRatesSlowedDown: what comes too fast is handled later, in order.
func testRatesSlowedDown(t *testing.T, w *world) {
	a := w.node(t, node.Options{
		RateLimits: node.RateLimits{MessagesPerUser: node.Rate{PerSecond: 200, Burst: 1}},
		OnEvent: func(_ context.Context, _ node.Connection, e node.Event) (*node.Reply, error) {
			return &node.Reply{DataType: e.DataType, Data: e.Data}, nil
		},
	})
	d := a.connect(t, user(), devicetest.Reliable)
	for i := range 30 {
		d.SendText(t, fmt.Sprintf(`{"type":"event","event":"n","dataType":"json","data":%d}`, i))
	}
	for i := range 30 {
		require.JSONEq(t, itoa(i), string(d.Message(t).Data))
	}
}

func TestForwardedFor(t *testing.T) {
	t.Parallel()
	address := node.ForwardedFor(netip.MustParsePrefix("10.0.0.0/8"))
	for name, c := range map[string]struct {
		peer      string
		forwarded []string
		want      string
	}{
		"no proxy":                 {"192.0.2.9:1", nil, "192.0.2.9"},
		"header of a stranger":     {"192.0.2.9:1", []string{"198.51.100.1"}, "192.0.2.9"},
		"one proxy":                {"10.0.0.1:1", []string{"192.0.2.1"}, "192.0.2.1"},
		"two proxies":              {"10.0.0.1:1", []string{"192.0.2.1, 10.0.0.2"}, "192.0.2.1"},
		"two headers":              {"10.0.0.1:1", []string{"192.0.2.1", "10.0.0.2"}, "192.0.2.1"},
		"a device that lies":       {"10.0.0.1:1", []string{"203.0.113.5, 192.0.2.1"}, "192.0.2.1"},
		"a device that says proxy": {"10.0.0.1:1", []string{"10.0.0.7, 192.0.2.1"}, "192.0.2.1"},
		"a proxy of its own":       {"10.0.0.1:1", nil, "10.0.0.1"},
		"no address":               {"10.0.0.1:1", []string{"unknown"}, "10.0.0.1"},
		"rubbish before the proxy": {"10.0.0.1:1", []string{"unknown, 10.0.0.2"}, "10.0.0.2"},
		"IPv6":                     {"10.0.0.1:1", []string{"2001:db8::1"}, "2001:db8::1"},
		"IPv4 in IPv6":             {"[::ffff:10.0.0.1]:1", []string{"::ffff:192.0.2.1"}, "192.0.2.1"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/client", nil)
		r.RemoteAddr = c.peer
		r.Header["X-Forwarded-For"] = c.forwarded
		require.Equal(t, c.want, address(r).String(), name)
	}
}

func TestRateLimitsAreChecked(t *testing.T) {
	t.Parallel()
	w := newEmbedded(t)
	for want, limits := range map[string]node.RateLimits{
		"ConnectionsPerAddress": {ConnectionsPerAddress: node.Rate{PerSecond: -1}},
		"ConnectionsPerUser":    {ConnectionsPerUser: node.Rate{PerSecond: 1, Burst: -1}},
		"MessagesPerAddress":    {MessagesPerAddress: node.Rate{Burst: 1}},
	} {
		_, err := node.New(w.client, node.Options{RateLimits: limits})
		require.ErrorIs(t, err, node.ErrInvalidOptions)
		require.ErrorContains(t, err, want)
	}
}
