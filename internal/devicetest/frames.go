package devicetest

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket" //nolint:depguard // see device.go
	"google.golang.org/protobuf/proto"

	pb "github.com/message-gateway/gateway/internal/protocol/webpubsubpb"
)

// The types of frames, with the two system frames apart.
const (
	TypeConnected    = "connected"
	TypeDisconnected = "disconnected"
	TypeAck          = "ack"
	TypeMessage      = "message"
	TypePong         = "pong"
	TypeInvoke       = "invokeResponse"
	// TypeBare is a frame for a device without subprotocol.
	TypeBare = "bare"
)

// Frame is what the node sent, whatever the subprotocol.
type Frame struct {
	Type              string          `json:"type"`
	Event             string          `json:"event"`
	ConnectionID      string          `json:"connectionId"`
	UserID            string          `json:"userId"`
	ReconnectionToken string          `json:"reconnectionToken"`
	Message           string          `json:"message"`
	SequenceID        uint64          `json:"sequenceId"`
	From              string          `json:"from"`
	Group             string          `json:"group"`
	FromUserID        string          `json:"fromUserId"`
	DataType          string          `json:"dataType"`
	Data              json.RawMessage `json:"data"`
	AckID             *uint64         `json:"ackId"`
	InvocationID      string          `json:"invocationId"`
	// Metadata and Stream belong to messages; the others to the frames of
	// streams.
	Metadata           map[string]string `json:"metadata"`
	Stream             *StreamInfo       `json:"stream"`
	StreamID           string            `json:"streamId"`
	ExpectedSequenceID uint64            `json:"expectedSequenceId"`
	Name               string            `json:"name"`
	// Items belong to the frames of group states.
	Items []StateItem `json:"items"`

	Success bool `json:"success"`
	Error   struct {
		Name    string `json:"name"`
		Message string `json:"message"`
	} `json:"error"`

	// Raw is the frame as it came, and Binary its kind.
	Raw    []byte `json:"-"`
	Binary bool   `json:"-"`
}

// Envelope is the data of a reliable message or command.
type Envelope struct {
	Kind        string          `json:"kind"`
	ID          string          `json:"id"`
	Seq         int64           `json:"seq"`
	Payload     json.RawMessage `json:"payload"`
	PayloadType string          `json:"payloadType"`
	RequestID   string          `json:"requestId"`
	Type        string          `json:"type"`
	Data        json.RawMessage `json:"data"`
	DataType    string          `json:"dataType"`
	SentAt      string          `json:"sentAt"`
	ExpiresAt   string          `json:"expiresAt"`
	Sender      struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	} `json:"sender"`

	// SequenceID is that of the frame around it.
	SequenceID uint64 `json:"-"`
}

func (d *Device) decode(op websocket.MessageType, raw []byte) (Frame, error) {
	f := Frame{Raw: raw, Binary: op == websocket.MessageBinary, Type: TypeBare}
	if !d.framed() {
		return f, nil
	}
	if d.protobuf() != f.Binary {
		return f, fmt.Errorf("frame of the wrong kind: %q", raw)
	}
	if f.Binary {
		return f, f.decodeProtobuf()
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return f, fmt.Errorf("frame is not JSON: %w: %s", err, raw)
	}
	if f.Type == "system" {
		f.Type = f.Event
	}
	return f, nil
}

func (d *Device) protobuf() bool {
	return strings.HasPrefix(strings.ToLower(d.Subprotocol()), "protobuf")
}

