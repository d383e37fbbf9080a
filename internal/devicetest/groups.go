package devicetest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket" //nolint:depguard // see device.go
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	pb "github.com/message-gateway/gateway/internal/protocol/webpubsubpb"
)

// The types of the frames of streams.
const (
	TypeStreamAck    = "streamAck"
	TypeStreamNack   = "streamNack"
	TypeStreamClosed = "streamClosed"
)

// StreamInfo says which part of a stream a message is.
type StreamInfo struct {
	StreamID         string `json:"streamId"`
	StreamSequenceID uint64 `json:"streamSequenceId"`
	EndOfStream      bool   `json:"endOfStream"`
	Error            *struct {
		Name          string `json:"name"`
		Message       string `json:"message"`
		UserErrorCode string `json:"userErrorCode"`
	} `json:"error"`
}

func (f *Frame) setStream(info *pb.DownstreamMessage_StreamInfo) {
	if info == nil {
		return
	}
	raw, _ := json.Marshal(map[string]any{ // plain values always encode
		"streamId": info.GetStreamId(), "streamSequenceId": info.GetStreamSequenceId(), "endOfStream": info.GetEndOfStream(),
	})
	f.Stream = &StreamInfo{}
	_ = json.Unmarshal(raw, f.Stream) // as it was encoded
	if e := info.GetError(); e != nil {
		raw, _ = json.Marshal(map[string]any{"error": map[string]string{
			"name": e.GetName(), "message": e.GetMessage(), "userErrorCode": e.GetUserErrorCode(),
		}})
		_ = json.Unmarshal(raw, f.Stream)
	}
}

// GroupMessage is what a device sends to a group.
type GroupMessage struct {
	Group string
	// DataType is text if empty. Data are the text, the JSON source, or the
	// bytes; those of protobuf are an encoded Any.
	DataType   string
	Data       string
	NoEcho     bool
	TTLSeconds int
	Metadata   map[string]string
	// AckID asks for an acknowledgement.
	AckID *uint64
}

// NextAckID is a number that the device has not used.
func (d *Device) NextAckID() *uint64 {
	d.ackID++
	id := d.ackID
	return &id
}

// PostToGroup sends a message to a group and waits for nothing.
func (d *Device) PostToGroup(t testing.TB, m GroupMessage) {
	t.Helper()
	if d.protobuf() {
		up := &pb.UpstreamMessage_SendToGroup{Group: m.Group, AckId: m.AckID, Metadata: m.Metadata, Data: protobufData(m.DataType, m.Data)}
		if m.NoEcho {
			up.NoEcho = &m.NoEcho
		}
		if m.TTLSeconds > 0 {
			up.TtlSeconds = proto.Uint32(uint32(m.TTLSeconds))
		}
		d.SendProtobuf(t, &pb.UpstreamMessage{Message: &pb.UpstreamMessage_SendToGroup_{SendToGroup: up}})
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, `{"type":"sendToGroup","group":%s,"noEcho":%t`, quote(m.Group), m.NoEcho)
	if m.AckID != nil {
		fmt.Fprintf(&b, `,"ackId":%d`, *m.AckID)
	}
	if m.TTLSeconds > 0 {
		fmt.Fprintf(&b, `,"ttlSeconds":%d`, m.TTLSeconds)
	}
	if m.Metadata != nil {
		raw, _ := json.Marshal(m.Metadata) // strings always encode
		fmt.Fprintf(&b, `,"metadata":%s`, raw)
	}
	d.SendText(t, b.String()+jsonData(m.DataType, m.Data)+"}")
}

// SendToGroup sends a message to a group and returns the acknowledgement.
func (d *Device) SendToGroup(t testing.TB, m GroupMessage) Frame {
	t.Helper()
	if m.AckID == nil {
		m.AckID = d.NextAckID()
	}
	d.PostToGroup(t, m)
	return d.AckOf(t, *m.AckID)
}

// Join asks to join a group and returns the acknowledgement.
func (d *Device) Join(t testing.TB, group string) Frame {
	t.Helper()
	id := d.NextAckID()
	d.PostJoin(t, group, id)
	return d.AckOf(t, *id)
}

// PostJoin asks to join a group and waits for nothing.
func (d *Device) PostJoin(t testing.TB, group string, ackID *uint64) {
	t.Helper()
	if d.protobuf() {
		d.SendProtobuf(t, &pb.UpstreamMessage{Message: &pb.UpstreamMessage_JoinGroup_{
			JoinGroup: &pb.UpstreamMessage_JoinGroup{Group: group, AckId: ackID},
		}})
		return
	}
	d.SendText(t, fmt.Sprintf(`{"type":"joinGroup","group":%s%s}`, quote(group), jsonAckID(ackID)))
}

// Leave asks to leave a group and returns the acknowledgement.
func (d *Device) Leave(t testing.TB, group string) Frame {
	t.Helper()
	id := d.NextAckID()
	if d.protobuf() {
		d.SendProtobuf(t, &pb.UpstreamMessage{Message: &pb.UpstreamMessage_LeaveGroup_{
			LeaveGroup: &pb.UpstreamMessage_LeaveGroup{Group: group, AckId: id},
		}})
	} else {
		d.SendText(t, fmt.Sprintf(`{"type":"leaveGroup","group":%s%s}`, quote(group), jsonAckID(id)))
	}
	return d.AckOf(t, *id)
}

