package rest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
	"github.com/message-gateway/gateway/rest"
)

// A node and the data plane at one address, as in Azure: devices connect to
// it, and official service clients send through it.
func ExampleNew() {
	cfg := gateway.Embedded("")
	cfg.AccessKey = "at least 32 bytes, shared with the service clients"
	client, err := gateway.New(context.Background(), cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = client.Close() }()
	n, err := node.New(client, node.Options{REST: &rest.Options{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = n.Shutdown(context.Background()) }()
	// Not behind an http.ServeMux: it would redirect some of the paths.
	server := httptest.NewServer(n)
	defer server.Close()

	// The connection string for service clients of any language:
	//	"Endpoint=" + server.URL + ";AccessKey=" + cfg.AccessKey + ";Version=1.0;"
	request, err := http.NewRequestWithContext(context.Background(), http.MethodHead, server.URL+"/api/health", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	response, err := server.Client().Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = response.Body.Close() }()
	fmt.Println(response.Status)
	fmt.Println(response.Header.Get("api-supported-versions"))
	// Output:
	// 200 OK
	// 2021-10-01, 2022-11-01, 2023-07-01, 2024-01-01, 2024-12-01
}
