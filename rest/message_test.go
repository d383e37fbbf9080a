package rest_test

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/core"
	"github.com/message-gateway/gateway/rest"
)

func utf16Bytes(order binary.ByteOrder, text string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = binary.BigEndian.AppendUint16(b, order.Uint16(binary.BigEndian.AppendUint16(nil, unit)))
	}
	return string(b)
}

func utf32LE(text string) string {
	var b []byte
	for _, r := range text {
		b = binary.LittleEndian.AppendUint32(b, uint32(r))
	}
	return string(b)
}

func TestBodies(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{MaxBody: 64})
	const smile = "ä😀"
	for _, c := range []struct {
		contentType, body string
		want              string // what was sent; empty where status is not 202
		status            int
	}{
		{"application/json", ` { "b":1, "a":"\u00e4<&>" } `, `json.RawMessage  { "b":1, "a":"\u00e4<&>" } `, 202},
		{"application/json; charset=utf-8", `"ä"`, `json.RawMessage "ä"`, 202},
		{"Application/JSON;charset=UTF-8", `1e400`, `json.RawMessage 1e400`, 202},
		{"application/json; charset=iso-8859-1", "\"\xe4\"", `json.RawMessage "ä"`, 202},
		{"application/json; charset=utf-16", utf16Bytes(binary.LittleEndian, `"`+smile+`"`), `json.RawMessage "` + smile + `"`, 202},
		{"application/json", `null`, `json.RawMessage null`, 202},
		{"application/json", ``, "", 400},
		{"application/json", `{`, "", 400},
		{"application/json", `{} {}`, "", 400},
		{"application/json", "\xef\xbb\xbf{}", "", 400},
		{"application/json", "\"\xff\"", "", 400},
		{"text/plain", "héllo", "gateway.Text héllo", 202},
		{"text/plain", "", "gateway.Text ", 202},
		{"text/plain; charset=\"UTF-8\"", smile, "gateway.Text " + smile, 202},
		{"text/plain; charset=us-ascii", "a\xe4", "gateway.Text a\uFFFD", 202},
		{"text/plain; charset=iso-8859-1", "\xe4\x80", "gateway.Text ä\u0080", 202},
		{"text/plain; charset=utf-16le", utf16Bytes(binary.LittleEndian, smile), "gateway.Text " + smile, 202},
		{"text/plain; charset=utf-16be", utf16Bytes(binary.BigEndian, smile), "gateway.Text " + smile, 202},
		{"text/plain; charset=utf-16", "\xfe\xff" + utf16Bytes(binary.BigEndian, smile), "gateway.Text " + smile, 202},
		{"text/plain; charset=utf-16", "\x3d\xd8a", "gateway.Text \uFFFD\uFFFD", 202},
		{"text/plain; charset=utf-32", utf32LE(smile) + "\xff\xff\xff\xffz", "gateway.Text " + smile + "\uFFFD\uFFFD", 202},
		{"text/plain; charset=klingon", "a", "", 415},
		{"", "\x00\xff", "gateway.Binary \x00\xff", 202},
		{"application/octet-stream", "\x00\xff", "gateway.Binary \x00\xff", 202},
		{"application/octet-stream; charset=klingon", "a", "gateway.Binary a", 202},
		{"image/png", "a", "", 415},
		{"application/json/x", "1", "", 415},
		{"; charset", "1", "", 415},
		{"application/x-www-form-urlencoded", "a=b", "", 415},
		{"text/plain", strings.Repeat("a", 64), "gateway.Text " + strings.Repeat("a", 64), 202},
		{"text/plain", strings.Repeat("a", 65), "", 413},
	} {
		hub.take()
		w := do(h, "POST", hubPath+"/:send", c.body, "Content-Type", c.contentType)
		if !assert.Equal(t, c.status, w.Code, "%s %q: %s", c.contentType, c.body, w.Body) {
			continue
		}
		if c.status == http.StatusAccepted {
			assert.Equal(t, []string{`hub "chat"`, "send all " + c.want + " 0 options"}, hub.take(), c.contentType)
			continue
		}
		assert.Equal(t, []string{`hub "chat"`}, hub.take())
		wantError(t, w, c.status, map[int]string{400: "Error.BadRequest", 413: "Error.PayloadTooLarge", 415: "Error.UnsupportedMediaType"}[c.status])
	}
	w := do(h, "POST", hubPath+"/:send", "x", "Content-Type", "text/plain", "Content-Type", "text/plain")
	wantError(t, w, 415, "Error.UnsupportedMediaType")
	w = do(h, "POST", hubPath+"/:send", "x", "Content-Type", "text/plain", "Content-Encoding", "gzip")
	wantError(t, w, 415, "Error.UnsupportedMediaType")
	w = do(h, "POST", hubPath+"/:send", "x", "Content-Type", "text/plain", "Content-Encoding", "identity")
	assert.Equal(t, 202, w.Code)
}

