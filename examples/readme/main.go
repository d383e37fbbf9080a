package main

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/node"
)

func main() {
	ctx := context.Background()
	client := must(gateway.New(ctx, gateway.Embedded(""))) // no services: everything in this process
	defer func() { _ = client.Close() }()
	devices := must(node.New(client, node.Options{})) // an http.Handler for the devices' WebSockets
	server := &http.Server{Addr: "127.0.0.1:8080", Handler: devices, ReadHeaderTimeout: 5 * time.Second}
	go func() { log.Fatal(server.ListenAndServe()) }()
	log.Println("message", must(client.SendReliable(ctx, "ada", "you have mail")), "is stored, ada is away")
	log.Println("waiting at", must(client.ClientAccessToken(ctx, "ada", gateway.WithEndpoint("http://127.0.0.1:8080"))).URL)
	log.Println("ada answered", must(gateway.Call[string](ctx, client, "ada", "ASK_MOOD", "how are you?")))
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
