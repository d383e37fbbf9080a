package rest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
	"github.com/message-gateway/gateway/rest"
)

// service is a node and the data plane at one address.
type service struct {
	t   testing.TB
	url string
}

func startService(t testing.TB) *service {
	t.Helper()
	client := openClient(t, func(c *gateway.Config) { c.Limits.Page = 2 })
	n, err := node.New(client, node.Options{})
	require.NoError(t, err)
	api, err := rest.New(client, rest.Options{})
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if api.Serves(r) {
			api.ServeHTTP(w, r)
			return
		}
		n.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), devicetest.Patience)
		defer cancel()
		_ = n.Shutdown(ctx)
		server.Close()
	})
	return &service{t: t, url: server.URL}
}

// call makes a call and wants a status.
func (s *service) call(status int, method, target, body string, header ...string) []byte {
	s.t.Helper()
	if !strings.Contains(target, "://") {
		target = s.url + hubPath + target
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), devicetest.Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, target, strings.NewReader(body))
	require.NoError(s.t, err)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	r.Header.Set("Authorization", "Bearer "+tokenFor(target))
	response, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer func() { _ = response.Body.Close() }()
	var raw json.RawMessage
	_ = json.NewDecoder(response.Body).Decode(&raw) // most answers have no body
	require.Equal(s.t, status, response.StatusCode, "%s %s: %s", method, target, raw)
	return raw
}

// connect connects a device with a token that the data plane made.
func (s *service) connect(query, subprotocol string) *devicetest.Device {
	s.t.Helper()
	var made struct{ Token string }
	require.NoError(s.t, json.Unmarshal(s.call(200, "POST", "/:generateToken"+query, ""), &made))
	return devicetest.Connect(s.t, devicetest.Options{
		URL:         strings.Replace(s.url, "http", "ws", 1) + "/client/hubs/chat?access_token=" + made.Token,
		Subprotocol: subprotocol,
	})
}

// TestRepeatedSend: a send that the caller repeats with the same id of the
// request arrives once.
func TestRepeatedSend(t *testing.T) {
	t.Parallel()
	s := startService(t)
	defer http.DefaultClient.CloseIdleConnections()
	d := s.connect("?userId=u", devicetest.JSON)
	long := strings.Repeat("i", 257)
	for range 2 {
		s.call(202, "POST", "/:send", "repeated", "Content-Type", textBody, "x-ms-client-request-id", "1")
		s.call(202, "POST", "/users/u/:send", "repeated", "Content-Type", textBody, "x-ms-client-request-id", "1")
	}
	s.call(202, "POST", "/:send", "another", "Content-Type", textBody, "x-ms-client-request-id", "1")
	for range 2 {
		s.call(202, "POST", "/:send", "long id", "Content-Type", textBody, "x-ms-client-request-id", long)
		s.call(202, "POST", "/:send", "no id", "Content-Type", textBody)
	}
	for _, want := range []string{"repeated", "repeated", "another", "long id", "no id", "long id", "no id"} {
		assert.Equal(t, want, d.Message(t).Text())
	}
}

