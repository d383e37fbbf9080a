//go:build unix

package ws

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// rawConn gives access to the socket of nc, or nil. Only the plain types of
// net count: a wrapper may have promoted their SyscallConn, and going around
// its Read and Write would be wrong.
func rawConn(nc net.Conn) syscall.RawConn {
	var sc syscall.Conn
	switch t := nc.(type) {
	case *net.TCPConn:
		sc = t
	case *net.UnixConn:
		sc = t
	default:
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// rawWriter writes to sockets without waiting. It belongs to one goroutine.
type rawWriter struct {
	try func(fd uintptr) bool // made once, a closure for each write would be garbage
	p   []byte
	n   int
	err error
}

func newRawWriter() *rawWriter {
	w := new(rawWriter)
	w.try = w.tryWrite
	return w
}

// write returns less than len(p), and no error, if the socket is full.
func (w *rawWriter) write(raw syscall.RawConn, p []byte) (int, error) {
	w.p, w.n, w.err = p, 0, nil
	err := raw.Write(w.try)
	w.p = nil
	if err == nil {
		err = w.err
	}
	return w.n, err
}

// tryWrite always reports true: done, do not wait.
func (w *rawWriter) tryWrite(fd uintptr) bool {
	for w.n < len(w.p) {
		n, err := syscall.Write(int(fd), w.p[w.n:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EAGAIN):
			return true
		case err != nil:
			w.err = os.NewSyscallError("write", err)
			return true
		}
		w.n += n
	}
	return true
}

// rawReader waits for bytes without a buffer in hand.
type rawReader struct {
	try  func(fd uintptr) bool
	wait bool
	buf  *readBuffer
	n    int
	err  error
}

func newRawReader() *rawReader {
	r := new(rawReader)
	r.try = r.tryRead
	return r
}

// read returns a pooled buffer and the number of bytes in it: none, without an
// error, if it is not to wait and nothing has come.
func (r *rawReader) read(raw syscall.RawConn, wait bool) (*readBuffer, int, error) {
	r.wait = wait
	err := raw.Read(r.try)
	buf, n := r.buf, r.n
	if err == nil {
		err = r.err
	}
	r.buf, r.n, r.err = nil, 0, nil
	return buf, n, err
}

// tryRead reports false to be called again when the socket is readable.
func (r *rawReader) tryRead(fd uintptr) bool {
	buf := readBuffers.get()
	n, err := syscall.Read(int(fd), buf[:])
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(int(fd), buf[:])
	}
	if n > 0 {
		r.buf, r.n = buf, n
		return true
	}
	readBuffers.Put(buf)
	switch {
	case errors.Is(err, syscall.EAGAIN):
		return !r.wait
	case err == nil:
		r.err = io.EOF
	default:
		r.err = os.NewSyscallError("read", err)
	}
	return true
}
