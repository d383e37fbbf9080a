package node

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/message-gateway/gateway/internal/control"
	"github.com/message-gateway/gateway/internal/protocol"
	"github.com/message-gateway/gateway/internal/ws"
)

// Names of errors in acknowledgements (specification, section 3.5).
const (
	ackDuplicate     = "Duplicate"
	ackForbidden     = "Forbidden"
	ackBadRequest    = "BadRequest"
	ackInternalError = "InternalServerError"
	ackNotFound      = "NotFound"
)

// requestError is a failed request of a device; the device is told.
type requestError struct {
	name, message string
}

// Error is for logs.
func (e *requestError) Error() string { return e.name + ": " + e.message }

// HandleMessage implements ws.Handler: it handles one message of the device,
// in the goroutine that reads its socket.
func (s *session) HandleMessage(op ws.Opcode, payload []byte) {
	s.node.traffic.received()
	s.node.core.Metrics.Received.Add(context.Background(), 1)
	if s.sub == protocol.Simple {
		s.simpleMessage(op, payload)
		return
	}
	if (op == ws.OpBinary) != s.sub.Binary() {
		s.node.countRefused("opcode")
		s.closeWith(ws.CloseUnsupported, "Wrong kind of frame for the subprotocol.")
		return
	}
	var f protocol.Frame
	if err := protocol.Decode(s.sub, payload, &f, &s.node.core.Limits); err != nil {
		s.node.countRefused("frame")
		s.closeWith(ws.CloseInvalidData, "Invalid frame: "+err.Error()+".")
		return
	}
	switch f.Type {
	case protocol.Ping:
		s.reply(protocol.AppendPong(nil, s.sub))
	case protocol.SequenceAck:
		s.sequenceAck(f.SequenceID)
	case protocol.Invoke:
		s.invoke(&f)
	case protocol.CancelInvocation:
		// The device ignores a late answer; the handler is not interrupted.
	case protocol.StreamData:
		s.streamData(&f)
	case protocol.StreamEnd:
		s.streamEnd(&f)
	default:
		s.request(&f)
	}
}

// request executes a frame that can ask for an acknowledgement.
func (s *session) request(f *protocol.Frame) {
	if f.HasAckID && s.processed(f.AckID) {
		s.acknowledge(f.AckID, &requestError{ackDuplicate, "the request was processed already"})
		return
	}
	ctx, cancel := context.WithTimeout(s.node.handlers, s.node.opts.HandlerTimeout)
	defer cancel()
	var err error
	switch f.Type {
	case protocol.Event:
		err = s.event(ctx, f)
	case protocol.JoinGroup, protocol.LeaveGroup, protocol.SendToGroup:
		if f.StreamStart != nil {
			s.startStream(f)
			return
		}
		err = s.groupFrame(ctx, f)
	case protocol.SetGroupState, protocol.SubscribeGroupState, protocol.UnsubscribeGroupState:
		var answered bool
		if answered, err = s.groupStateFrame(ctx, f); answered && err == nil {
			return
		}
	default:
		// The node invokes nothing, so no device has an answer to give.
		err = &requestError{ackBadRequest, f.Type.String() + " is not expected"}
	}
	if f.HasAckID {
		s.acknowledge(f.AckID, err)
	}
}

func (s *session) processed(ackID uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acks.has(ackID)
}

// acknowledge answers a request, and remembers it if it succeeded.
func (s *session) acknowledge(ackID uint64, err error) {
	var detail *protocol.ErrorDetail
	if err != nil {
		detail = errorDetail(err)
		s.node.countRefused(requestReason(detail.Name))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.acks.add(ackID, s.node.opts.MaxAckIDs)
	}
	if s.conn != nil {
		_ = s.conn.Send(controlFrame(s.sub, protocol.AppendAck(nil, s.sub, ackID, detail)))
	}
}

// errorDetail is what a device may know of an error: the text of handlers and
// backends stays here.
func errorDetail(err error) *protocol.ErrorDetail {
	if failed := (*requestError)(nil); errors.As(err, &failed) {
		return &protocol.ErrorDetail{Name: failed.name, Message: failed.message}
	}
	return &protocol.ErrorDetail{Name: ackInternalError, Message: "the request failed"}
}

// reply sends a control frame to the device, if it is there.
func (s *session) reply(encoded []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.Send(controlFrame(s.sub, encoded))
	}
}

