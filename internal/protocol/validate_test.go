package protocol

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	pb "github.com/message-gateway/gateway/internal/protocol/webpubsubpb"
)

func TestValidNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"g": true, " g ": true, "a/b*?": true, "größe": true, "\x00": true,
		strings.Repeat("g", 1024): true, strings.Repeat("ä", 1024): true,
		"": false, " ": false, "\t\u00a0\u2003": false,
		strings.Repeat("g", 1025): false, strings.Repeat("ä", 1025): false,
	} {
		require.Equal(t, want, limits.ValidGroup(name), "group %.20q", name)
	}
	for name, want := range map[string]bool{
		"e": true, "Evt_1.2-x": true, "e" + strings.Repeat("1", 127): true,
		"": false, "1e": false, "_e": false, "e e": false, "e:f": false, "ä": false,
		"e" + strings.Repeat("1", 128): false,
	} {
		require.Equal(t, want, limits.ValidEvent(name), "event %.20q", name)
	}
	for name, want := range map[string]bool{
		"h": true, "Hub_`,.[]9": true, "h" + strings.Repeat("1", 127): true,
		"": false, "9h": false, "h-b": false, "h/b": false, "h" + strings.Repeat("1", 128): false,
	} {
		require.Equal(t, want, limits.ValidHub(name), "hub %.20q", name)
	}
}

func TestValidateMetadata(t *testing.T) {
	t.Parallel()
	big := map[string]string{}
	for i := range 8 {
		big[strings.Repeat("k", 4)+string(rune('a'+i))] = strings.Repeat("v", 1019)
	}
	require.NoError(t, limits.ValidateMetadata(big), "8 * (5+1019) = 8192")
	big["x"] = ""
	for name, m := range map[string]map[string]string{
		"total":       big,
		"empty key":   {"": "v"},
		"key char":    {"a b": "v"},
		"key unicode": {"ä": "v"},
		"key length":  {strings.Repeat("k", 257): "v"},
		"value":       {"k": "ä"},
		"newline":     {"k": "a\r\nx: y"},
		"delete":      {"k": "\x7f"},
		"value len":   {"k": strings.Repeat("v", 1025)},
	} {
		var typed *Error
		require.ErrorAs(t, limits.ValidateMetadata(m), &typed, name)
	}
	require.NoError(t, limits.ValidateMetadata(nil))
	require.NoError(t, limits.ValidateMetadata(map[string]string{"!#$%&'*+-.^_`|~09az": "a\t~ ", strings.Repeat("k", 256): strings.Repeat("v", 1024)}))
}

var limits = func() *Limits {
	l := DefaultLimits()
	return &l
}()

// TestLimitsOfFrames goes through other limits than the default ones: what is
// at the limit passes, one more does not, in both encodings.
func TestLimitsOfFrames(t *testing.T) {
	t.Parallel()
	l := &Limits{Hub: 3, Group: 4, Event: 5, MetadataKey: 6, MetadataValue: 7, Metadata: 12, TTLSeconds: 400}
	x := func(n int) string { return strings.Repeat("x", n) }
	require.True(t, l.ValidHub(x(3)))
	require.False(t, l.ValidHub(x(4)))
	send := func(group string, ttl uint32, metadata map[string]string) *pb.UpstreamMessage {
		return &pb.UpstreamMessage{Message: &pb.UpstreamMessage_SendToGroup_{SendToGroup: &pb.UpstreamMessage_SendToGroup{
			Group: group, TtlSeconds: proto.Uint32(ttl), Metadata: metadata, Data: &pb.MessageData{Data: &pb.MessageData_TextData{TextData: "d"}},
		}}}
	}
	event := func(name string) *pb.UpstreamMessage {
		return &pb.UpstreamMessage{Message: &pb.UpstreamMessage_Event_{Event: &pb.UpstreamMessage_Event{
			Event: name, Data: &pb.MessageData{Data: &pb.MessageData_TextData{TextData: "d"}},
		}}}
	}
	sendJSON := func(group string, ttl int, metadata string) string {
		return fmt.Sprintf(`{"type":"sendToGroup","group":%q,"ttlSeconds":%d,"metadata":%s,"dataType":"text","data":"d"}`, group, ttl, metadata)
	}
	eventJSON := func(name string) string {
		return fmt.Sprintf(`{"type":"event","event":%q,"dataType":"text","data":"d"}`, name)
	}
	for name, c := range map[string]struct {
		json   string
		binary *pb.UpstreamMessage
		ok     bool
	}{
		"group":                    {sendJSON("äxxx", 0, `{}`), send("äxxx", 0, nil), true},
		"group, one more":          {sendJSON("äxxxx", 0, `{}`), send("äxxxx", 0, nil), false},
		"event":                    {eventJSON(x(5)), event(x(5)), true},
		"event, one more":          {eventJSON(x(6)), event(x(6)), false},
		"ttl":                      {sendJSON("g", 400, `{}`), send("g", 400, nil), true},
		"ttl, one more":            {sendJSON("g", 401, `{}`), send("g", 401, nil), false},
		"metadata key":             {sendJSON("g", 0, `{"xxxxxx":""}`), send("g", 0, map[string]string{x(6): ""}), true},
		"metadata key, one more":   {sendJSON("g", 0, `{"xxxxxxx":""}`), send("g", 0, map[string]string{x(7): ""}), false},
		"metadata value":           {sendJSON("g", 0, `{"x":"xxxxxxx"}`), send("g", 0, map[string]string{"x": x(7)}), true},
		"metadata value, one more": {sendJSON("g", 0, `{"x":"xxxxxxxx"}`), send("g", 0, map[string]string{"x": x(8)}), false},
		"metadata":                 {sendJSON("g", 0, `{"x":"xxxxxxx","y":"xxx"}`), send("g", 0, map[string]string{"x": x(7), "y": x(3)}), true},
		"metadata, one more":       {sendJSON("g", 0, `{"x":"xxxxxxx","y":"xxxx"}`), send("g", 0, map[string]string{"x": x(7), "y": x(4)}), false},
	} {
		wire, err := proto.Marshal(c.binary)
		require.NoError(t, err)
		for encoding, err := range map[string]error{
			"JSON": Decode(JSONv1, []byte(c.json), &Frame{}, l), "protobuf": Decode(ProtobufV1, wire, &Frame{}, l),
		} {
			var typed *Error
			switch {
			case c.ok:
				require.NoError(t, err, "%s %s", encoding, name)
			default:
				require.ErrorAs(t, err, &typed, "%s %s", encoding, name)
			}
		}
	}
	var f Frame
	require.NoError(t, Decode(JSONv1, []byte(sendJSON("g", 400, `{}`)), &f, l))
	require.Equal(t, uint32(400), f.TTLSeconds)
	require.ErrorContains(t, Decode(JSONv1, []byte(sendJSON("g", 401, `{}`)), &f, l), "from 0 to 400")
}
