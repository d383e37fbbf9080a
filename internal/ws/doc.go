// Package ws holds the server side of WebSocket connections (RFC 6455) for a
// process that keeps very many of them, nearly all idle.
//
// [Accept] takes a connection over from net/http. [Conn.Serve] reads it until
// it ends and tells why. [Conn.Send] queues a [Frame], which is encoded once
// and may be shared by any number of connections.
//
// What an idle connection costs is the design: the Conn, and on Linux, if it is
// not encrypted, nothing else. It holds no buffer, no timer and no goroutine: one
// goroutine waits for all idle connections with epoll. Elsewhere, and with TLS in
// this process, each has one goroutine, parked on a small stack inside the network
// poller. Buffers come from pools when bytes arrive or leave and go back when they
// are used; writing is done by a few shared goroutines that exist only while there
// is something to write.
//
//	conn, err := ws.Accept(w, r, ws.Options{Subprotocol: chosen})
//	if err != nil {
//		return // Accept has answered the request
//	}
//	go conn.Serve(handler, func(end ws.End) { log.Print(end) })
//	// Return now: the goroutine of net/http, its large stack and its buffers
//	// are freed. The context of the request ends here.
//
// Frame headers, masking and close bodies are those of github.com/gobwas/ws;
// docs/websocket-library.md has the measurement behind that choice.
package ws
