package protocol

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	pb "github.com/message-gateway/gateway/internal/protocol/webpubsubpb"
)

func BenchmarkDecode(b *testing.B) {
	ack, err := proto.Marshal(&pb.UpstreamMessage{Message: &pb.UpstreamMessage_SequenceAck_{SequenceAck: &pb.UpstreamMessage_SequenceAck{SequenceId: 812}}})
	if err != nil {
		b.Fatal(err)
	}
	for _, bc := range []struct {
		name string
		sub  Subprotocol
		in   []byte
	}{
		{"json/ping", JSONv1, []byte(`{"type":"ping"}`)},
		{"json/sequenceAck", JSONv1, []byte(`{"type":"sequenceAck","sequenceId":812}`)},
		{"json/event", JSONv1, []byte(`{"type":"event","event":"ack","ackId":7,"dataType":"json","data":{"ids":["01890a5d-ac96-774b-bcce-b302099a8057"]}}`)},
		{"json/text16k", JSONv1, []byte(`{"type":"sendToGroup","group":"g","dataType":"text","data":"` + string(bytes.Repeat([]byte("x"), 16<<10)) + `"}`)},
		{"protobuf/sequenceAck", ProtobufV1, ack},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bc.in)))
			var f Frame
			for b.Loop() {
				if err := Decode(bc.sub, bc.in, &f, limits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPrefix is what one more receiver of an encoded message costs.
func BenchmarkPrefix(b *testing.B) {
	message := &Message{Group: "g", Data: Data{Type: JSON, Bytes: []byte(`{"t":"hi"}`)}}
	for _, sub := range []Subprotocol{JSONReliableV1, ProtobufReliableV1} {
		b.Run(sub.String(), func(b *testing.B) {
			tail := MessageTail(sub, message)
			buffer := make([]byte, 0, MaxPrefix)
			b.ReportAllocs()
			seq := uint64(0)
			for b.Loop() {
				seq++
				buffer = tail.AppendPrefix(buffer[:0], seq)
			}
		})
	}
}

// BenchmarkMessageTail is what a message costs once for each encoding.
func BenchmarkMessageTail(b *testing.B) {
	message := &Message{Group: "room.7", FromUserID: "u1", Data: Data{Type: JSON, Bytes: []byte(`{"t":"hi","n":1}`)}}
	for _, sub := range []Subprotocol{JSONReliableV1, ProtobufReliableV1} {
		b.Run(sub.String(), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				MessageTail(sub, message)
			}
		})
	}
}

func BenchmarkAppendAck(b *testing.B) {
	for _, sub := range []Subprotocol{JSONv1, ProtobufV1} {
		b.Run(sub.String(), func(b *testing.B) {
			buffer := make([]byte, 0, 128)
			b.ReportAllocs()
			for b.Loop() {
				buffer = AppendAck(buffer[:0], sub, 7, nil)
			}
		})
	}
}
