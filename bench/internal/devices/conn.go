package devices

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// conn is one device; only the fleet's thread uses it after the handshake.
type conn struct {
	fd int
	// rest is the beginning of a frame whose end has not come yet.
	rest []byte
	out  []byte
}

const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// dial connects, says hello, and waits for the first frame of the server.
func dial(addr string, how Connect) (*conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nc, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = nc.Close() }() // the descriptor is duplicated below
	subprotocol := ""
	if how.Subprotocol != "" {
		subprotocol = "Sec-WebSocket-Protocol: " + how.Subprotocol + "\r\n"
	}
	if _, err = fmt.Fprintf(nc, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%s"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", how.Path, addr, subprotocol); err != nil {
		return nil, err
	}
	r := bufio.NewReaderSize(nc, 4096)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	c := &conn{}
	if how.Hello != "" {
		if _, err := nc.Write(appendFrame(nil, opText, []byte(how.Hello))); err != nil {
			return nil, err
		}
	}
	if _, err := r.Peek(2); err != nil {
		return nil, err
	}
	c.rest = make([]byte, r.Buffered())
	if _, err := r.Read(c.rest); err != nil {
		return nil, err
	}
	tcp, ok := nc.(*net.TCPConn)
	if !ok {
		return nil, errors.New("not TCP")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, err
	}
	var dupErr error
	if err := raw.Control(func(fd uintptr) { c.fd, dupErr = syscall.Dup(int(fd)) }); err != nil {
		return nil, err
	}
	if dupErr != nil {
		return nil, dupErr
	}
	syscall.CloseOnExec(c.fd)
	return c, syscall.SetNonblock(c.fd, true)
}

// appendFrame appends a client's frame. Its mask is zero, which leaves the
// payload as it is.
func appendFrame(dst []byte, op byte, payload []byte) []byte {
	dst = append(dst, 0x80|op)
	if n := len(payload); n < 126 {
		dst = append(dst, 0x80|byte(n))
	} else {
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	}
	dst = append(dst, 0, 0, 0, 0)
	return append(dst, payload...)
}

// read takes what the socket has, up to a buffer full, and reports whether the
// connection lives.
func (f *Fleet) read(c *conn, buf []byte) bool {
	kept := copy(buf, c.rest)
	n, err := syscall.Read(c.fd, buf[kept:])
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		return true
	}
	if err != nil || n <= 0 {
		return false
	}
	return f.take(c, buf[:kept+n])
}

// take handles the whole frames in data and keeps the rest.
func (f *Fleet) take(c *conn, data []byte) bool {
	var sequence []byte
	for {
		op, payload, size := nextFrame(data)
		if size == 0 {
			break
		}
		data = data[size:]
		switch op {
		case opText:
			if s := f.text(c, payload); s != nil {
				sequence = s
			}
		case opPing:
			c.out = appendFrame(c.out, opPong, payload)
		case opClose:
			return false
		}
	}
	c.rest = append(c.rest[:0], data...)
	if f.opts.Ack && sequence != nil {
		c.out = appendFrame(c.out, opText, append([]byte(`{"type":"sequenceAck","sequenceId":`), append(sequence, '}')...))
	}
	return c.flush()
}

func nextFrame(data []byte) (op byte, payload []byte, size int) {
	if len(data) < 2 {
		return 0, nil, 0
	}
	n, head := int(data[1]&0x7f), 2
	switch {
	case n == 126 && len(data) >= 4:
		n, head = int(binary.BigEndian.Uint16(data[2:])), 4
	case n == 127 && len(data) >= 10:
		n, head = int(binary.BigEndian.Uint64(data[2:])), 10
	case n >= 126:
		return 0, nil, 0
	}
	if len(data) < head+n {
		return 0, nil, 0
	}
	return data[0] & 0xf, data[head : head+n], head + n
}

var (
	markTime     = []byte(`"t":`)
	markSequence = []byte(`"sequenceId":`)
	markRequest  = []byte(`"requestId":"`)

	ping, pingFirst, pingLast, pingBetween = []byte("{}"), []byte("{}\n"), []byte("\n{}"), []byte("\n{}\n")
)

// text handles a frame and returns the sequence id in it, if any.
func (f *Fleet) text(c *conn, payload []byte) (sequence []byte) {
	// Centrifuge may put several messages into a frame, a line each. A line that
	// is an empty object is its own ping.
	if bytes.Equal(payload, ping) || bytes.HasPrefix(payload, pingFirst) || bytes.HasSuffix(payload, pingLast) || bytes.Contains(payload, pingBetween) {
		c.out = appendFrame(c.out, opText, ping)
	}
	for rest := payload; ; {
		i := bytes.Index(rest, markTime)
		if i < 0 {
			break
		}
		rest = rest[i+len(markTime):]
		f.received++
		if sent, err := strconv.ParseInt(string(digits(rest)), 10, 64); err == nil && len(f.took) < maxTook {
			f.took = append(f.took, time.Duration(time.Now().UnixNano()-sent))
		}
	}
	if f.opts.Answer {
		if i := bytes.Index(payload, markRequest); i >= 0 {
			id, _, _ := bytes.Cut(payload[i+len(markRequest):], []byte{'"'})
			c.out = appendFrame(c.out, opText, fmt.Appendf(nil,
				`{"type":"event","event":"response","dataType":"json","data":{"requestId":"%s","data":{"ok":true}}}`, id))
		}
	}
	if i := bytes.Index(payload, markSequence); i >= 0 {
		return digits(payload[i+len(markSequence):])
	}
	return nil
}

func digits(b []byte) []byte {
	n := 0
	for n < len(b) && b[n] >= '0' && b[n] <= '9' {
		n++
	}
	return bytes.Clone(b[:n])
}

// flush writes what is due; what a device writes is small and fits.
func (c *conn) flush() bool {
	for len(c.out) > 0 {
		n, err := syscall.Write(c.fd, c.out)
		if errors.Is(err, syscall.EAGAIN) {
			time.Sleep(50 * time.Microsecond)
			continue
		}
		if err != nil {
			return false
		}
		c.out = c.out[:copy(c.out, c.out[n:])]
	}
	return true
}
