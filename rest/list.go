package rest

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/message-gateway/gateway"
)

// page is one page of a group's connections.
type page struct {
	Value []member `json:"value"`
	// NextLink is the absolute URL of the next page, null on the last.
	NextLink *string `json:"nextLink"`
}

type member struct {
	ConnectionID string `json:"connectionId"`
	// UserID is null for an anonymous connection.
	UserID *string `json:"userId"`
}

// list returns a page. Callers follow its link as it is and do not count, so
// the link carries how many connections are still wanted.
func (c *call) list() (answer, error) {
	limit := c.handler.core.Page
	size, err := c.query.number("maxpagesize", 1, limit, limit)
	if err != nil {
		return answer{}, err
	}
	top, err := c.query.number("top", 1, math.MaxInt32, 0)
	if err != nil {
		return answer{}, err
	}
	after, err := c.after()
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := c.limited()
	defer cancel()
	want := size
	if top > 0 {
		want = min(want, top)
	}
	found, more, err := c.members(ctx, after, want)
	if err != nil {
		return answer{}, err
	}
	p := page{Value: make([]member, len(found))}
	for i, m := range found {
		p.Value[i].ConnectionID = m.ConnectionID
		if m.UserID != "" {
			p.Value[i].UserID = &m.UserID
		}
	}
	if more && (top == 0 || top > len(found)) {
		link := c.nextLink(found[len(found)-1].ConnectionID, size, top-len(found))
		p.NextLink = &link
	}
	return answer{status: http.StatusOK, body: p}, nil
}

// members reads a page and finds out whether there are more.
func (c *call) members(ctx context.Context, after string, want int) (found []gateway.GroupConnection, more bool, err error) {
	ask := min(want+1, c.handler.core.Page)
	found, err = c.hub.GroupConnections(ctx, c.group, after, ask)
	if err != nil || len(found) < ask {
		return found, false, err
	}
	if ask > want {
		return found[:want], true, nil
	}
	rest, err := c.hub.GroupConnections(ctx, c.group, found[len(found)-1].ConnectionID, 1)
	return found, len(rest) > 0, err
}

// nextLink starts with the address that the caller signed its token for, which
// is the one that it can reach.
func (c *call) nextLink(after string, size, remaining int) string {
	link := c.base + c.resource +
		"?api-version=" + latestVersion +
		"&continuationToken=" + c.seal(c.handler.core.AccessKeys[0], after) +
		"&maxpagesize=" + strconv.Itoa(size)
	if remaining > 0 {
		link += "&top=" + strconv.Itoa(remaining)
	}
	return link
}

// after is the connection id that a page starts behind.
func (c *call) after() (string, error) {
	given, ok, err := c.query.one("continuationToken")
	if err != nil || !ok {
		return "", err
	}
	raw, err := base64.RawURLEncoding.DecodeString(given)
	if err == nil && len(raw) > sealSize {
		id := string(raw[sealSize:])
		for _, key := range c.handler.core.AccessKeys {
			if hmac.Equal([]byte(given), []byte(c.seal(key, id))) {
				return id, nil
			}
		}
	}
	return "", badRequest("continuationToken", "Invalid continuationToken.")
}

// sealSize is how many bytes of the HMAC stand before the id.
const sealSize = 16

// seal makes the token of a place in the list of one group.
func (c *call) seal(key, id string) string {
	mac := hmac.New(sha256.New, []byte(key))
	hubName := strings.ToLower(c.hubName)
	_, _ = fmt.Fprintf(mac, "list %d %s %d %s %s", len(hubName), hubName, len(c.group), c.group, id) // a hash takes everything
	return base64.RawURLEncoding.EncodeToString(append(mac.Sum(nil)[:sealSize], id...))
}