func (f *Frame) decodeProtobuf() error {
	var m pb.DownstreamMessage
	if err := proto.Unmarshal(f.Raw, &m); err != nil {
		return fmt.Errorf("frame is not protobuf: %w", err)
	}
	switch m := m.GetMessage().(type) {
	case *pb.DownstreamMessage_System_:
		if c := m.System.GetConnected(); c != nil {
			f.Type, f.ConnectionID, f.UserID, f.ReconnectionToken = TypeConnected, c.GetConnectionId(), c.GetUserId(), c.GetReconnectionToken()
			return nil
		}
		f.Type, f.Message = TypeDisconnected, m.System.GetDisconnected().GetReason()
	case *pb.DownstreamMessage_Ack_:
		id := m.Ack.GetAckId()
		f.Type, f.AckID, f.Success = TypeAck, &id, m.Ack.GetSuccess()
		f.Error.Name, f.Error.Message = m.Ack.GetError().GetName(), m.Ack.GetError().GetMessage()
	case *pb.DownstreamMessage_Pong_:
		f.Type = TypePong
	case *pb.DownstreamMessage_Data_:
		f.Type, f.From, f.Group, f.SequenceID = TypeMessage, m.Data.GetFrom(), m.Data.GetGroup(), m.Data.GetSequenceId()
		f.setData(m.Data.GetData())
		f.Metadata = m.Data.GetMetadata()
		f.setStream(m.Data.GetStream())
	case *pb.DownstreamMessage_StreamAck_:
		f.Type, f.StreamID, f.ExpectedSequenceID = TypeStreamAck, m.StreamAck.GetStreamId(), m.StreamAck.GetExpectedSequenceId()
	case *pb.DownstreamMessage_StreamNack_:
		f.Type, f.StreamID, f.ExpectedSequenceID = TypeStreamNack, m.StreamNack.GetStreamId(), m.StreamNack.GetExpectedSequenceId()
		f.Name, f.Message = m.StreamNack.GetName(), m.StreamNack.GetMessage()
	case *pb.DownstreamMessage_StreamClosed_:
		f.Type, f.StreamID = TypeStreamClosed, m.StreamClosed.GetStreamId()
		f.Error.Name, f.Error.Message = m.StreamClosed.GetError().GetName(), m.StreamClosed.GetError().GetMessage()
	case *pb.DownstreamMessage_GroupStateSnapshot_:
		f.Type = TypeStateSnapshot
		f.setItems(m.GroupStateSnapshot.GetGroup(), m.GroupStateSnapshot.GetSequenceId(), m.GroupStateSnapshot.GetItems())
	case *pb.DownstreamMessage_GroupStateUpdate_:
		f.Type = TypeStateUpdate
		f.setItems(m.GroupStateUpdate.GetGroup(), m.GroupStateUpdate.GetSequenceId(), m.GroupStateUpdate.GetItems())
	case *pb.DownstreamMessage_InvokeResponse_:
		f.Type, f.InvocationID, f.Success = TypeInvoke, m.InvokeResponse.GetInvocationId(), m.InvokeResponse.GetSuccess()
		f.setData(m.InvokeResponse.GetData())
		f.Error.Name, f.Error.Message = m.InvokeResponse.GetError().GetName(), m.InvokeResponse.GetError().GetMessage()
	default:
		return fmt.Errorf("unexpected protobuf frame %v", &m)
	}
	return nil
}

// setData keeps protobuf data as a JSON frame would have them.
func (f *Frame) setData(data *pb.MessageData) {
	switch data := data.GetData().(type) {
	case *pb.MessageData_TextData:
		f.DataType = "text"
		f.Data, _ = json.Marshal(data.TextData) // strings always encode
	case *pb.MessageData_BinaryData:
		f.DataType = "binary"
		f.Data, _ = json.Marshal(data.BinaryData) // bytes always encode
	case *pb.MessageData_JsonData:
		f.DataType, f.Data = "json", json.RawMessage(data.JsonData)
	case *pb.MessageData_ProtobufData:
		f.DataType = "protobuf"
		f.Data, _ = json.Marshal(marshal(data.ProtobufData)) // bytes always encode
	}
}

// Text is the data of a text message.
func (f Frame) Text() string {
	var s string
	_ = json.Unmarshal(f.Data, &s) // what is no text is empty
	return s
}

// Bytes are the data of a binary message.
func (f Frame) Bytes() []byte {
	var b []byte
	_ = json.Unmarshal(f.Data, &b) // what is not binary is empty
	return b
}

// Envelope decodes the data of a message; ok is false if they are none.
func (f Frame) Envelope() (e Envelope, ok bool) {
	if f.Type != TypeMessage || f.DataType != "json" || json.Unmarshal(f.Data, &e) != nil {
		return e, false
	}
	e.SequenceID = f.SequenceID
	return e, e.Kind == "reliable" || e.Kind == "command"
}

// Message returns the next frame, which must be a message.
func (d *Device) Message(t testing.TB) Frame {
	t.Helper()
	f := d.Next(t)
	if f.Type != TypeMessage {
		t.Fatalf("device: want a message, got %s", f.Raw)
	}
	return f
}

// Envelope returns the next frame, which must carry an envelope.
func (d *Device) Envelope(t testing.TB) Envelope {
	t.Helper()
	f := d.Message(t)
	e, ok := f.Envelope()
	if !ok {
		t.Fatalf("device: want an envelope, got %s", f.Raw)
	}
	return e
}

