package rest_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/message-gateway/gateway/rest"
)

// What a call needs of its audience is tested in TestAudiences. Here is what is
// left: the base that is found.
func TestBaseOfAudience(t *testing.T) {
	t.Parallel()
	const path = "/api/hubs/chat/users/u%2F1%20%C3%A4/:send"
	const query = "excluded=a&excluded=b%2Cc&filter=userId%20eq%20%27o%27%27x%27"
	endpoints := []string{"https://public.test/Pre/", "http://plain.test:80", "%"}
	for audience, want := range map[string]string{
		"http://asked.test:8080/sub" + path:                      "http://asked.test:8080/sub",
		"HTTPS://ASKED.TEST:8080/SUB" + path:                     "https://ASKED.TEST:8080/sub",
		"https://public.test/pre" + path + "?" + query:           "https://public.test/Pre",
		"https://public.test:443/Pre" + path + "/":               "https://public.test:443/Pre",
		"http://plain.test" + path:                               "http://plain.test",
		"https://plain.test" + path:                              "https://plain.test",
		"https://plain.test/api/hubs/chat/users/u/1 ä/:send":     "https://plain.test",
		"http://asked.test" + path:                               "",
		"http://asked.test:8080" + path:                          "",
		"http://asked.test:8080/other" + path:                    "",
		"http://asked.test:8080/sub/sub" + path:                  "",
		"http://public.test" + path:                              "",
		"http:///api/hubs/chat":                                  "",
		"http://asked.test:8080/sub" + path + "?excluded=a":      "",
		"http://asked.test:8080/sub" + path + "?" + query + "&x": "",
		"http://asked.test:8080/sub" + path + "?%zz":             "",
		"http://asked.test:8080/sub" + path[:len(path)-1]:        "",
	} {
		base, ok, _ := rest.BaseOf("Asked.test:8080", endpoints, "/sub"+path+"?"+query, audience)
		assert.Equal(t, want, base, audience)
		assert.Equal(t, want != "", ok, audience)
	}
}

// TestUnescapedAudiences: which paths are understood that were unescaped as a
// whole, and which are not, because they are those of something else.
func TestUnescapedAudiences(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		target, audience string
		accepted         bool
	}{
		{"/users/a%2Fb", "/users/a/b", true},
		{"/users/a%2Fb/:send", "/users/a/b/:send", true},
		{"/users/a%2Fb/groups", "/users/a/b/groups", true},
		{"/users/a%2Fb/groups/c%2Fd", "/users/a/b/groups/c/d", true},
		{"/groups/a%2F%2Fb/connections/c", "/groups/a//b/connections/c", true},
		{"/groups/%2Fa/:closeConnections", "/groups//a/:closeConnections", true},
		{"/connections/a%2Fb/:send", "/connections/a/b/:send", true},
		{"/permissions/sendToGroup/connections/a%2Fb", "/permissions/sendtogroup/connections/a/b", true},
		{"/users/users%2Fhubs%2Fapi", "/users/users/hubs/api", true},
		{"/users/100%25", "/users/100%", true},
		{"/users/100%25%2Fb/:send", "/users/100%/b/:send", true},

		{"/users/a%2Fb", "/users/a/b/", true}, // a slash at the end never counts
		{"/users/a%2F", "/users/a/", false},   // and so that is a
		{"/users/a", "/users/a/", true},
		{"/users/a%2F:send", "/users/a/:send", false}, // a message for a
		{"/users/a", "/users/a/:send", false},
		{"/users/a%2Fgroups%2Fb", "/users/a/groups/b", false},
		{"/users/x%2Fa%2Fgroups%2Fb", "/users/x/a/groups/b", false},
		{"/users/x%2Fa/groups/b", "/users/x/a/groups/b", true},
		{"/users/a/groups/b%2Fgroups%2Fc", "/users/a/groups/b/groups/c", false},
		{"/users/a%2Fgroups%2Fb/groups/c", "/users/a/groups/b/groups/c", false},
		{"/users/a%252Fb", "/users/a%2Fb", false}, // the user a/b
		{"/users/a%2Fb", "/users/a%2Fb", true},
		{"/users/a%252Fb", "/users/a%252Fb", true},
		{"/users/a%2Fb", "/users/a%252Fb", false},
		{"/users/a%2525", "/users/a%25", false}, // the user a%
		{"/users/a%3Fb", "/users/a?b", false},   // a query
		{"/users/a%2Fb%20c", "/users/a/b%20c", false},
		{"/users/a%2F..", "/users/a/..", true}, // nothing is cleaned
		{"/users/a", "/users/b/../a", false},
		{"/:send", "/users/../:send", false},
		{"/users/a%2Fb", "/groups/a/b", false},
		{"/users/a%2Fb", "/users/a", false},
		{"/users/a", "/users/a/b", false},
	} {
		_, ok, named := rest.BaseOf(host, nil, hubPath+c.target, base+hubPath+c.audience)
		require.NotEmpty(t, named, c.target)
		assert.Equal(t, c.accepted, ok, "%s for %s", c.audience, c.target)
	}
	// What stands before /api is not made of ids.
	const inside = "/api/hubs/chat/users/api/hubs/chat/:send" // to all, behind a prefix; or to the user api/hubs/chat
	_, ok, named := rest.BaseOf(host, nil, inside, base+inside)
	require.Contains(t, named, `"HUBS/{HUB}/:SEND"`)
	assert.False(t, ok, "this audience is that of the user")
	_, ok, _ = rest.BaseOf(host, nil, hubPath+"/users/api%2Fhubs%2Fchat/:send", base+inside)
	assert.True(t, ok)
}

