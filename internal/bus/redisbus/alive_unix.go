//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package redisbus

import (
	"net"
	"syscall"
)

// alive reports whether a connection on which nothing is awaited is still open,
// and has said nothing. It cannot look into one of TLS, and takes it for alive.
func alive(conn net.Conn) bool {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	silent := false
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		silent = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true
	})
	return err == nil && silent
}
