package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/rest"
)

type page struct {
	Value []struct {
		ConnectionID string  `json:"connectionId"`
		UserID       *string `json:"userId"`
	} `json:"value"`
	NextLink *string `json:"nextLink"`
}

// follow reads pages as official clients do: the link as it is, signed with
// its query.
func follow(t testing.TB, h http.Handler, link string) (ids []string, sizes []int) {
	t.Helper()
	for range 1000 {
		u, err := url.Parse(link)
		require.NoError(t, err)
		r := newRequest("GET", u.RequestURI(), "")
		r.Host = u.Host
		r.Header.Set("Authorization", "Bearer "+tokenFor(link))
		w := serve(h, r)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		var p page
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
		sizes = append(sizes, len(p.Value))
		for _, m := range p.Value {
			ids = append(ids, m.ConnectionID)
		}
		if p.NextLink == nil {
			return ids, sizes
		}
		link = *p.NextLink
	}
	t.Fatal("the pages do not end")
	return nil, nil
}

func members(n int) []gateway.GroupConnection {
	list := make([]gateway.GroupConnection, n)
	for i := range list {
		list[i].ConnectionID = fmt.Sprintf("c/%04d ä", i)
		if i%2 == 1 {
			list[i].UserID = "u"
		}
	}
	return list
}

func TestPaging(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	group := "/sub" + hubPath + "/groups/a%2Fb%20%C3%A4'+/connections"
	for _, c := range []struct {
		there int
		query string
		want  int
		sizes []int
	}{
		{0, "", 0, []int{0}},
		{5, "", 5, []int{5}},
		{200, "", 200, []int{200}},
		{201, "", 201, []int{200, 1}},
		{401, "?api-version=2024-12-01", 401, []int{200, 200, 1}},
		{5, "?maxpagesize=2", 5, []int{2, 2, 1}},
		{4, "?maxpagesize=2", 4, []int{2, 2}},
		{5, "?top=3", 3, []int{3}},
		{5, "?top=5", 5, []int{5}},
		{5, "?top=6&maxpagesize=5", 5, []int{5}},
		{9, "?top=5&maxpagesize=2", 5, []int{2, 2, 1}},
		{9, "?maxPageSize=2&TOP=4", 4, []int{2, 2}},
		{450, "?top=2147483647", 450, []int{200, 200, 50}},
	} {
		hub.members = members(c.there)
		ids, sizes := follow(t, h, base+group+c.query)
		assert.Equal(t, c.sizes, sizes, "%d %s", c.there, c.query)
		require.Len(t, ids, c.want)
		for i, id := range ids {
			assert.Equal(t, hub.members[i].ConnectionID, id)
		}
	}
}

func TestListPage(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	hub.members = []gateway.GroupConnection{{ConnectionID: "c1"}, {ConnectionID: "c2", UserID: "u"}}
	w := do(h, "GET", hubPath+"/groups/g/connections", "")
	require.Equal(t, http.StatusOK, w.Code)
	assert.JSONEq(t, `{"value":[{"connectionId":"c1","userId":null},{"connectionId":"c2","userId":"u"}],"nextLink":null}`, w.Body.String())
	hub.members = nil
	w = do(h, "GET", hubPath+"/groups/g/connections", "")
	assert.JSONEq(t, `{"value":[],"nextLink":null}`, w.Body.String())
}

// TestNextLinkIsWhereTheCallerCanGo: it starts with what the token was signed
// for, not with what a proxy made of it.
func TestNextLinkIsWhereTheCallerCanGo(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{Endpoints: []string{"https://public.test/pre"}})
	hub.members = members(3)
	target := hubPath + "/groups/g/connections?maxpagesize=2&top=3"
	r := newRequest("GET", "/inside"+target, "")
	r.Host = "10.0.0.1:8080"
	r.Header.Set("Authorization", "Bearer "+tokenFor("https://public.test/pre"+target))
	w := serve(h, r)
	require.Equal(t, http.StatusOK, w.Code)
	var p page
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	require.NotNil(t, p.NextLink)
	link, err := url.Parse(*p.NextLink)
	require.NoError(t, err)
	assert.Equal(t, "https://public.test/pre"+hubPath+"/groups/g/connections", strings.TrimSuffix(*p.NextLink, "?"+link.RawQuery))
	assert.Equal(t, "2024-12-01", link.Query().Get("api-version"))
	assert.Equal(t, "2", link.Query().Get("maxpagesize"))
	assert.Equal(t, "1", link.Query().Get("top"))
}

func TestBadPages(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{}, func(c *gateway.Config) { c.Limits.Page = 100 })
	hub.members = members(3)
	list := hubPath + "/groups/g/connections?"
	w := do(h, "GET", list+"maxpagesize=1", "")
	var p page
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
	link, err := url.Parse(*p.NextLink)
	require.NoError(t, err)
	token := link.Query().Get("continuationToken")
	assert.Equal(t, http.StatusOK, do(h, "GET", list+"continuationToken="+token, "").Code)
	assert.Equal(t, http.StatusOK, do(h, "GET", strings.Replace(list, "chat", "CHAT", 1)+"continuationToken="+token, "").Code)
	hub.take()
	for _, query := range []string{
		"maxpagesize=0", "maxpagesize=101", "maxpagesize=-1", "maxpagesize=", "maxpagesize=x", "maxpagesize=1.5", "maxpagesize=+1", "maxpagesize=%2B1",
		"maxpagesize=2147483648", "maxpagesize=1&maxpagesize=1", "top=0", "top=-1", "top=", "top=x", "top=2147483648", "top=1&TOP=2",
		"continuationToken=", "continuationToken=c1", "continuationToken=" + token + "A", "continuationToken=A" + token[1:],
		"continuationToken=" + token + "&continuationToken=" + token, "continuationToken=%FF", "continuationToken=" + strings.Repeat("A", 5000),
	} {
		wantError(t, do(h, "GET", list+query, ""), http.StatusBadRequest, "Error.BadRequest")
	}
	for _, other := range []string{hubPath + "/groups/G/connections?", "/api/hubs/other/groups/g/connections?"} {
		wantError(t, do(h, "GET", other+"continuationToken="+token, ""), http.StatusBadRequest, "Error.BadRequest")
	}
	assert.NotContains(t, strings.Join(hub.take(), " "), "list")
}