// SequenceAck acknowledges every frame up to a sequence number.
func (d *Device) SequenceAck(t testing.TB, sequenceID uint64) {
	t.Helper()
	if err := d.TrySequenceAck(sequenceID); err != nil {
		t.Fatal(err)
	}
}

// TrySequenceAck is SequenceAck where the connection may be over.
func (d *Device) TrySequenceAck(sequenceID uint64) error {
	if d.protobuf() {
		return d.TrySendRaw(websocket.MessageBinary, marshal(&pb.UpstreamMessage{
			Message: &pb.UpstreamMessage_SequenceAck_{SequenceAck: &pb.UpstreamMessage_SequenceAck{SequenceId: sequenceID}},
		}))
	}
	return d.TrySendRaw(websocket.MessageText, fmt.Appendf(nil, `{"type":"sequenceAck","sequenceId":%d}`, sequenceID))
}

// SendEvent sends an event with JSON data and returns its ackId.
func (d *Device) SendEvent(t testing.TB, name string, data any) uint64 {
	t.Helper()
	id, err := d.TrySendEvent(name, data)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TrySendEvent is SendEvent where the connection may be over.
func (d *Device) TrySendEvent(name string, data any) (uint64, error) {
	raw, err := json.Marshal(data)
	if err != nil {
		return 0, err
	}
	d.ackID++
	id := d.ackID
	if d.protobuf() {
		return id, d.TrySendRaw(websocket.MessageBinary, marshal(&pb.UpstreamMessage{Message: &pb.UpstreamMessage_Event_{Event: &pb.UpstreamMessage_Event{
			Event: name, AckId: &id, Data: &pb.MessageData{Data: &pb.MessageData_JsonData{JsonData: string(raw)}},
		}}}))
	}
	return id, d.TrySendRaw(websocket.MessageText, fmt.Appendf(nil, `{"type":"event","event":%q,"ackId":%d,"dataType":"json","data":%s}`, name, id, raw))
}

// AckOf returns the answer to a request. Messages that come before it stay to
// be read.
func (d *Device) AckOf(t testing.TB, id uint64) Frame {
	t.Helper()
	var others []Frame
	defer func() {
		d.mu.Lock()
		d.frames = append(others, d.frames...)
		d.mu.Unlock()
	}()
	for {
		f := d.Next(t)
		if f.Type == TypeAck && f.AckID != nil && *f.AckID == id {
			return f
		}
		others = append(others, f)
	}
}

// Event sends an event and returns its acknowledgement.
func (d *Device) Event(t testing.TB, name string, data any) Frame {
	t.Helper()
	return d.AckOf(t, d.SendEvent(t, name, data))
}

// Acknowledge sends the event "ack", as devices without sequence numbers do,
// and wants it to succeed.
func (d *Device) Acknowledge(t testing.TB, ids ...string) {
	t.Helper()
	if f := d.Event(t, "ack", map[string]any{"ids": ids}); !f.Success {
		t.Fatalf("device: acknowledgement failed: %s", f.Raw)
	}
}

// Respond answers a command and returns the acknowledgement of that.
func (d *Device) Respond(t testing.TB, requestID string, data any) Frame {
	t.Helper()
	return d.Event(t, "response", map[string]any{"requestId": requestID, "data": data})
}

// RespondError answers a command with an error.
func (d *Device) RespondError(t testing.TB, requestID, code, message string) Frame {
	t.Helper()
	return d.Event(t, "response", map[string]any{"requestId": requestID, "error": map[string]string{"code": code, "message": message}})
}

// Ping sends a ping of the protocol.
func (d *Device) Ping(t testing.TB) {
	t.Helper()
	if d.protobuf() {
		d.SendRaw(t, websocket.MessageBinary, marshal(&pb.UpstreamMessage{Message: &pb.UpstreamMessage_Ping_{Ping: &pb.UpstreamMessage_Ping{}}}))
		return
	}
	d.SendText(t, `{"type":"ping"}`)
}

// RecoveryURL is the URL with which official clients recover a connection.
func RecoveryURL(base, connectionID, token string) string {
	separator := "?"
	if strings.Contains(base, "?") {
		separator = "&"
	}
	return base + separator + "awps_connection_id=" + url.QueryEscape(connectionID) + "&awps_reconnection_token=" + url.QueryEscape(token)
}

// TryPing is Ping where the connection may be over, in the JSON subprotocols.
func (d *Device) TryPing() error {
	return d.TrySendRaw(websocket.MessageText, []byte(`{"type":"ping"}`))
}
