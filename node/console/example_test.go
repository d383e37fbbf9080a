package console_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
	"github.com/message-gateway/gateway/node/console"
)

// A node with its console. People open /console/ in a browser and type in the
// token; programs send it as a header.
func Example() {
	ctx := context.Background()
	client, err := gateway.New(ctx, gateway.Embedded(""))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	token := "a secret for those who run the node, 32 bytes or more"
	n, err := node.New(client, node.Options{Console: &console.Options{Token: token}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = n.Shutdown(ctx) }()
	mux := http.NewServeMux()
	mux.Handle("/client/", n)
	mux.Handle("/console/", n)
	server := httptest.NewServer(mux)
	defer server.Close()

	if _, err := client.SendReliable(ctx, "ada", "you have mail"); err != nil {
		fmt.Println(err)
		return
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/console/api/messages?user=ada", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := server.Client().Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	fmt.Println(response.Status, strings.Contains(string(body), `"status":"PENDING"`), err)
	// Output: 200 OK true <nil>
}