func TestBodiesOverTheWire(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{MaxBody: 1000, ReadTimeout: 50 * time.Millisecond})
	server := httptest.NewServer(h)
	defer server.Close()
	post := func(body io.Reader) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+hubPath+"/:send", body)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+tokenFor(r.URL.String()))
		r.Header.Set("Content-Type", "text/plain")
		response, err := server.Client().Do(r)
		require.NoError(t, err)
		defer func() { _ = response.Body.Close() }()
		return response.StatusCode
	}
	chunked := func(s string) io.Reader { return io.MultiReader(strings.NewReader(s)) } // hides the length
	assert.Equal(t, 202, post(chunked("chunks")))
	assert.Contains(t, hub.take(), "send all gateway.Text chunks 0 options")
	assert.Equal(t, 202, post(chunked("")))
	assert.Equal(t, 413, post(chunked(strings.Repeat("a", 1001))))
	assert.Equal(t, 413, post(strings.NewReader(strings.Repeat("a", 1001))))
	assert.Equal(t, 202, post(nil))
	hub.take()
	slow, writer := io.Pipe()
	assert.Equal(t, 408, post(slow))
	require.NoError(t, writer.Close())
	assert.NotContains(t, strings.Join(hub.take(), ""), "send")
	// The time for the body does not bound what comes after it.
	hub.entered = make(chan struct{}, 1)
	done := make(chan int, 1)
	go func() { done <- postOnce(server, hubPath+"/:send") }()
	<-hub.entered
	select {
	case status := <-done:
		t.Errorf("answered %d while the hub works", status)
	case <-time.After(200 * time.Millisecond):
	}
	server.CloseClientConnections()
	<-done
}

