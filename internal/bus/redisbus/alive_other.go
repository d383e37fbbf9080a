//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package redisbus

import "net"

// alive takes every connection for alive: here nothing looks into a socket
// without reading from it.
func alive(net.Conn) bool { return true }
