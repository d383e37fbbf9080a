package node_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
	"github.com/message-gateway/gateway/node/console"
)

var _ = add(map[string]func(*testing.T, *world){
	"console/lists":      testConsoleLists,
	"console/everywhere": testConsoleEverywhere,
	"console/rates":      testConsoleRates,
	"console/unfinished": testConsoleUnfinished,
	"console/sends":      testConsoleSends,
})

const consoleToken = "the token of the console, for tests, 0123456789"

var withConsole = node.Options{Console: &console.Options{Token: consoleToken}}

// ask reads from the console of a node, or sends to it.
func ask[T any](t *testing.T, h *host, path string, parameters ...string) (answer T) {
	t.Helper()
	query := url.Values{}
	for i := 0; i < len(parameters); i += 2 {
		query.Set(parameters[i], parameters[i+1])
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.server.URL+"/console/api/"+path+"?"+query.Encode(), nil)
	require.NoError(t, err)
	return request[T](t, r)
}

func post[T any](t *testing.T, h *host, path string, v any) T {
	t.Helper()
	raw, err := json.Marshal(v)
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.server.URL+"/console/api/"+path, strings.NewReader(string(raw)))
	require.NoError(t, err)
	return request[T](t, r)
}

func request[T any](t *testing.T, r *http.Request) (answer T) {
	t.Helper()
	r.Header.Set("Authorization", "Bearer "+consoleToken)
	res, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, string(body))
	require.NoError(t, json.Unmarshal(body, &answer))
	return answer
}

type list[T any] struct {
	Items []T
	Next  string
}

type consoleMessage struct {
	ID, UserID, Kind, Type, Status              string
	Seq                                         int64
	Failed                                      bool
	Payload                                     struct{ Text string }
	Response                                    *struct{ Text string }
	CreatedAt, DeliveringAt, RequestDeliveredAt *time.Time
	FinishedAt, ExpiresAt                       *time.Time
	SenderType                                  string `json:"senderType"`
	SenderID                                    string `json:"senderId"`
}

type overview struct {
	ID          string
	Connections int
	In, Out     int64
	Nodes       *int
	Hubs        []struct {
		Name                       string
		Connections, Users, Groups int
		Everywhere                 *int
	}
}