// postOnce returns the status, 0 if the connection broke.
func postOnce(server *httptest.Server, target string) int {
	r, err := http.NewRequest(http.MethodPost, server.URL+target, strings.NewReader("x")) //nolint:noctx // ends with its connection
	if err != nil {
		return 0
	}
	r.Header.Set("Authorization", "Bearer "+tokenFor(server.URL+target))
	response, err := server.Client().Do(r)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

func TestBadQueries(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	send := hubPath + "/:send?"
	for _, query := range []string{
		"filter=%zz", "filter=%FF", "%FF=1", "filter=userId%20lt%201", "filter=(", "filter=userId%20eq", "filter=1&filter=1", "filter=" + strings.Repeat("(", 200),
		"messageTtlSeconds=301", "messageTtlSeconds=-1", "messageTtlSeconds=", "messageTtlSeconds=x", "messageTtlSeconds=1.0", "messageTtlSeconds=1&messageTtlSeconds=1", "messageTtlSeconds=99999999999999999999",
	} {
		hub.take()
		r := newRequest("POST", send+query, "")
		body, _ := io.Pipe() // reading it would not end
		r.Body, r.ContentLength = body, -1
		r.Header.Set("Authorization", "Bearer "+tokenFor(base+send+query))
		wantError(t, serve(h, r), http.StatusBadRequest, "Error.BadRequest")
		assert.NotContains(t, hub.take(), "send")
	}
	w := do(h, "POST", send+"filter=userId%20lt%201", "")
	body := wantError(t, w, http.StatusBadRequest, "Error.BadRequest")
	assert.Equal(t, "Invalid syntax for 'userId lt 1': Type 'string', expect 'int'.", body.Message)
	for target, method := range map[string]string{
		hubPath + "/connections/c?reason=a&reason=b":                                      "DELETE",
		hubPath + "/permissions/sendToGroup/connections/c?targetName=":                    "PUT",
		hubPath + "/permissions/sendToGroup/connections/c?targetName=%20":                 "DELETE",
		hubPath + "/permissions/sendToGroup/connections/c?targetName=a&targetName=b":      "PUT",
		hubPath + "/permissions/sendToGroup/connections/c?targetName=a" + many("a", 1024): "PUT",
		hubPath + "/:generateToken?minutesToExpire=0":                                     "POST",
		hubPath + "/:generateToken?minutesToExpire=x":                                     "POST",
		hubPath + "/:generateToken?minutesToExpire=2147483647":                            "POST",
		hubPath + "/:generateToken?clientType=other":                                      "POST",
		hubPath + "/:generateToken?group=a&group=%20":                                     "POST",
		hubPath + "/:generateToken?userId=a&userId=b":                                     "POST",
	} {
		wantError(t, do(h, method, target, ""), http.StatusBadRequest, "Error.BadRequest")
	}
	for _, kind := range []string{"MQTT", "socketio"} {
		wantError(t, do(h, "POST", hubPath+"/:generateToken?clientType="+kind, ""), http.StatusNotImplemented, "Error.NotImplemented")
	}
	for _, query := range []string{"", "&&", "unknown=1;2", "filter=", "a;b", "messageTtlSeconds=0", "clientType=default", "filter=userId%20eq%20'a;b'"} {
		assert.Equal(t, 202, do(h, "POST", send+query, "").Code, query)
	}
}

func many(s string, n int) string { return strings.Repeat(s, n) }

func TestBadGroupBodies(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{MaxBody: 5000})
	for _, verb := range []string{"/:addToGroups", "/:removeFromGroups"} {
		for _, body := range []string{
			``, `null`, `[]`, `{}`, `{"groups":[]}`, `{"groups":null}`, `{"groups":"g"}`, `{"groups":[1]}`, `{"groups":[" "]}`, `{"groups":[null]}`,
			`{"groups":["g"],"filter":1}`, `{"groups":["g"],"filter":"userId lt 1"}`, `{"groups":["g"]`, `{"groups":["` + many("g", 1025) + `"]}`, "{\"groups\":[\"\xff\"]}",
		} {
			w := do(h, "POST", hubPath+verb, body, "Content-Type", "application/json")
			wantError(t, w, http.StatusBadRequest, "Error.BadRequest")
		}
		w := do(h, "POST", hubPath+verb, `{"groups":["g"]}`, "Content-Type", "text/plain")
		wantError(t, w, http.StatusUnsupportedMediaType, "Error.UnsupportedMediaType")
		w = do(h, "POST", hubPath+verb, `{"groups":["g"]}`)
		wantError(t, w, http.StatusUnsupportedMediaType, "Error.UnsupportedMediaType")
		w = do(h, "POST", hubPath+verb, `{"groups":["`+many("g", 5000)+`"]}`, "Content-Type", "application/json")
		wantError(t, w, http.StatusRequestEntityTooLarge, "Error.PayloadTooLarge")
	}
	for _, call := range hub.take() {
		assert.Equal(t, `hub "chat"`, call)
	}
}

