package rest

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/odata"
)

// versions are the versions of the contract. They only add operations and
// parameters, so one implementation serves all.
var versions = []string{"2021-10-01", "2022-11-01", "2023-07-01", "2024-01-01", "2024-12-01"}

var (
	latestVersion     = versions[len(versions)-1]
	supportedVersions = strings.Join(versions, ", ")
)

const versionParameter = "api-version"

// checkVersion runs before the token is checked, and so keeps nothing of the
// query.
func checkVersion(raw string) error {
	given := 0
	for pair := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, err := url.QueryUnescape(name); err != nil || !strings.EqualFold(name, versionParameter) {
			continue
		}
		if given++; given > 1 {
			return badRequest(versionParameter, "The api-version is given more than once.")
		}
		if value, err := url.QueryUnescape(value); err != nil || !slices.Contains(versions, value) {
			return badRequest(versionParameter, "The api-version is not supported. Supported are: "+supportedVersions+".")
		}
	}
	return nil
}

// query holds the parameters by their names in lower case: names are matched
// without regard to case.
type query map[string][]string

// parseQuery is url.ParseQuery, except that a semicolon is a character as any
// other, and that values must be valid UTF-8.
func parseQuery(raw string) (query, error) {
	q := query{}
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		if errName != nil || errValue != nil || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, badRequest("", "The query has an escape that is not valid, or is not valid UTF-8.")
		}
		name = strings.ToLower(name)
		q[name] = append(q[name], value)
	}
	return q, nil
}

// one returns a parameter that may be given once.
func (q query) one(name string) (value string, given bool, err error) {
	switch values := q[strings.ToLower(name)]; len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	default:
		return "", false, badRequest(name, "The parameter "+name+" is given more than once.")
	}
}

// number returns a number between bounds, or the fallback if none is given.
func (q query) number(name string, low, high, fallback int) (int, error) {
	value, given, err := q.one(name)
	if err != nil || !given {
		return fallback, err
	}
	n, err := strconv.ParseInt(value, 10, 32)
	if err != nil || value[0] == '+' || int(n) < low || int(n) > high {
		return 0, badRequest(name, "Invalid "+name+".")
	}
	return int(n), nil
}

// option reads a parameter that becomes an option of a call on a hub; nil
// means that it is not given.
type option func(query) (gateway.HubOption, error)

// options reads several.
func (q query) options(read ...option) ([]gateway.HubOption, error) {
	var opts []gateway.HubOption
	for _, r := range read {
		o, err := r(q)
		if err != nil {
			return nil, err
		}
		if o != nil {
			opts = append(opts, o)
		}
	}
	return opts, nil
}

// excluded is a repeated parameter; commas belong to the ids.
func excluded(q query) (gateway.HubOption, error) {
	if ids := q["excluded"]; len(ids) > 0 {
		return gateway.Excluding(ids...), nil
	}
	return nil, nil
}

func reason(q query) (gateway.HubOption, error) {
	text, given, err := q.one("reason")
	if err != nil || !given {
		return nil, err
	}
	return gateway.WithReason(text), nil
}

func (c *call) filter(q query) (gateway.HubOption, error) {
	text, _, err := q.one("filter")
	if err != nil || text == "" {
		return nil, err
	}
	if err := c.checkFilter(text); err != nil {
		return nil, err
	}
	return gateway.WithFilter(text), nil
}

func (c *call) checkFilter(text string) error {
	if _, err := odata.Parse(text, c.handler.core.Filter); err != nil {
		return badRequest("filter", err.Error())
	}
	return nil
}
