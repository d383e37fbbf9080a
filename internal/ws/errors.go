package ws

import (
	"errors"
	"fmt"
)

// CloseCode is a WebSocket close code (RFC 6455 section 7.4).
type CloseCode uint16

// The close codes this package sends or reports. Applications may use 3000 to
// 4999 as well.
const (
	CloseNormal          CloseCode = 1000
	CloseGoingAway       CloseCode = 1001
	CloseProtocolError   CloseCode = 1002
	CloseUnsupported     CloseCode = 1003
	CloseNoStatus        CloseCode = 1005 // reported only: the peer gave no code
	CloseAbnormal        CloseCode = 1006 // reported only: no close frame came
	CloseInvalidData     CloseCode = 1007
	ClosePolicyViolation CloseCode = 1008
	CloseTooBig          CloseCode = 1009
	CloseInternalError   CloseCode = 1011
)

// Errors of Send and Ping, and causes in [End.Err]; test them with errors.Is.
var (
	// ErrClosed: the connection is closing or closed; nothing was queued.
	ErrClosed = errors.New("ws: connection closed")
	// ErrSlow: the peer reads too slowly, its queue was full, and the
	// connection has been dropped.
	ErrSlow = errors.New("ws: slow consumer")
	// ErrWriteTimeout: the peer took no bytes for Options.WriteTimeout.
	ErrWriteTimeout = errors.New("ws: write timeout")
	// ErrFrameTimeout: a message was begun and not finished within
	// Options.FrameTimeout.
	ErrFrameTimeout = errors.New("ws: frame timeout")
	// ErrProtocol: the peer broke RFC 6455 (close code 1002).
	ErrProtocol = errors.New("ws: protocol error")
	// ErrInvalidText: a text message or close reason is not UTF-8 (1007).
	ErrInvalidText = errors.New("ws: invalid UTF-8")
	// ErrTooBig: a message is larger than Options.MaxMessage (1009).
	ErrTooBig = errors.New("ws: message too big")
	// ErrAborted is the cause where Abort was given none.
	ErrAborted = errors.New("ws: connection aborted")
)

// PanicError is the cause of an end that a panic of the handler brought about.
// One bad message must not take the other connections of the process down.
type PanicError struct {
	Value any
	Stack []byte
}

// Error implements error. It leaves the stack out.
func (e *PanicError) Error() string { return fmt.Sprintf("ws: handler panicked: %v", e.Value) }

// HandshakeError is a request that is no acceptable WebSocket handshake.
// Accept has answered it with Status and Text.
type HandshakeError struct {
	Status int
	Text   string
}

// Error implements error.
func (e *HandshakeError) Error() string { return "ws: handshake: " + e.Text }

// End says how a connection ended.
type End struct {
	// Code is the close code: the peer's if ByPeer (1005 if it gave none),
	// ours if this side closed first, 1006 if there was no close frame.
	Code CloseCode
	// Reason is the text that went with Code.
	Reason string
	// ByPeer reports that the peer's close frame came before ours.
	ByPeer bool
	// Err is the cause, nil for a close that one side simply asked for: one of
	// the errors above, the argument of Abort, or an error of the network
	// (io.EOF where the peer just went away).
	Err error
}

// String is for log lines.
func (e End) String() string {
	who := "by us"
	if e.ByPeer {
		who = "by peer"
	}
	if e.Err != nil {
		return fmt.Sprintf("%d %s: %v", e.Code, who, e.Err)
	}
	return fmt.Sprintf("%d %s %q", e.Code, who, e.Reason)
}

// closeCodeOf is the code that answers a failure of the peer or the handler;
// false where the connection itself is gone and no close frame could follow.
func closeCodeOf(err error) (CloseCode, bool) {
	var p *PanicError
	switch {
	case errors.Is(err, ErrProtocol):
		return CloseProtocolError, true
	case errors.Is(err, ErrInvalidText):
		return CloseInvalidData, true
	case errors.Is(err, ErrTooBig):
		return CloseTooBig, true
	case errors.As(err, &p):
		return CloseInternalError, true
	}
	return 0, false
}

// receivable reports whether a peer may put the code into a close frame: those
// registered with IANA except the ones that never travel, and the ranges of
// libraries and applications.
func (c CloseCode) receivable() bool {
	switch {
	case c == 1004, c == CloseNoStatus, c == CloseAbnormal:
		return false
	case c >= 1000 && c <= 1014:
		return true
	}
	return c >= 3000 && c <= 4999
}
