package main

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	gobwas "github.com/gobwas/ws"
	"github.com/gorilla/websocket"
	"github.com/lxzan/gws"

	"github.com/message-gateway/gateway/internal/ws"
)

// library is a server that holds connections in the best way that suits idle
// ones.
type library interface {
	// upgrade takes a connection over. read reads it until it ends and calls
	// received for each message.
	upgrade(w http.ResponseWriter, r *http.Request, received func()) (c connection, read func(), err error)
	// prepare encodes a text message once for all connections.
	prepare(payload []byte) prepared
}

// connection is whatever the library calls one.
type connection any

// prepared writes its message to a connection.
type prepared interface {
	send(c connection) error
}

var libraries = map[string]func() library{
	"gobwas/ws":         func() library { return gobwasLibrary{} },
	"lxzan/gws":         newGWS,
	"gorilla/websocket": newGorilla,
	"internal/ws":       func() library { return internalLibrary{} },
}

// gobwas/ws, with a read loop that holds no buffer while it waits and a mutex
// for writers. No write queue, no handling of fragments: the least that works.
type gobwasLibrary struct{}

type gobwasConn struct {
	mu sync.Mutex
	net.Conn
}

var payloads = sync.Pool{New: func() any { return new([4096]byte) }}

func (gobwasLibrary) upgrade(w http.ResponseWriter, r *http.Request, received func()) (connection, func(), error) {
	nc, _, _, err := gobwas.UpgradeHTTP(r, w)
	if err != nil {
		return nil, nil, err
	}
	read := func() {
		for {
			hdr, err := gobwas.ReadHeader(nc)
			if err != nil {
				return
			}
			buf, ok := payloads.Get().(*[4096]byte)
			if !ok || hdr.Length > int64(len(buf)) {
				return
			}
			if _, err := io.ReadFull(nc, buf[:hdr.Length]); err != nil {
				return
			}
			gobwas.Cipher(buf[:hdr.Length], hdr.Mask, 0)
			payloads.Put(buf)
			received()
		}
	}
	return &gobwasConn{Conn: nc}, read, nil
}

type gobwasFrame []byte

func (gobwasLibrary) prepare(payload []byte) prepared {
	return gobwasFrame(gobwas.MustCompileFrame(gobwas.NewTextFrame(payload)))
}

func (f gobwasFrame) send(c connection) error {
	conn, ok := c.(*gobwasConn)
	if !ok {
		return errOtherConnection
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := conn.Write(f)
	return err
}

// gorilla/websocket, with a small read buffer and pooled write buffers.
type gorillaLibrary struct{ upgrader websocket.Upgrader }

type gorillaConn struct {
	mu sync.Mutex
	*websocket.Conn
}

func newGorilla() library {
	return &gorillaLibrary{websocket.Upgrader{ReadBufferSize: smallBuffer, WriteBufferSize: 4096, WriteBufferPool: &sync.Pool{}}}
}

func (l *gorillaLibrary) upgrade(w http.ResponseWriter, r *http.Request, received func()) (connection, func(), error) {
	c, err := l.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, nil, err
	}
	read := func() {
		for {
			if _, _, err := c.ReadMessage(); err != nil {
				return
			}
			received()
		}
	}
	return &gorillaConn{Conn: c}, read, nil
}

type gorillaFrame struct{ *websocket.PreparedMessage }

func (l *gorillaLibrary) prepare(payload []byte) prepared {
	m, err := websocket.NewPreparedMessage(websocket.TextMessage, payload)
	if err != nil {
		panic(err)
	}
	return gorillaFrame{m}
}

func (f gorillaFrame) send(c connection) error {
	conn, ok := c.(*gorillaConn)
	if !ok {
		return errOtherConnection
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	return conn.WritePreparedMessage(f.PreparedMessage)
}

// lxzan/gws, with a small read buffer, no session map and its broadcaster,
// which writes from a goroutine of each connection.
type gwsLibrary struct{ upgrader *gws.Upgrader }

type gwsEvents struct {
	gws.BuiltinEventHandler
}

// gwsSession is what a connection carries: here the callback alone.
type gwsSession struct {
	gws.SessionStorage
	received func()
}

func newGWS() library {
	return &gwsLibrary{gws.NewUpgrader(gwsEvents{}, &gws.ServerOption{
		ReadBufferSize:   smallBuffer,
		CheckUtf8Enabled: true,
		NewSession:       func() gws.SessionStorage { return new(gwsSession) },
	})}
}

func (gwsEvents) OnMessage(c *gws.Conn, m *gws.Message) {
	_ = m.Close()
	if s, ok := c.Session().(*gwsSession); ok {
		s.received()
	}
}

func (l *gwsLibrary) upgrade(w http.ResponseWriter, r *http.Request, received func()) (connection, func(), error) {
	c, err := l.upgrader.Upgrade(w, r)
	if err != nil {
		return nil, nil, err
	}
	if s, ok := c.Session().(*gwsSession); ok {
		s.received = received
	}
	return c, c.ReadLoop, nil
}

type gwsFrame struct{ *gws.Broadcaster }

func (l *gwsLibrary) prepare(payload []byte) prepared {
	return gwsFrame{gws.NewBroadcaster(gws.OpcodeText, payload)}
}

func (f gwsFrame) send(c connection) error {
	conn, ok := c.(*gws.Conn)
	if !ok {
		return errOtherConnection
	}
	return f.Broadcast(conn)
}

// internal/ws, as the node uses it: a bounded queue for each connection, write
// timeouts, fragments, UTF-8, close handshake.
type internalLibrary struct{}

func (internalLibrary) upgrade(w http.ResponseWriter, r *http.Request, received func()) (connection, func(), error) {
	c, err := ws.Accept(w, r, ws.Options{})
	if err != nil {
		return nil, nil, err
	}
	h := ws.HandlerFunc(func(ws.Opcode, []byte) { received() })
	return c, func() { c.Serve(h, func(ws.End) {}) }, nil
}

type internalFrame ws.Frame

func (internalLibrary) prepare(payload []byte) prepared {
	return internalFrame(ws.TextFrame(payload))
}

func (f internalFrame) send(c connection) error {
	conn, ok := c.(*ws.Conn)
	if !ok {
		return errOtherConnection
	}
	return conn.Send(ws.Frame(f))
}

const (
	smallBuffer  = 256
	writeTimeout = 10 * time.Second
)

var errOtherConnection = errors.New("a connection of another library")
