package rest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/rest"
)

// TestLimits goes to each limit and one beyond it, with the default ones and
// with others.
func TestLimits(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]gateway.Limits{
		"default": gateway.DefaultLimits(),
		"others": {
			HubName: 9, GroupName: 4096, MetadataName: 20, MetadataValue: 3000, Metadata: 6000, MessageTTL: 24 * time.Hour,
			FilterBytes: 200, FilterClauses: 3, FilterDepth: 5, Page: 300,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, hub := newFake(t, rest.Options{}, func(c *gateway.Config) { c.Limits = limits })
			testLimits(t, h, hub, limits)
		})
	}
}

func testLimits(t *testing.T, h *rest.Handler, hub *fakeHub, l gateway.Limits) {
	hub.found = true
	x := func(n int) string { return strings.Repeat("x", n) }
	group := func(n int) string { return escapeAll(strings.Repeat("ä", n)) }
	filter := func(text string) string { return hubPath + "/:send?filter=" + url.QueryEscape(text) }
	clauses := func(n int) string { return strings.TrimSuffix(strings.Repeat("true eq true or ", n), " or ") }
	metadata := func(n int) []string {
		var header []string
		for i := 0; n > 0; i++ {
			size := min(n, 1+l.MetadataValue)
			header = append(header, fmt.Sprintf("X-WebPubSub-Metadata-%c", 'a'+i), x(size-1))
			n -= size
		}
		return header
	}
	type request struct {
		method, target, body string
		header               []string
	}
	post := func(target string, header ...string) request { return request{"POST", target, "", header} }
	json := func(body string) request {
		return request{"POST", hubPath + "/:addToGroups", body, []string{"Content-Type", "application/json"}}
	}
	for name, c := range map[string]struct{ at, beyond request }{
		"hub":            {post("/api/hubs/" + x(l.HubName) + "/:send"), post("/api/hubs/" + x(l.HubName+1) + "/:send")},
		"group":          {post(hubPath + "/groups/" + group(l.GroupName) + "/:send"), post(hubPath + "/groups/" + group(l.GroupName+1) + "/:send")},
		"group in body":  {json(`{"groups":["` + x(l.GroupName) + `"]}`), json(`{"groups":["` + x(l.GroupName+1) + `"]}`)},
		"group in token": {post(hubPath + "/:generateToken?group=" + x(l.GroupName)), post(hubPath + "/:generateToken?group=" + x(l.GroupName+1))},
		"target":         {request{"PUT", hubPath + "/permissions/sendToGroup/connections/c?targetName=" + x(l.GroupName), "", nil}, request{"PUT", hubPath + "/permissions/sendToGroup/connections/c?targetName=" + x(l.GroupName+1), "", nil}},
		"metadata name":  {post(hubPath+"/:send", "X-WebPubSub-Metadata-"+x(l.MetadataName), ""), post(hubPath+"/:send", "X-WebPubSub-Metadata-"+x(l.MetadataName+1), "")},
		"metadata value": {post(hubPath+"/:send", "X-WebPubSub-Metadata-k", x(l.MetadataValue)), post(hubPath+"/:send", "X-WebPubSub-Metadata-k", x(l.MetadataValue+1))},
		"metadata":       {post(hubPath+"/:send", metadata(l.Metadata)...), post(hubPath+"/:send", metadata(l.Metadata+1)...)},
		"ttl": {
			post(hubPath + "/:send?messageTtlSeconds=" + strconv.Itoa(int(l.MessageTTL.Seconds()))),
			post(hubPath + "/:send?messageTtlSeconds=" + strconv.Itoa(int(l.MessageTTL.Seconds())+1)),
		},
		"filter length":  {post(filter("userId eq '" + x(l.FilterBytes-12) + "'")), post(filter("userId eq '" + x(l.FilterBytes-11) + "'"))},
		"filter clauses": {post(filter(clauses(l.FilterClauses))), post(filter(clauses(l.FilterClauses + 1)))},
		"filter depth":   {post(filter(strings.Repeat("not ", l.FilterDepth) + "true")), post(filter(strings.Repeat("not ", l.FilterDepth+1) + "true"))},
		"page": {
			request{"GET", hubPath + "/groups/g/connections?maxpagesize=" + strconv.Itoa(l.Page), "", nil},
			request{"GET", hubPath + "/groups/g/connections?maxpagesize=" + strconv.Itoa(l.Page+1), "", nil},
		},
	} {
		w := do(h, c.at.method, c.at.target, c.at.body, c.at.header...)
		assert.Less(t, w.Code, 300, "%s: %s", name, w.Body)
		hub.take()
		wantError(t, do(h, c.beyond.method, c.beyond.target, c.beyond.body, c.beyond.header...), http.StatusBadRequest, "Error.BadRequest")
		for _, call := range hub.take() {
			assert.True(t, strings.HasPrefix(call, "hub "), "%s: %s", name, call)
		}
	}
}
