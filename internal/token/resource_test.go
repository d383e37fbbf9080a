package token

import "testing"

// The audiences of calls are tested through package rest. Here is what is
// left: the base that is found.
func TestBaseOfResource(t *testing.T) {
	t.Parallel()
	const path = "/api/hubs/chat/users/u%2F1%20%C3%A4/:send"
	r := Resource{
		Host: "Asked.test:8080", Prefixes: []string{"", "/sub"}, Path: path, Query: "excluded=a&excluded=b%2Cc&filter=userId%20eq%20%27o%27%27x%27",
		Endpoints: []string{"https://public.test/Pre/", "http://plain.test:80", "%"},
	}
	for audience, want := range map[string]string{
		"http://asked.test:8080" + path:                          "http://asked.test:8080",
		"HTTPS://ASKED.TEST:8080/sub" + path:                     "https://ASKED.TEST:8080/sub",
		"https://public.test/pre" + path + "?" + r.Query:         "https://public.test/Pre",
		"https://public.test:443/Pre" + path + "/":               "https://public.test:443/Pre",
		"http://plain.test" + path:                               "http://plain.test",
		"https://plain.test" + path:                              "https://plain.test",
		"http://asked.test" + path:                               "",
		"http://asked.test:8080/other" + path:                    "",
		"http://asked.test:8080/sub/sub" + path:                  "",
		"http://public.test" + path:                              "",
		"http:///api/hubs/chat":                                  "",
		"http://asked.test:8080" + path + "?excluded=a":          "",
		"http://asked.test:8080" + path + "?" + r.Query + "&x=1": "",
		"http://asked.test:8080" + path + "?%zz":                 "",
		"http://asked.test:8080" + path[:len(path)-1]:            "",
	} {
		base, ok := r.Base(audience)
		if base != want || ok != (want != "") {
			t.Errorf("%s: base %q, %v", audience, base, ok)
		}
	}
}