// The lists show what the node holds, page by page, and nothing of another hub.
func testConsoleLists(t *testing.T, w *world) {
	h := w.node(t, withConsole)
	hub := newHub(t, w)
	var ids []string
	for _, u := range []string{"ann", "ann", "<b>bob</b>", ""} {
		access, err := hub.ClientAccessToken(t.Context(), u, gateway.WithEndpoint(h.server.URL), gateway.WithGroups("all", "of "+u))
		require.NoError(t, err)
		d := devicetest.Connect(t, devicetest.Options{URL: access.URL, Subprotocol: devicetest.Reliable})
		ids = append(ids, d.Connected.ConnectionID)
	}
	h.connect(t, user(), devicetest.JSON) // in the default hub

	before := time.Now()
	var seen []string
	for after := ""; ; {
		page := ask[list[console.Connection]](t, h, "connections", "hub", strings.ToUpper(hub.Name()), "limit", "3", "after", after)
		for _, c := range page.Items {
			seen = append(seen, c.ID)
			assert.Equal(t, hub.Name(), c.Hub)
			assert.Equal(t, "json.reliable.webpubsub.azure.v1", c.Subprotocol)
			assert.Equal(t, "live", c.State)
			assert.Equal(t, 2, c.Groups)
			assert.WithinDuration(t, before, c.Since, devicetest.Patience)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	assert.ElementsMatch(t, ids, seen)
	assert.Len(t, ask[list[console.Connection]](t, h, "connections", "hub", hub.Name(), "user", "ann").Items, 2)
	assert.Empty(t, ask[list[console.Connection]](t, h, "connections", "hub", hub.Name(), "user", "nobody").Items)
	assert.Empty(t, ask[list[console.Connection]](t, h, "connections", "hub", "nowhere").Items)
	assert.Equal(t, []console.User{{ID: "<b>bob</b>", Connections: 1}, {ID: "ann", Connections: 2}},
		ask[list[console.User]](t, h, "users", "hub", hub.Name()).Items)
	assert.Equal(t, []console.Group{
		{Name: "all", Connections: 4}, {Name: "of ", Connections: 1}, {Name: "of <b>bob</b>", Connections: 1}, {Name: "of ann", Connections: 2},
	}, ask[list[console.Group]](t, h, "groups", "hub", hub.Name()).Items)
	assert.Equal(t, []console.Group{{Name: "of ann", Connections: 2}},
		ask[list[console.Group]](t, h, "groups", "hub", hub.Name(), "after", "of <b>bob</b>").Items)

	o := ask[overview](t, h, "overview")
	assert.Equal(t, 5, o.Connections)
	require.Len(t, o.Hubs, 2)
}

// What is marked as true for all nodes is.
func testConsoleEverywhere(t *testing.T, w *world) {
	a, b := w.node(t, withConsole), w.node(t, node.Options{})
	hub := newHub(t, w)
	connect := func(at *host, user string) *devicetest.Device {
		access, err := hub.ClientAccessToken(t.Context(), user, gateway.WithEndpoint(at.server.URL), gateway.WithGroups("g"))
		require.NoError(t, err)
		return devicetest.Connect(t, devicetest.Options{URL: access.URL, Subprotocol: devicetest.Reliable})
	}
	here, there := connect(a, "here"), connect(b, "there")
	o := ask[overview](t, a, "overview")
	require.NotNil(t, o.Nodes)
	assert.GreaterOrEqual(t, *o.Nodes, 2) // other cases have nodes here as well
	require.Len(t, o.Hubs, 1)
	assert.Equal(t, 1, o.Hubs[0].Connections)
	require.NotNil(t, o.Hubs[0].Everywhere)
	assert.Equal(t, 2, *o.Hubs[0].Everywhere)

	group := ask[struct {
		Count int
		list[struct{ ID, UserID string }]
	}](t, a, "group", "hub", hub.Name(), "group", "g")
	assert.Equal(t, 2, group.Count)
	var users []string
	for _, m := range group.Items {
		users = append(users, m.UserID)
	}
	assert.ElementsMatch(t, []string{"here", "there"}, users)

	// A connection that another node recovers is as old as it was.
	since := ask[list[console.Connection]](t, a, "connections", "hub", hub.Name()).Items[0].Since
	c := w.node(t, withConsole)
	access, err := hub.ClientAccessToken(t.Context(), "here", gateway.WithEndpoint(a.server.URL))
	require.NoError(t, err)
	here.Drop()
	recoverAt(t, here, a, c, access.URL)
	moved := ask[list[console.Connection]](t, c, "connections", "hub", hub.Name()).Items
	require.Len(t, moved, 1)
	assert.Equal(t, since, moved[0].Since)
	assert.Equal(t, here.Connected.ConnectionID, moved[0].ID)
	assert.Empty(t, ask[list[console.Connection]](t, a, "connections", "hub", hub.Name()).Items)
	there.Drop()
}

func testConsoleRates(t *testing.T, w *world) {
	h := w.node(t, withConsole)
	u := user()
	d := h.connect(t, u, devicetest.JSON)
	before := ask[overview](t, h, "overview")
	for i := range 5 {
		w.realtime(t, u, i)
		d.Message(t)
	}
	d.Acknowledge(t, "a message that is not there")
	after := ask[overview](t, h, "overview")
	assert.Equal(t, int64(5), after.Out-before.Out)
	assert.Equal(t, int64(1), after.In-before.In)
}

// What waits for a user is listed in order, with its states and their times.
func testConsoleUnfinished(t *testing.T, w *world) {
	h := w.node(t, withConsole)
	u := user()
	for i := range 22 {
		w.reliable(t, u, map[string]any{"n": i, "<script>": "alert(1)"})
	}
	res, err := w.client.SendCommand(t.Context(), u, "do:this", "now", gateway.NoWait(), gateway.WithTimeout(time.Minute))
	require.NoError(t, err)
	first := ask[list[consoleMessage]](t, h, "messages", "user", u)
	require.Len(t, first.Items, 20)
	second := ask[list[consoleMessage]](t, h, "messages", "user", u, "after", first.Next)
	require.Len(t, second.Items, 3)
	assert.Empty(t, second.Next)
	for _, m := range append(first.Items, second.Items...) {
		assert.Equal(t, "PENDING", m.Status)
		assert.Equal(t, u, m.UserID)
		assert.NotNil(t, m.CreatedAt)
		assert.Nil(t, m.DeliveringAt)
		assert.Nil(t, m.FinishedAt)
	}
	assert.Less(t, first.Items[19].Seq, second.Items[0].Seq)
	c := second.Items[2]
	assert.Equal(t, res.MessageID, c.ID)
	assert.Equal(t, "command", c.Kind)
	assert.Equal(t, "do:this", c.Type)
	assert.Equal(t, `"now"`, c.Payload.Text)
	assert.NotNil(t, c.ExpiresAt)

	d := h.connect(t, u, devicetest.Reliable)
	for range 23 {
		d.Envelope(t)
	}
	d.SequenceAck(t, d.LastSequenceID())
	w.hasStatus(t, res.MessageID, gateway.StatusRequestDelivered)
	assert.Eventually(t, func() bool {
		left := ask[list[consoleMessage]](t, h, "messages", "user", u).Items
		return len(left) == 1 && left[0].Status == "REQUEST_DELIVERED" && left[0].RequestDeliveredAt != nil && left[0].DeliveringAt != nil
	}, devicetest.Patience, 10*time.Millisecond)
	all := ask[list[consoleMessage]](t, h, "messages", "user", u, "view", "all")
	require.Len(t, all.Items, 20)
	assert.Equal(t, res.MessageID, all.Items[0].ID, "the newest first")
	rest := ask[list[consoleMessage]](t, h, "messages", "user", u, "view", "all", "after", all.Next)
	require.Len(t, rest.Items, 3)
	assert.Equal(t, "FINISHED", rest.Items[2].Status)
	assert.NotNil(t, rest.Items[2].FinishedAt)
}

// The form sends all three kinds, and what becomes of them can be seen.
func testConsoleSends(t *testing.T, w *world) {
	h := w.node(t, withConsole)
	u := user()
	type receipt struct {
		ID     string
		Online bool
	}
	assert.Equal(t, receipt{}, post[receipt](t, h, "send", map[string]any{"kind": "realtime", "user": u, "payload": "1"}))
	d := h.connect(t, u, devicetest.Reliable)
	assert.Equal(t, receipt{Online: true}, post[receipt](t, h, "send", map[string]any{"kind": "realtime", "user": u, "payload": `{"a":1}`}))
	assert.JSONEq(t, `{"a":1}`, string(d.Message(t).Data))
	post[receipt](t, h, "send", map[string]any{"kind": "realtime", "user": u, "payload": "{", "text": true})
	assert.Equal(t, "{", d.Message(t).Text())

	sent := post[receipt](t, h, "send", map[string]any{"kind": "reliable", "user": u, "payload": `"mail"`})
	assert.Equal(t, sent.ID, d.Envelope(t).ID)
	d.SequenceAck(t, d.LastSequenceID())
	w.hasStatus(t, sent.ID, gateway.StatusFinished)
	m := ask[consoleMessage](t, h, "message", "id", sent.ID)
	assert.Equal(t, "FINISHED", m.Status)
	assert.Equal(t, "server console", m.SenderType+" "+m.SenderID)

	order := map[string]any{"kind": "command", "user": u, "payload": "null", "type": "ping", "timeoutSeconds": 60}
	sent = post[receipt](t, h, "send", order)
	d.Respond(t, d.Envelope(t).RequestID, map[string]string{"pong": "<img src=x onerror=alert(1)>"})
	w.hasStatus(t, sent.ID, gateway.StatusFinished)
	m = ask[consoleMessage](t, h, "message", "id", sent.ID)
	require.NotNil(t, m.Response)
	assert.JSONEq(t, `{"pong":"<img src=x onerror=alert(1)>"}`, m.Response.Text)
	assert.False(t, m.Failed)

	sent = post[receipt](t, h, "send", order)
	d.RespondError(t, d.Envelope(t).RequestID, "Busy", "later")
	w.hasStatus(t, sent.ID, gateway.StatusFinished)
	assert.True(t, ask[consoleMessage](t, h, "message", "id", sent.ID).Failed)
}

// Options of the console are checked with those of the node.
func TestConsoleOptions(t *testing.T) {
	t.Parallel()
	w := newEmbedded(t)
	_, err := node.New(w.client, node.Options{Console: &console.Options{Token: "short"}})
	require.ErrorIs(t, err, console.ErrInvalidOptions)
	assert.NotContains(t, err.Error(), "short")
	h := w.node(t, node.Options{})
	res, err := http.Get(h.server.URL + "/console/") //nolint:noctx // a test
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	assert.Equal(t, http.StatusBadRequest, res.StatusCode, "off unless asked for")
}
