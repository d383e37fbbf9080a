package rest_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/rest"
)

const (
	hubPath  = "/api/hubs/chat"
	textBody = "text/plain"
	jsonBody = "application/json"
)

// operation is one row of section 5.2: what is called on the hub, and the
// status when the target is there, and when it is not.
type operation struct {
	method, path, contentType, body string
	call                            string
	status                          int
	// notFound and missing are for operations to which a missing target
	// matters: what the hub says then, and the code of the answer, if any.
	notFound error
	missing  string
}

var operations = []operation{
	{method: "POST", path: "/:send", contentType: textBody, body: "hi", call: "send all gateway.Text hi 0 options", status: 202},
	{method: "POST", path: "/:send?excluded=a&excluded=b&filter=userId%20ne%20null&messageTtlSeconds=300", contentType: jsonBody, body: ` {"a":1} `, call: `send all json.RawMessage  {"a":1}  3 options`, status: 202},
	{method: "POST", path: "/groups/g/:send?excluded=a&filter=userId%20ne%20null&messageTtlSeconds=1", body: "hi", call: "send group g gateway.Binary hi 3 options", status: 202},
	{method: "POST", path: "/users/u/:send?filter=userId%20ne%20null&messageTtlSeconds=0", contentType: "application/octet-stream", body: "hi", call: "send user u gateway.Binary hi 1 options", status: 202},
	{method: "POST", path: "/connections/c/:send?messageTtlSeconds=7", contentType: textBody, body: "", call: "send connection c gateway.Text  1 options", status: 202},
	{method: "POST", path: "/:closeConnections?excluded=a&reason=bye", call: "close all 2 options", status: 204},
	{method: "POST", path: "/groups/g/:closeConnections?excluded=a&reason=bye", call: "close group g 2 options", status: 204},
	{method: "POST", path: "/users/u/:closeConnections", call: "close user u 0 options", status: 204},
	{method: "DELETE", path: "/connections/c?reason=bye", call: "close connection c 1 options", status: 204},
	{method: "HEAD", path: "/connections/c", call: "connection c exists", status: 200, missing: "-"},
	{method: "HEAD", path: "/groups/g", call: "group g exists", status: 200, missing: "-"},
	{method: "HEAD", path: "/users/u", call: "user u exists", status: 200, missing: "-"},
	{method: "PUT", path: "/groups/g/connections/c", call: "add connection c to g", status: 200, notFound: gateway.ErrConnectionNotFound, missing: "Error.Connection.NotExisted"},
	{method: "DELETE", path: "/groups/g/connections/c", call: "remove connection c from g", status: 204},
	{method: "DELETE", path: "/connections/c/groups", call: "remove connection c", status: 204},
	{method: "PUT", path: "/users/u/groups/g", call: "add user u to g", status: 200, notFound: gateway.ErrUserNotConnected, missing: "Error.User.NotExisted"},
	{method: "DELETE", path: "/users/u/groups/g", call: "remove user u from g", status: 204},
	{method: "DELETE", path: "/users/u/groups", call: "remove user u", status: 204},
	{method: "POST", path: "/:addToGroups", contentType: jsonBody, body: `{"groups":["g1","g2"],"filter":"userId eq 'u'"}`, call: `add "userId eq 'u'" to ["g1" "g2"]`, status: 200},
	{method: "POST", path: "/:removeFromGroups", contentType: jsonBody, body: `{"groups":["g1"],"filter":null}`, call: `remove "" from ["g1"]`, status: 200},
	{method: "GET", path: "/groups/g/connections", call: `list g after "" limit 200`, status: 200},
	{method: "PUT", path: "/permissions/sendToGroup/connections/c?targetName=g", call: `grant sendToGroup c "g"`, status: 200, notFound: gateway.ErrConnectionNotFound, missing: "Info.Connection.NotExisted"},
	{method: "PUT", path: "/permissions/JOINLEAVEGROUP/connections/c", call: `grant joinLeaveGroup c ""`, status: 200, notFound: gateway.ErrConnectionNotFound, missing: "Info.Connection.NotExisted"},
	{method: "HEAD", path: "/permissions/joinLeaveGroup/connections/c?targetName=g", call: `check joinLeaveGroup c "g"`, status: 200, missing: "Info.Connection.NotExisted"},
	{method: "HEAD", path: "/permissions/sendToGroup/connections/c", call: `check sendToGroup c ""`, status: 200, missing: "Info.Connection.NotExisted"},
	{method: "DELETE", path: "/permissions/sendToGroup/connections/c?targetName=g", call: `revoke sendToGroup c "g"`, status: 204},
	{method: "POST", path: "/:generateToken?userId=u&role=a&role=b&group=g&minutesToExpire=5", call: "token u 4 options", status: 200},
}

