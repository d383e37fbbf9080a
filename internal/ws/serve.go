package ws

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"unicode/utf8"

	gobwas "github.com/gobwas/ws"
)

// Handler takes the messages of one connection.
type Handler interface {
	// HandleMessage takes one whole message. The payload is valid, and may be
	// changed, until it returns. The next message is read after that, so a
	// handler that waits holds back its peer and nobody else.
	HandleMessage(op Opcode, payload []byte)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(op Opcode, payload []byte)

// HandleMessage calls f.
func (f HandlerFunc) HandleMessage(op Opcode, payload []byte) { f(op, payload) }

// errPeerClosed ends reading after the peer's close frame.
var errPeerClosed = errors.New("ws: closed by peer")

// Serve reads the connection until it ends, and then calls ended, once. It
// answers pings and close frames, closes with 1002, 1007 or 1009 what breaks the
// protocol or the limits, and hands whole messages to h, one after another. A
// panic of h closes the connection with 1011.
//
// Call it once, in a goroutine of its own. It may return long before the end:
// where the system allows, an idle connection has no goroutine, and gets one
// again when something arrives. So h and ended are called by any goroutine, but
// never by two at a time. Serve must be called even if the connection has been
// closed already. The network connection is closed when ended is called.
func (c *Conn) Serve(h Handler, ended func(End)) {
	c.handler, c.ended = h, ended
	c.serve()
}

// serve goes on reading until the connection is idle or has ended.
func (c *Conn) serve() {
	err := c.readMessages()
	for errors.Is(err, errIdle) {
		if idlers.park(c) {
			return // and c may be served by another goroutine already
		}
		c.in.stays = true
		err = c.readMessages()
	}
	if code, ok := closeCodeOf(err); ok {
		c.beginClose(End{Code: code, Reason: closeReason(err), Err: err}, true)
		c.discard()
	} else if errors.Is(err, errPeerClosed) {
		c.discard()
	}
	c.terminate(End{Code: CloseAbnormal, Err: err}, false)
	c.in.release()
	idlers.leave(c)
	c.mu.Lock()
	end := *c.end
	c.mu.Unlock()
	c.ended(end)
}

// closeReason is what a peer is told about its failure, or about ours.
func closeReason(err error) string {
	var p *PanicError
	if errors.As(err, &p) {
		return "internal error"
	}
	return err.Error()
}

// discard reads to the end, which the flusher, the peer or the close timer
// brings about.
func (c *Conn) discard() {
	c.in.release()
	c.in.disarm()
	buf := readBuffers.get()
	defer readBuffers.Put(buf)
	for {
		if _, err := c.nc.Read(buf[:]); err != nil {
			return
		}
	}
}

// readMessages returns why reading cannot go on: errIdle if it is only that
// nothing comes.
func (c *Conn) readMessages() error {
	for {
		if c.in.buffered() == 0 {
			if err := c.in.wait(); err != nil {
				return err
			}
		}
		if err := c.readMessage(); err != nil {
			return err
		}
		c.in.settle()
	}
}

// readMessage reads one message, with the control frames inside it, or one
// control frame.
func (c *Conn) readMessage() error {
	var (
		msg   assembly
		op    gobwas.OpCode
		state = gobwas.StateServerSide
	)
	defer msg.release()
	for {
		hdr, err := c.readHeader(state)
		if err != nil {
			return err
		}
		if hdr.OpCode.IsControl() {
			if err := c.control(hdr); err != nil {
				return err
			}
			if !state.Fragmented() {
				return nil
			}
			continue
		}
		if hdr.OpCode != gobwas.OpContinuation {
			op = hdr.OpCode
		}
		if c.lim.message >= 0 && hdr.Length > int64(c.lim.message-len(msg.data)) {
			return fmt.Errorf("%w: over %d bytes", ErrTooBig, c.lim.message)
		}
		if hdr.Fin && !state.Fragmented() && hdr.Length <= readBufferSize {
			payload, err := c.payload(hdr)
			if err != nil {
				return err
			}
			return c.deliver(op, payload)
		}
		part, err := msg.readFrom(&c.in, int(hdr.Length))
		if err != nil {
			return midFrame(err)
		}
		gobwas.Cipher(part, hdr.Mask, 0)
		if hdr.Fin {
			return c.deliver(op, msg.data)
		}
		state = state.Set(gobwas.StateFragmented)
	}
}

func (c *Conn) readHeader(state gobwas.State) (gobwas.Header, error) {
	hdr, err := gobwas.ReadHeaderBuffer(&c.in, c.in.hdr[:])
	switch {
	case errors.Is(err, gobwas.ErrHeaderLengthMSB), errors.Is(err, gobwas.ErrHeaderLengthUnexpected):
		return hdr, fmt.Errorf("%w: bad length", ErrProtocol)
	case err != nil:
		return hdr, midFrame(err)
	}
	if err := gobwas.CheckHeader(hdr, state); err != nil {
		return hdr, fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return hdr, nil
}

// midFrame makes an end of the stream inside a frame visible as such.
func midFrame(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// payload returns the unmasked payload of a frame that fits the read buffer.
func (c *Conn) payload(hdr gobwas.Header) ([]byte, error) {
	n := int(hdr.Length)
	if n == 0 {
		return nil, nil
	}
	if err := c.in.need(n); err != nil {
		return nil, midFrame(err)
	}
	p := c.in.take(n)
	gobwas.Cipher(p, hdr.Mask, 0)
	return p, nil
}

// deliver hands a whole message to the handler, unless the connection is closing.
func (c *Conn) deliver(op gobwas.OpCode, payload []byte) (err error) {
	if op == gobwas.OpText && !utf8.Valid(payload) {
		return fmt.Errorf("%w in a text message", ErrInvalidText)
	}
	if c.closing.Load() {
		return nil
	}
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	c.handler.HandleMessage(Opcode(op), payload)
	return nil
}

func (c *Conn) control(hdr gobwas.Header) error {
	p, err := c.payload(hdr)
	if err != nil {
		return err
	}
	switch hdr.OpCode {
	case gobwas.OpPing:
		// Counted like any frame: a peer that pings and does not read is slow.
		// That the connection is closing is no reason to stop reading.
		if err := c.Send(newFrame(gobwas.OpPong, p, nil)); errors.Is(err, ErrSlow) {
			return err
		}
	case gobwas.OpClose:
		code, reason := CloseNoStatus, ""
		if len(p) == 1 {
			return fmt.Errorf("%w: close body of one byte", ErrProtocol)
		}
		if len(p) >= 2 {
			code, reason = CloseCode(binary.BigEndian.Uint16(p)), string(p[2:])
			if !code.receivable() {
				return fmt.Errorf("%w: close code %d", ErrProtocol, code)
			}
			if !utf8.ValidString(reason) {
				return fmt.Errorf("%w in a close reason", ErrInvalidText)
			}
		}
		c.closedByPeer(code, reason)
		return errPeerClosed
	}
	return nil
}