// StartStream opens a stream to a group; an idle timeout of 0 is the node's.
func (d *Device) StartStream(t testing.TB, group, id string, idleTimeoutMillis int, noEcho bool) {
	t.Helper()
	if d.protobuf() {
		start := &pb.UpstreamMessage_StreamStart{StreamId: id}
		if idleTimeoutMillis > 0 {
			start.IdleTimeoutMs = proto.Uint32(uint32(idleTimeoutMillis))
		}
		d.SendProtobuf(t, &pb.UpstreamMessage{Message: &pb.UpstreamMessage_SendToGroup_{
			SendToGroup: &pb.UpstreamMessage_SendToGroup{Group: group, NoEcho: &noEcho, Stream: start},
		}})
		return
	}
	idle := ""
	if idleTimeoutMillis != 0 {
		idle = fmt.Sprintf(`,"idleTimeoutMs":%d`, idleTimeoutMillis)
	}
	d.SendText(t, fmt.Sprintf(`{"type":"sendToGroup","group":%s,"noEcho":%t,"stream":{"streamId":%s%s}}`, quote(group), noEcho, quote(id), idle))
}

// StreamData sends a text as one part of a stream.
func (d *Device) StreamData(t testing.TB, id string, sequenceID uint64, text string) {
	t.Helper()
	if err := d.TryStreamData(id, sequenceID, text); err != nil {
		t.Fatal(err)
	}
}

// TryStreamData is StreamData where the connection may be over.
func (d *Device) TryStreamData(id string, sequenceID uint64, text string) error {
	if d.protobuf() {
		return d.TrySendRaw(websocket.MessageBinary, marshal(&pb.UpstreamMessage{Message: &pb.UpstreamMessage_StreamData_{
			StreamData: &pb.UpstreamMessage_StreamData{StreamId: id, StreamSequenceId: &sequenceID, Data: protobufData("text", text)},
		}}))
	}
	return d.TrySendRaw(websocket.MessageText, fmt.Appendf(nil, `{"type":"streamData","streamId":%s,"streamSequenceId":%d%s}`,
		quote(id), sequenceID, jsonData("text", text)))
}

// StreamKeepAlive says that a stream goes on.
func (d *Device) StreamKeepAlive(t testing.TB, id string) {
	t.Helper()
	if d.protobuf() {
		d.SendProtobuf(t, &pb.UpstreamMessage{Message: &pb.UpstreamMessage_StreamData_{StreamData: &pb.UpstreamMessage_StreamData{StreamId: id}}})
		return
	}
	d.SendText(t, fmt.Sprintf(`{"type":"streamData","streamId":%s}`, quote(id)))
}

// EndStream ends a stream, with an error if it has a message or a code.
func (d *Device) EndStream(t testing.TB, id, message, code string) {
	t.Helper()
	failed := message != "" || code != ""
	if d.protobuf() {
		end := &pb.UpstreamMessage_StreamEnd{StreamId: id}
		if failed {
			end.Error = &pb.UpstreamMessage_StreamEnd_Error{Message: &message, UserErrorCode: &code}
		}
		d.SendProtobuf(t, &pb.UpstreamMessage{Message: &pb.UpstreamMessage_StreamEnd_{StreamEnd: end}})
		return
	}
	detail := ""
	if failed {
		detail = fmt.Sprintf(`,"error":{"message":%s,"userErrorCode":%s}`, quote(message), quote(code))
	}
	d.SendText(t, fmt.Sprintf(`{"type":"streamEnd","streamId":%s%s}`, quote(id), detail))
}

// SendProtobuf sends one frame of a protobuf subprotocol.
func (d *Device) SendProtobuf(t testing.TB, m *pb.UpstreamMessage) {
	t.Helper()
	d.SendRaw(t, websocket.MessageBinary, marshal(m))
}

func protobufData(dataType, data string) *pb.MessageData {
	switch dataType {
	case "json":
		return &pb.MessageData{Data: &pb.MessageData_JsonData{JsonData: data}}
	case "binary":
		return &pb.MessageData{Data: &pb.MessageData_BinaryData{BinaryData: []byte(data)}}
	case "protobuf":
		var message anypb.Any
		if err := proto.Unmarshal([]byte(data), &message); err != nil {
			panic(err) // a test that does not know what it sends
		}
		return &pb.MessageData{Data: &pb.MessageData_ProtobufData{ProtobufData: &message}}
	default:
		return &pb.MessageData{Data: &pb.MessageData_TextData{TextData: data}}
	}
}

func jsonData(dataType, data string) string {
	switch dataType {
	case "json":
		return `,"dataType":"json","data":` + data
	case "binary", "protobuf":
		return fmt.Sprintf(`,"dataType":%q,"data":%q`, dataType, base64.StdEncoding.EncodeToString([]byte(data)))
	default:
		return `,"dataType":"text","data":` + quote(data)
	}
}

func jsonAckID(id *uint64) string {
	if id == nil {
		return ""
	}
	return fmt.Sprintf(`,"ackId":%d`, *id)
}

func quote(text string) string {
	raw, _ := json.Marshal(text) // strings always encode
	return string(raw)
}
