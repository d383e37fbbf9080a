package ws

import (
	"errors"
	"os"
	"time"
)

// readBufferSize also is the largest message that is handled without a copy.
const readBufferSize = 4 << 10

// linger is how long a busy connection is waited for with a goroutine: one that
// was heard twice in that time.
const linger = 500 * time.Millisecond

// errIdle says that nothing comes, and that nobody should wait for it.
var errIdle = errors.New("ws: idle")

type readBuffer [readBufferSize]byte

var readBuffers pool[readBuffer]

// reader buffers what the connection sends. It holds a buffer only from the
// first byte of a message until all that has arrived is used.
type reader struct {
	c     *Conn
	raw   *rawReader
	first []byte // without raw: what wait reads into
	buf   *readBuffer
	r, w  int   // buf[r:w] is read and not used
	timed bool  // a read deadline is set for the message that is being read
	busy  bool  // heard twice within linger
	stays bool  // cannot wait without a goroutine
	armed int64 // when a busy connection that is silent is idle, since epoch; 0: not set
	hdr   [12]byte
}

func (in *reader) init(c *Conn, pending []byte) {
	in.c = c
	if c.raw != nil {
		in.raw = newRawReader()
	} else {
		in.first = make([]byte, 512)
		in.stays = true
	}
	if len(pending) > 0 {
		in.buf = readBuffers.get()
		in.w = copy(in.buf[:], pending)
	}
}

func (in *reader) buffered() int { return in.w - in.r }

// wait returns when there is at least one byte, or errIdle. This is where idle
// connections are that stay: as little as possible of the stack may be in use.
func (in *reader) wait() error {
	if in.raw != nil {
		return in.waitRaw()
	}
	n, err := in.c.nc.Read(in.first)
	if n == 0 {
		return err
	}
	in.c.touch()
	in.buf = readBuffers.get()
	in.r, in.w = 0, copy(in.buf[:], in.first[:n])
	return nil
}

func (in *reader) waitRaw() error {
	for {
		if in.busy && !in.stays {
			in.arm()
		} else {
			in.disarm()
		}
		buf, n, err := in.raw.read(in.c.raw, in.stays || in.busy)
		switch {
		case n > 0:
			heard := in.c.lastRead.Load()
			in.buf, in.r, in.w = buf, 0, n
			in.busy = in.c.touch()-heard < int64(linger)
			return nil
		case err == nil:
			return errIdle
		case in.busy && errors.Is(err, os.ErrDeadlineExceeded):
			in.busy = false
		default:
			return err
		}
	}
}

// arm sets a deadline for the silence of a busy connection. It is not moved
// with every message: a busy connection may be given up in half the time.
func (in *reader) arm() {
	now := int64(time.Since(epoch))
	if in.armed > now+int64(linger/2) {
		return
	}
	in.armed = now + int64(linger)
	_ = in.c.nc.SetReadDeadline(epoch.Add(time.Duration(in.armed)))
}

// disarm takes away what arm has set.
func (in *reader) disarm() {
	if in.armed != 0 {
		in.armed = 0
		_ = in.c.nc.SetReadDeadline(time.Time{})
	}
}

// settle is called between messages: no deadline applies, and an empty buffer
// is given back.
func (in *reader) settle() {
	if in.timed {
		in.timed = false
		_ = in.c.nc.SetReadDeadline(time.Time{})
	}
	if in.buf != nil && in.buffered() == 0 {
		in.release()
	}
}

func (in *reader) release() {
	if in.buf != nil {
		readBuffers.Put(in.buf)
		in.buf, in.r, in.w = nil, 0, 0
	}
}

// read reads from the connection in the middle of a message, at least a byte.
// The time allowed runs from the first such read to the end of the message.
func (in *reader) read(p []byte) (int, error) {
	if !in.timed && in.c.lim.frame > 0 {
		in.timed, in.armed = true, 0
		_ = in.c.nc.SetReadDeadline(time.Now().Add(in.c.lim.frame))
	}
	in.disarm()
	n, err := in.c.nc.Read(p)
	if n > 0 {
		in.c.touch()
		return n, nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = ErrFrameTimeout
	}
	return 0, err
}

// need returns when n bytes, no more than the buffer takes, are buffered.
func (in *reader) need(n int) error {
	if in.buf == nil {
		in.buf = readBuffers.get()
	}
	if in.buffered() == 0 || in.r+n > len(in.buf) {
		in.w = copy(in.buf[:], in.buf[in.r:in.w])
		in.r = 0
	}
	for in.buffered() < n {
		got, err := in.read(in.buf[in.w:])
		if err != nil {
			return err
		}
		in.w += got
	}
	return nil
}

// take uses n buffered bytes. They may be changed, and stay valid until the
// next call of another method.
func (in *reader) take(n int) []byte {
	p := in.buf[in.r : in.r+n]
	in.r += n
	return p
}

// Read implements io.Reader in the middle of a message.
func (in *reader) Read(p []byte) (int, error) {
	if in.buffered() == 0 {
		if err := in.need(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.buf[in.r:in.w])
	in.r += n
	return n, nil
}

// readDirect is Read without the buffer for what has not arrived yet.
func (in *reader) readDirect(p []byte) (int, error) {
	if in.buffered() > 0 {
		return in.Read(p)
	}
	return in.read(p)
}