// sequenceAck frees the frames up to seq, and acknowledges the reliable
// messages and commands in them.
func (s *session) sequenceAck(seq uint64) {
	s.mu.Lock()
	deliveries := s.out.ack(seq, s.sub)
	s.mu.Unlock()
	if s.user != nil && len(deliveries) > 0 {
		s.user.acknowledge(s, deliveries)
	}
}

// event routes an event to the node itself or to the application.
func (s *session) event(ctx context.Context, f *protocol.Frame) error {
	if s.user != nil {
		switch f.Event {
		case eventAck:
			return s.ackEvent(ctx, f.Data)
		case eventResponse:
			return s.responseEvent(ctx, f.Data)
		}
	}
	reply, err := s.handle(ctx, f.Event, f.Data, false)
	if err == nil && reply.hasData() {
		// The answer goes out before the acknowledgement (section 3.5).
		s.send(outFrame{message: protocol.NewShared(protocol.Message{Data: reply.data()})})
	}
	return err
}

// invoke routes an invocation and answers it.
func (s *session) invoke(f *protocol.Frame) {
	ctx, cancel := context.WithTimeout(s.node.handlers, s.node.opts.HandlerTimeout)
	defer cancel()
	response := &protocol.Response{InvocationID: f.InvocationID}
	reply, err := s.handle(ctx, f.Event, f.Data, true)
	switch {
	case err != nil:
		response.Error = errorDetail(err)
	case reply.hasData():
		response.Data = reply.data()
	}
	s.reply(protocol.AppendInvokeResponse(nil, s.sub, response))
}

// simpleMessage handles a frame of a device without subprotocol: every frame
// is the event "message", or goes to the device's group (section 3.6).
func (s *session) simpleMessage(op ws.Opcode, payload []byte) {
	ctx, cancel := context.WithTimeout(s.node.handlers, s.node.opts.HandlerTimeout)
	defer cancel()
	data := protocol.Data{Type: protocol.Text, Bytes: payload}
	if op == ws.OpBinary {
		data.Type = protocol.Binary
	}
	if s.simple.group != "" {
		err := s.publish(ctx, s.simple.group, s.simple.noEcho, control.Message{DataType: data.Type.String(), Data: data.Bytes})
		switch refused := (*requestError)(nil); {
		case errors.As(err, &refused):
			s.closeWith(ws.ClosePolicyViolation, "")
		case err != nil:
			s.closeWith(ws.CloseInternalError, "")
		}
		return
	}
	reply, err := s.handle(ctx, "message", data, false)
	switch {
	case err != nil:
		s.closeWith(ws.CloseInternalError, "")
	case reply.hasData():
		s.send(outFrame{message: protocol.NewShared(protocol.Message{Data: reply.data()})})
	}
}

var (
	errNoHandler = &requestError{ackInternalError, "there is no event handler"}
	errReply     = errors.New("the reply is not JSON")
)

// handle calls the application. A panic of the handler is the failure of this
// one event.
func (s *session) handle(ctx context.Context, name string, data protocol.Data, invocation bool) (reply *Reply, err error) {
	if s.node.opts.OnEvent == nil {
		return nil, errNoHandler
	}
	defer func() {
		if p := recover(); p != nil {
			s.node.core.Log.Error("event handler panicked", "event", name, "connection_id", s.id, "panic", p)
			err = &requestError{ackInternalError, "the event handler failed"}
		}
	}()
	own := data.Clone()
	reply, err = s.node.opts.OnEvent(ctx, s.public(), Event{
		Name: name, DataType: dataTypes[own.Type], Data: own.Bytes, Invocation: invocation,
	})
	if err == nil && reply != nil && reply.DataType == JSON && len(reply.Data) > 0 && !json.Valid(reply.Data) {
		err = errReply // the device could not read the frame around it
	}
	if err != nil {
		s.node.core.Log.Info("event handler failed", "event", name, "connection_id", s.id, "error", err)
		return nil, err
	}
	if reply != nil && reply.State != nil {
		s.mu.Lock()
		s.connectionState = *reply.State
		s.mu.Unlock()
	}
	return reply, nil
}

var dataTypes = map[protocol.DataType]DataType{
	protocol.JSON: JSON, protocol.Text: Text, protocol.Binary: Binary, protocol.Protobuf: Protobuf,
}

// hasData reports whether there is something to send: a reply may only set the
// state.
func (r *Reply) hasData() bool { return r != nil && (r.DataType != "" || r.Data != nil) }

func (r *Reply) data() protocol.Data {
	for t, name := range dataTypes {
		if name == r.DataType {
			return protocol.Data{Type: t, Bytes: r.Data}
		}
	}
	return protocol.Data{Type: protocol.Binary, Bytes: r.Data}
}
