package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	gobwas "github.com/gobwas/ws"
)

const (
	payloadSize = 200
	frameSize   = 4 + payloadSize // of the server, unmasked
	perAddress  = 20_000          // connections from one source address, below the range of ports
)

// clients are all clients of one server, in one process.
type clients struct {
	addr     string
	conns    []net.Conn
	received atomic.Int64 // bytes
	frame    []byte
}

// runClients answers the commands of the parent until its input ends.
func runClients(addr string) error {
	_ = raiseFileLimit() // the parent has checked it
	c := &clients{addr: addr}
	payload := make([]byte, payloadSize)
	for i := range payload {
		payload[i] = 'x'
	}
	c.frame = gobwas.MustCompileFrame(gobwas.MaskFrame(gobwas.NewTextFrame(payload)))
	return serve(map[string]func(n int) (any, error){
		"open":    c.open,
		"send":    c.send,
		"receive": c.waitReceived,
	})
}

// open connects until there are n connections.
func (c *clients) open(n int) (any, error) {
	const parallel = 32
	first := len(c.conns)
	c.conns = append(c.conns, make([]net.Conn, n-first)...)
	var next atomic.Int64
	next.Store(int64(first))
	errs := make(chan error, parallel)
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				conn, err := c.dial(i)
				if err != nil {
					errs <- fmt.Errorf("connection %d: %w", i, err)
					return
				}
				c.conns[i] = conn
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return nil, err
	default:
		return nil, nil
	}
}

func (c *clients) dial(i int) (net.Conn, error) {
	d := net.Dialer{KeepAlive: -1}
	if i >= perAddress {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i/perAddress))}
		d.Control = lateBind
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", c.addr)
	if err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 512), nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	go func() {
		buf := make([]byte, 4*frameSize)
		for {
			n, err := conn.Read(buf)
			c.received.Add(int64(n))
			if err != nil {
				return
			}
		}
	}()
	return conn, nil
}

// lateBind leaves the choice of the port to connect: a port need only be free
// for this server and not for every address in the world.
func lateBind(_, _ string, c syscall.RawConn) error {
	const ipBindAddressNoPort = 24 // IP_BIND_ADDRESS_NO_PORT of Linux
	var setErr error
	err := c.Control(func(fd uintptr) {
		setErr = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
	})
	return errors.Join(err, setErr)
}

// send writes n messages on each connection, one after another.
func (c *clients) send(n int) (any, error) {
	for range n {
		for _, conn := range c.conns {
			if _, err := conn.Write(c.frame); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// waitReceived waits until n messages in all have arrived.
func (c *clients) waitReceived(n int) (any, error) {
	return nil, waitFor(func() bool { return c.received.Load() >= int64(n)*frameSize })
}
