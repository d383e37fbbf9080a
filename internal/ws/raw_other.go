//go:build !unix

package ws

import (
	"net"
	"syscall"
)

// Elsewhere all I/O goes through net.Conn: a goroutine for each connection
// that is being written, and a small buffer for each that is idle.

func rawConn(net.Conn) syscall.RawConn { return nil }

type rawWriter struct{}

func newRawWriter() *rawWriter { return nil }

func (*rawWriter) write(syscall.RawConn, []byte) (int, error) { return 0, nil }

type rawReader struct{}

func newRawReader() *rawReader { return nil }

func (*rawReader) read(syscall.RawConn, bool) (*readBuffer, int, error) {
	return nil, 0, net.ErrClosed
}