// target draws a call: an operation with ids that are made to be confused.
func drawTarget(t *rapid.T, label string) string {
	id := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{
			"a", "B", "/", "/", "%", "2F", "%2F", "25", ":send", "groups", "connections", "users", "..", ".", "?", "#", " ", "ä", "+", "/api/hubs/h/", "api", "hubs",
		}), 1, 5).Draw(t, "parts"), "")
	})
	path := rapid.SampledFrom(rest.Routes()).Draw(t, label)[1]
	for _, name := range []string{"{group}", "{user}", "{connection}"} {
		path = strings.Replace(path, name, url.PathEscape(id.Draw(t, name)), 1)
	}
	path = strings.Replace(path, "{permission}", rapid.SampledFrom([]string{"sendToGroup", "joinLeaveGroup"}).Draw(t, "permission"), 1)
	return strings.Replace(path, "{hub}", rapid.SampledFrom([]string{"h", "chat"}).Draw(t, "hub"), 1)
}

// TestAudienceOpensOneResource: as it stands on the wire, the audience of a
// call is for that call and for no other; unescaped in whatever way, it is for
// one at most.
func TestAudienceOpensOneResource(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		one, two := drawTarget(t, "one"), drawTarget(t, "two")
		unescaped, err := url.PathUnescape(one)
		require.NoError(t, err)
		_, ok, first := rest.BaseOf(host, nil, one, base+one)
		if first == "" || strings.Contains(one, "/api/health") {
			t.Skip("a group of white space, or a call without token")
		}
		// A path without escapes can be that of an id with slashes as well, if
		// there is /api/ in it.
		if strings.Contains(one, "%") || strings.Count(one, "/api/") == 1 {
			require.True(t, ok, "%s does not fit itself", one)
		}
		again, _ := url.PathUnescape(unescaped)
		for _, audience := range []string{one, one + "/", unescaped, strings.ReplaceAll(unescaped, " ", "%20"), again, strings.ReplaceAll(one, "%2F", "/"), two} {
			_, ok1, named1 := rest.BaseOf(host, nil, one, base+audience)
			_, ok2, named2 := rest.BaseOf(host, nil, two, base+audience)
			require.False(t, ok1 && ok2 && named1 != named2, "%s opens both %s and %s", audience, one, two)
		}
	})
}

// FuzzAudience: no audience is for two different calls.
func FuzzAudience(f *testing.F) {
	f.Add("/api/hubs/h/users/a/b", "/api/hubs/h/users/a%2Fb", "/api/hubs/h/users/a/groups/b")
	f.Add("/api/hubs/h/users/a%2Fb", "/api/hubs/h/users/a%252Fb", "/api/hubs/h/users/a%2Fb")
	f.Add("/api/hubs/h/users/api/hubs/h/:send", "/api/hubs/h/users/api%2Fhubs%2Fh/:send", "/api/hubs/h/users/api/hubs/h/:send")
	f.Add("/api/hubs/h/users/a/:send/", "/api/hubs/h/users/a%2F:send", "/api/hubs/h/users/a/:send")
	f.Add("/sub/api/hubs/h/groups/100%/x/connections?x=1", "/sub/api/hubs/h/groups/100%25%2Fx/connections?x=1", "/api/hubs/h/groups/100%25")
	f.Fuzz(func(t *testing.T, audience, one, two string) {
		_, ok1, named1 := rest.BaseOf(host, nil, one, base+audience)
		_, ok2, named2 := rest.BaseOf(host, nil, two, base+audience)
		if ok1 && ok2 && named1 != named2 {
			t.Fatalf("%q opens both %q and %q", audience, one, two)
		}
		// A path on the wire that has escapes is for itself.
		if path, _, _ := strings.Cut(one, "?"); named1 != "" && strings.Contains(path, "%") {
			if _, ok, _ := rest.BaseOf(host, nil, one, base+path); !ok {
				t.Fatalf("%q does not fit itself", one)
			}
		}
	})
}