func TestDevices(t *testing.T) {
	t.Parallel()
	s := startService(t)
	defer http.DefaultClient.CloseIdleConnections()
	user := "u/1 ä+%,"
	who := "/users/" + url.PathEscape(user)
	ann := s.connect("?userId="+url.QueryEscape(user)+"&group=start", devicetest.JSON)
	simple := s.connect("", devicetest.None)
	assert.Equal(t, user, ann.Connected.UserID)
	id := ann.Connected.ConnectionID
	connection := "/connections/" + id
	group := "/groups/" + url.PathEscape("a/b ä")

	s.call(200, "HEAD", connection, "")
	s.call(404, "HEAD", "/connections/none", "")
	s.call(200, "HEAD", who, "")
	s.call(404, "HEAD", "/users/none", "")
	s.call(200, "HEAD", "/groups/start", "")
	s.call(404, "HEAD", group, "")
	s.call(200, "PUT", group+connection, "")
	s.call(404, "PUT", group+"/connections/none", "")
	s.call(200, "HEAD", group, "")

	const raw = ` { "b":1, "a":"\u00e4<&>" } `
	s.call(202, "POST", "/:send", raw, "Content-Type", jsonBody)
	assert.Zero(t, strings.Compare(raw, string(simple.Next(t).Raw)), "byte for byte")
	m := ann.Message(t)
	assert.Equal(t, "server", m.From)
	assert.Equal(t, "json", m.DataType)
	assert.JSONEq(t, raw, string(m.Data))
	s.call(202, "POST", group+"/:send", "hi", "Content-Type", textBody, "X-WebPubSub-Metadata-Trace", "t1")
	m = ann.Message(t)
	assert.Equal(t, "group", m.From)
	assert.Equal(t, "a/b ä", m.Group)
	assert.Equal(t, "hi", m.Text())
	assert.Contains(t, string(m.Raw), `"trace":"t1"`)
	assert.Empty(t, m.FromUserID)
	s.call(202, "POST", who+"/:send", "\x00\xff")
	assert.Equal(t, []byte("\x00\xff"), ann.Message(t).Bytes())
	// What is excluded or filtered is passed over; the next message shows it.
	s.call(202, "POST", "/:send?excluded="+id, "1", "Content-Type", textBody)
	s.call(202, "POST", "/:send?filter="+url.QueryEscape("userId eq null"), "2", "Content-Type", textBody)
	s.call(202, "POST", "/:send?filter="+url.QueryEscape("'a/b ä' in groups and userId eq "+gateway.FilterString(user)), "3", "Content-Type", textBody)
	s.call(202, "POST", connection+"/:send", "4", "Content-Type", textBody)
	assert.Equal(t, "3", ann.Message(t).Text())
	assert.Equal(t, "4", ann.Message(t).Text())
	assert.Equal(t, "1", string(simple.Next(t).Raw))
	assert.Equal(t, "2", string(simple.Next(t).Raw))
	s.call(202, "POST", "/connections/none/:send", "x")

	s.call(404, "HEAD", "/permissions/sendToGroup"+connection+"?targetName=g", "")
	s.call(200, "PUT", "/permissions/sendToGroup"+connection+"?targetName=g", "")
	s.call(200, "HEAD", "/permissions/SendToGroup"+connection+"?targetName=g", "")
	s.call(404, "HEAD", "/permissions/sendToGroup"+connection+"?targetName=h", "")
	s.call(404, "HEAD", "/permissions/joinLeaveGroup"+connection+"?targetName=g", "")
	s.call(200, "PUT", "/permissions/joinLeaveGroup"+connection, "")
	s.call(200, "HEAD", "/permissions/joinLeaveGroup"+connection+"?targetName=any", "")
	s.call(204, "DELETE", "/permissions/sendToGroup"+connection+"?targetName=g", "")
	s.call(404, "HEAD", "/permissions/sendToGroup"+connection+"?targetName=g", "")
	s.call(404, "PUT", "/permissions/sendToGroup/connections/none?targetName=g", "")
	s.call(204, "DELETE", "/permissions/sendToGroup/connections/none?targetName=g", "")

	s.call(204, "DELETE", group+connection, "")
	s.call(404, "HEAD", group, "")
	s.call(200, "PUT", who+group, "")
	s.call(200, "HEAD", group, "")
	s.call(404, "PUT", "/users/none"+group, "")
	s.call(204, "DELETE", who+group, "")
	s.call(200, "POST", "/:addToGroups", `{"groups":["x","y"],"filter":"userId ne null"}`, "Content-Type", jsonBody)
	s.call(200, "HEAD", "/groups/y", "")
	s.call(200, "POST", "/:removeFromGroups", `{"groups":["y"]}`, "Content-Type", jsonBody)
	s.call(404, "HEAD", "/groups/y", "")
	s.call(204, "DELETE", who+"/groups", "")
	s.call(404, "HEAD", "/groups/x", "")
	s.call(204, "DELETE", connection+"/groups", "")

	s.call(204, "DELETE", connection+"?reason=enough", "")
	end := ann.Next(t)
	assert.Equal(t, devicetest.TypeDisconnected, end.Event)
	assert.Contains(t, end.Message, "enough")
	ann.Ended(t)
	s.call(404, "HEAD", connection, "")
	s.call(204, "DELETE", connection, "")
	s.call(204, "POST", "/:closeConnections", "")
	simple.Ended(t)
}

func TestListOfDevices(t *testing.T) {
	t.Parallel()
	s := startService(t)
	defer http.DefaultClient.CloseIdleConnections()
	want := map[string]string{}
	for _, user := range []string{"", "u", "u", "v", "w"} {
		d := s.connect("?group=g&userId="+user, devicetest.JSON)
		want[d.Connected.ConnectionID] = user
	}
	link := s.url + hubPath + "/groups/g/connections?api-version=2024-12-01&top=4"
	got, last := 0, ""
	for pages := 0; link != ""; pages++ {
		var p page
		require.NoError(t, json.Unmarshal(s.call(200, "GET", link, ""), &p))
		require.Len(t, p.Value, 2)
		for _, m := range p.Value {
			assert.Greater(t, m.ConnectionID, last)
			last = m.ConnectionID
			user, known := want[m.ConnectionID]
			assert.True(t, known)
			assert.Equal(t, user == "", m.UserID == nil)
			got++
		}
		link = ""
		if p.NextLink != nil {
			link = *p.NextLink
		}
		require.Less(t, pages, 2)
	}
	assert.Equal(t, 4, got)
	s.call(204, "POST", "/groups/g/:closeConnections?excluded="+url.QueryEscape(last), "")
	require.Eventually(t, func() bool {
		var p page
		require.NoError(t, json.Unmarshal(s.call(200, "GET", "/groups/g/connections", ""), &p))
		return len(p.Value) == 1 && p.Value[0].ConnectionID == last
	}, devicetest.Patience, 5*time.Millisecond)
}