// TestWhatGoesOut looks at the bus: what nodes get of a send.
func TestWhatGoesOut(t *testing.T) {
	t.Parallel()
	client := openClient(t)
	h, err := rest.New(client, rest.Options{})
	require.NoError(t, err)
	k := core.Of(client)
	type arrival struct {
		channel string
		message *control.Message
	}
	arrived := make(chan arrival, 10)
	listener := k.Bus.Listen(func(channel string, payload []byte) {
		if decoded, err := control.Decode(payload); assert.NoError(t, err) {
			arrived <- arrival{channel, decoded.(*control.Message)}
		}
	}, func() {})
	defer func() { _ = listener.Close() }()
	all, group, user, connection := k.Names.HubAll("chat"), k.Names.HubGroup("chat", "a/b"), k.Names.HubUser("chat", "u/1 ä"), k.Names.HubConnection("chat", "c")
	require.NoError(t, listener.Subscribe(t.Context(), true, all, group, user, connection))
	for _, c := range []struct {
		target, body string
		header       []string
		channel      string
		want         control.Message
	}{
		{
			"/:send?excluded=a&excluded=b%2Cc&filter=userId%20eq%20%27o%27%27x%27&messageTtlSeconds=300", ` {"b":1,"a":2} `, []string{"Content-Type", "application/json"},
			all, control.Message{DataType: "json", Data: []byte(` {"b":1,"a":2} `), Excluded: []string{"a", "b,c"}, Filter: "userId eq 'o''x'", TTLSeconds: 300},
		},
		{
			"/groups/a%2Fb/:send?excluded=x%20y", "hello", []string{"Content-Type", "text/plain", "X-WebPubSub-Metadata-Trace-ID", "old", "x-webpubsub-metadata-trace-id", " a, b "},
			group, control.Message{DataType: "text", Data: []byte("hello"), Excluded: []string{"x y"}, Metadata: map[string]string{"trace-id": "a, b"}},
		},
		{"/users/u%2F1%20%C3%A4/:send?excluded=ignored", "\x00\xff", nil, user, control.Message{DataType: "binary", Data: []byte("\x00\xff")}},
		{"/connections/c/:send?filter=ignored(", "", nil, connection, control.Message{DataType: "binary", Data: []byte{}}},
	} {
		w := do(h, "POST", "/api/hubs/Chat"+c.target, c.body, c.header...)
		require.Equal(t, http.StatusAccepted, w.Code, w.Body)
		got := <-arrived
		assert.Equal(t, c.channel, got.channel)
		got.message.ID = 0
		if len(got.message.Data) == 0 {
			got.message.Data = []byte{}
		}
		assert.Equal(t, &c.want, got.message)
	}
	for _, header := range [][2]string{
		{"X-WebPubSub-Metadata-", "x"}, {"X-WebPubSub-Metadata-A", "ä"}, {"X-WebPubSub-Metadata-A", many("a", 1025)}, {"X-WebPubSub-Metadata-" + many("a", 257), "x"},
	} {
		wantError(t, do(h, "POST", hubPath+"/:send", "x", header[0], header[1]), http.StatusBadRequest, "Error.BadRequest")
	}
	var big []string
	for i := range 9 {
		big = append(big, "X-WebPubSub-Metadata-A"+string(rune('a'+i)), many("a", 1000))
	}
	wantError(t, do(h, "POST", hubPath+"/:send", "x", big...), http.StatusBadRequest, "Error.BadRequest")
}

func TestPayloadLimitOfTheClient(t *testing.T) {
	t.Parallel()
	client := openClient(t, func(c *gateway.Config) { c.MaxPayload = 10 })
	h, err := rest.New(client, rest.Options{MaxBody: 100})
	require.NoError(t, err)
	wantError(t, do(h, "POST", hubPath+"/:send", many("a", 11)), http.StatusRequestEntityTooLarge, "Error.PayloadTooLarge")
	h, err = rest.New(client, rest.Options{})
	require.NoError(t, err)
	wantError(t, do(h, "POST", hubPath+"/:send", many("a", 11)), http.StatusRequestEntityTooLarge, "Error.PayloadTooLarge")
	assert.Equal(t, 202, do(h, "POST", hubPath+"/:send", many("a", 10)).Code)
	// The default is that of the service.
	h = newHandler(t, rest.Options{})
	assert.Equal(t, 202, do(h, "POST", hubPath+"/:send", many("a", 1<<20)).Code)
	assert.Equal(t, 413, do(h, "POST", hubPath+"/:send", many("a", 1<<20+1)).Code)
}

func TestGeneratedTokens(t *testing.T) {
	t.Parallel()
	h := newHandler(t, rest.Options{Endpoints: []string{"https://public.test/pre"}})
	target := "/api/hubs/Chat/:generateToken?userId=u%2F1%20%C3%A4&role=r1&role=r,2&group=g&group=a%2Fb&minutesToExpire=7"
	for _, address := range []string{base, "https://public.test/pre"} {
		r := newRequest("POST", target, "")
		r.Header.Set("Authorization", "Bearer "+tokenFor(address+target))
		w := serve(h, r)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		var body map[string]string
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
		require.Len(t, body, 1)
		claims := verify(t, body["token"])
		assert.Equal(t, address+"/client/hubs/Chat", claims["aud"])
		assert.Equal(t, "u/1 ä", claims["sub"])
		assert.Equal(t, []any{"r1", "r,2"}, claims["role"])
		assert.Equal(t, []any{"g", "a/b"}, claims["webpubsub.group"])
		assert.InDelta(t, 7*60, claims["exp"].(float64)-claims["iat"].(float64), 1)
	}
	w := do(h, "POST", hubPath+"/:generateToken", "")
	var body map[string]string
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &body))
	claims := verify(t, body["token"])
	assert.InDelta(t, 3600, claims["exp"].(float64)-claims["iat"].(float64), 1)
	assert.NotContains(t, claims, "sub")
}