func TestOperations(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	for _, op := range operations {
		t.Run(op.method+" "+op.path, func(t *testing.T) {
			var header []string
			if op.contentType != "" {
				header = []string{"Content-Type", op.contentType}
			}
			hub.found, hub.err = true, nil
			w := do(h, op.method, hubPath+op.path, op.body, header...)
			require.Equal(t, op.status, w.Code, w.Body)
			assert.Equal(t, []string{`hub "chat"`, op.call}, hub.take())
			assert.Equal(t, "2021-10-01, 2022-11-01, 2023-07-01, 2024-01-01, 2024-12-01", w.Header().Get("api-supported-versions"))
			assert.Empty(t, w.Header().Get("x-ms-error-code"))
			if op.method == "HEAD" || op.status != 200 {
				assert.Empty(t, w.Body.String())
			}
			if op.missing == "" {
				return
			}
			hub.found, hub.err = false, op.notFound
			w = do(h, op.method, hubPath+op.path, op.body, header...)
			hub.take()
			if op.method == http.MethodHead {
				assert.Equal(t, http.StatusNotFound, w.Code)
				assert.Empty(t, w.Body.String())
				if op.missing != "-" {
					assert.Equal(t, op.missing, w.Header().Get("x-ms-error-code"))
				}
				return
			}
			wantError(t, w, http.StatusNotFound, op.missing)
		})
	}
}

// TestEveryRouteIsTested keeps the table above complete.
func TestEveryRouteIsTested(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	hub.found = true
	tested := map[[2]string]bool{{"HEAD", "/api/health"}: true}
	for _, route := range rest.Routes() {
		for _, op := range operations {
			w := do(h, "PATCH", hubPath+op.path, "")
			require.Equal(t, http.StatusMethodNotAllowed, w.Code)
			if samePath(route[1], hubPath+op.path) && route[0] == op.method {
				tested[route] = true
			}
		}
		assert.True(t, tested[route], "%v is not in the table", route)
	}
}

func TestFullPermissionsAreAConflict(t *testing.T) {
	t.Parallel()
	h, hub := newFake(t, rest.Options{})
	hub.err = gateway.ErrTooManyPermissions
	for _, method := range []string{"PUT", "DELETE"} {
		w := do(h, method, hubPath+"/permissions/sendToGroup/connections/c?targetName=g", "")
		wantError(t, w, http.StatusConflict, "Error.Connection.Conflict")
	}
}

func TestHealthNeedsNoToken(t *testing.T) {
	t.Parallel()
	client := openClient(t)
	h, err := rest.New(client, rest.Options{})
	require.NoError(t, err)
	for _, target := range []string{"/api/health", "/sub/api/health", "/API/Health?api-version=2024-12-01"} {
		w := serve(h, newRequest("HEAD", target, ""))
		assert.Equal(t, http.StatusOK, w.Code, target)
		assert.NotEmpty(t, w.Header().Get("api-supported-versions"))
	}
	w := serve(h, newRequest("GET", "/api/health", ""))
	wantError(t, w, http.StatusMethodNotAllowed, "Error.MethodNotAllowed")
	assert.Equal(t, "HEAD", w.Header().Get("Allow"))
	require.NoError(t, client.Close())
	assert.Equal(t, http.StatusServiceUnavailable, serve(h, newRequest("HEAD", "/api/health", "")).Code)
}
