package gateway_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/message-gateway/gateway"
)

// A trace follows a command from the caller to the device and back. Client and
// node may be different processes; here they are one, and the spans stay in
// memory to be printed. Programs hand over the provider of their exporter.
func ExampleWithTracerProvider() {
	spans := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(spans))
	server := startExample(gateway.WithTracerProvider(provider)) // a client and a node
	defer server.stop()
	device := server.connect(server.Hub(gateway.DefaultHub), "user_123")
	defer device.close()

	// The trace that the send continues is in ctx.
	ctx, span := provider.Tracer("shop").Start(context.Background(), "POST /canvas")
	done := device.answering(`{"canvas":7}`)
	res, err := server.SendCommand(ctx, "user_123", "CLIENT_SERVER:CREATE_CANVAS", map[string]int{"width": 300})
	if err != nil {
		log.Fatal(err)
	}
	done()
	span.End()
	fmt.Println(string(res.Response))
	printTrace(spans, 8)
	// Output:
	// {"canvas":7}
	// POST /canvas (internal)
	//   request command/{user} (client)
	//     send command/{user} (producer)
	//       commit push_messages (internal)
	//       publish deliver:user:{user} (internal)
	//       deliver command/{user} (consumer)
	//         answer command/{user} (producer)
	//           receive ws.message.gateway.reply.{client} (consumer)
}

// printTrace prints all spans, each below its parent, in the order of their
// beginning, once there are n.
func printTrace(exporter *tracetest.InMemoryExporter, n int) {
	for len(exporter.GetSpans()) < n {
		time.Sleep(time.Millisecond) // those of acknowledgements end when they are written
	}
	children := map[string]tracetest.SpanStubs{}
	for _, s := range exporter.GetSpans() {
		children[s.Parent.SpanID().String()] = append(children[s.Parent.SpanID().String()], s)
	}
	var show func(parent, indent string)
	show = func(parent, indent string) {
		list := children[parent]
		for _, name := range []string{"POST", "request", "send", "commit", "publish", "deliver", "acknowledge", "answer", "receive"} {
			for _, s := range list {
				if strings.HasPrefix(s.Name, name) {
					fmt.Printf("%s%s (%s)\n", indent, s.Name, s.SpanKind)
					show(s.SpanContext.SpanID().String(), indent+"  ")
				}
			}
		}
	}
	show("0000000000000000", "")
}
