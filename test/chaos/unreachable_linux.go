package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// hole is an address at which connecting hangs: its queue of connections to be
// accepted is full, and the kernel drops what else comes.
type hole struct {
	fd    int
	conns []net.Conn
}

func dig(addr string) (*hole, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	h := &hole{fd: fd}
	err = syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
	}
	if err == nil {
		err = syscall.Listen(fd, 0)
	}
	if err != nil {
		h.close()
		return nil, fmt.Errorf("a hole at %s: %w", addr, err)
	}
	// Those that fit are taken here, or by whoever dials just then.
	for range 10 {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		cancel()
		if err != nil {
			return h, nil
		}
		h.conns = append(h.conns, c)
	}
	h.close()
	return nil, &notRunError{"this kernel accepts connections that nobody wants"}
}

func (h *hole) close() {
	for _, c := range h.conns {
		_ = c.Close()
	}
	_ = syscall.Close(h.fd)
}
