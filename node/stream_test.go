package node_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway"
	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

var _ = add(map[string]func(*testing.T, *world){
	"stream/whole":         testStreamWhole,
	"stream/start":         testStreamStart,
	"stream/numbers":       testStreamNumbers,
	"stream/endWithError":  testStreamEndWithError,
	"stream/noEcho":        testStreamNoEcho,
	"stream/idle":          testStreamIdle,
	"stream/idleRace":      testStreamIdleRace,
	"stream/publisherGone": testStreamPublisherGone,
	"stream/revoked":       testStreamRevoked,
	"stream/recovered":     testStreamRecovered,
	"stream/movedInFlight": testStreamMovedInFlight,
})

// wantStreamAck wants the next frame to acknowledge the parts below a number.
func wantStreamAck(t *testing.T, d *devicetest.Device, id string, expected uint64) {
	t.Helper()
	f := d.Next(t)
	require.Equal(t, devicetest.TypeStreamAck, f.Type, string(f.Raw))
	require.Equal(t, id, f.StreamID)
	require.Equal(t, expected, f.ExpectedSequenceID)
}

// wantStreamClosed wants the next frame to end a stream, with an error of this
// name unless it is empty.
func wantStreamClosed(t *testing.T, d *devicetest.Device, id, name string) {
	t.Helper()
	f := d.Next(t)
	require.Equal(t, devicetest.TypeStreamClosed, f.Type, string(f.Raw))
	require.Equal(t, id, f.StreamID)
	require.Equal(t, name, f.Error.Name, f.Error.Message)
}

// wantPart wants the next frame to be a part of a stream.
func wantPart(t *testing.T, d *devicetest.Device, id string, number uint64, text string) {
	t.Helper()
	f := d.Message(t)
	require.NotNil(t, f.Stream, string(f.Raw))
	require.Equal(t, id, f.Stream.StreamID)
	require.Equal(t, number, f.Stream.StreamSequenceID, f.Text())
	require.False(t, f.Stream.EndOfStream)
	require.Nil(t, f.Stream.Error)
	require.Equal(t, text, f.Text())
}

// wantEnd wants the next frame to be the terminal one of a stream.
func wantEnd(t *testing.T, d *devicetest.Device, id string, number uint64, failure string) devicetest.Frame {
	t.Helper()
	f := d.Message(t)
	require.NotNil(t, f.Stream, string(f.Raw))
	require.Equal(t, id, f.Stream.StreamID)
	require.True(t, f.Stream.EndOfStream, string(f.Raw))
	require.Equal(t, number, f.Stream.StreamSequenceID)
	require.NotEmpty(t, f.DataType, "official clients drop data without a type")
	if failure == "" {
		require.Nil(t, f.Stream.Error)
		return f
	}
	require.NotNil(t, f.Stream.Error)
	require.Equal(t, failure, f.Stream.Error.Name)
	return f
}

// streamed is a publisher with a stream on one node, and its subscribers on
// both.
type streamed struct {
	a, b        *host
	hub         *hubOf
	publisher   *devicetest.Device
	subscribers []*devicetest.Device
	url         string // of the publisher
}

func newStreamed(t *testing.T, w *world, opts node.Options, subprotocol string) *streamed {
	t.Helper()
	s := &streamed{a: w.node(t, opts), b: w.node(t, opts), hub: newHub(t, w)}
	member := gateway.WithGroups("g")
	s.subscribers = []*devicetest.Device{
		s.hub.connect(s.a, "", devicetest.JSON, member), s.hub.connect(s.b, "", devicetest.Reliable, member),
		s.hub.connect(s.b, "", devicetest.ProtobufReliable, member),
	}
	access, err := s.hub.ClientAccessToken(t.Context(), "pub", gateway.WithEndpoint(s.a.server.URL), anyRoles)
	require.NoError(t, err)
	s.url = access.URL
	s.publisher = devicetest.Connect(t, devicetest.Options{URL: s.url, Subprotocol: subprotocol})
	return s
}

func (s *streamed) open(t *testing.T, id string, idleMillis int) {
	t.Helper()
	s.publisher.StartStream(t, "g", id, idleMillis, false)
	wantStreamAck(t, s.publisher, id, 1)
}

func (s *streamed) wantEnd(t *testing.T, id string, number uint64, failure string) {
	t.Helper()
	for _, d := range s.subscribers {
		wantEnd(t, d, id, number, failure)
	}
}

func testStreamWhole(t *testing.T, w *world) {
	for _, sub := range pubsub {
		s := newStreamed(t, w, node.Options{}, sub)
		s.open(t, "one", 0)
		s.open(t, "two", 1000)
		for i := range uint64(5) {
			s.publisher.StreamData(t, "one", i+1, fmt.Sprint("part ", i+1))
			s.publisher.StreamData(t, "two", i+1, fmt.Sprint("other ", i+1))
			wantStreamAck(t, s.publisher, "one", i+2)
			wantStreamAck(t, s.publisher, "two", i+2)
		}
		s.publisher.StreamKeepAlive(t, "one")
		s.publisher.EndStream(t, "one", "", "")
		wantStreamClosed(t, s.publisher, "one", "")
		s.publisher.EndStream(t, "two", "", "")
		wantStreamClosed(t, s.publisher, "two", "")
		for _, d := range s.subscribers {
			for i := range uint64(5) {
				wantPart(t, d, "one", i+1, fmt.Sprint("part ", i+1))
				wantPart(t, d, "two", i+1, fmt.Sprint("other ", i+1))
			}
			f := wantEnd(t, d, "one", 6, "")
			assert.Empty(t, f.Text())
			assert.Equal(t, []string{"group", "g"}, []string{f.From, f.Group})
			wantEnd(t, d, "two", 6, "")
		}
		// Its id can be used again, and what belonged to the old one is over.
		s.publisher.StreamData(t, "one", 6, "late")
		wantStreamClosed(t, s.publisher, "one", "StreamNotFound")
		s.open(t, "one", 0)
		s.publisher.Close(websocket.StatusNormalClosure)
		s.wantEnd(t, "one", 1, "Cancelled")
	}
}

func testStreamStart(t *testing.T, w *world) {
	a := w.node(t, node.Options{})
	h := newHub(t, w)
	for _, sub := range pubsub {
		d := h.connect(a, "", sub, gateway.WithRoles("webpubsub.sendToGroup.g"))
		d.StartStream(t, "other", "s", 0, false)
		wantStreamClosed(t, d, "s", "Forbidden")
		d.StartStream(t, "g", "s", 24*60*60*1000+1, false)
		wantStreamClosed(t, d, "s", "BadRequest")
		d.StartStream(t, "g", "s", 60_000, false)
		wantStreamAck(t, d, "s", 1)
		d.StartStream(t, "g", "s", 60_000, false)
		wantStreamClosed(t, d, "s", "BadRequest")
		d.StreamData(t, "s", 1, "the first one lives")
		wantStreamAck(t, d, "s", 2)
		for i := range 99 {
			d.StartStream(t, "g", fmt.Sprint(i), 0, false)
			wantStreamAck(t, d, fmt.Sprint(i), 1)
		}
		d.StartStream(t, "g", "too many", 0, false)
		wantStreamClosed(t, d, "too many", "BadRequest")
		d.EndStream(t, "0", "", "")
		wantStreamClosed(t, d, "0", "")
		d.StartStream(t, "g", "not too many", 0, false)
		wantStreamAck(t, d, "not too many", 1)
	}
	for _, idle := range []int{-1, math32min} {
		d := h.connect(a, "", devicetest.JSON, anyRoles)
		d.StartStream(t, "g", "s", idle, false)
		wantStreamClosed(t, d, "s", "BadRequest")
	}
	d := h.connect(a, "", devicetest.JSON, anyRoles)
	d.SendText(t, `{"type":"sendToGroup","group":"g","stream":{"streamId":"s","idleTimeoutMs":0}}`)
	wantStreamClosed(t, d, "s", "BadRequest")
	d.SendText(t, `{"type":"sendToGroup","group":"g","stream":{"streamId":"s","idleTimeoutMs":9223372036854775807}}`)
	wantStreamClosed(t, d, "s", "BadRequest")
	// An ackId has no meaning there: nothing but the streamAck answers.
	d.SendText(t, `{"type":"sendToGroup","group":"g","ackId":1,"stream":{"streamId":"s"}}`)
	wantStreamAck(t, d, "s", 1)
	assert.Empty(t, untilPong(t, d))
}

const math32min = -1 << 31

func testStreamNumbers(t *testing.T, w *world) {
	for _, sub := range []string{devicetest.JSON, devicetest.ProtobufReliable} {
		s := newStreamed(t, w, node.Options{}, sub)
		d := s.publisher
		d.StreamData(t, "never", 1, "x")
		wantStreamClosed(t, d, "never", "StreamNotFound")
		d.StreamKeepAlive(t, "never")
		wantStreamClosed(t, d, "never", "StreamNotFound")
		d.EndStream(t, "never", "", "")
		wantStreamClosed(t, d, "never", "StreamNotFound")

		s.open(t, "s", 0)
		nack := func(expected uint64) {
			t.Helper()
			f := d.Next(t)
			require.Equal(t, devicetest.TypeStreamNack, f.Type, string(f.Raw))
			require.Equal(t, []any{"s", "InvalidSequenceId", expected}, []any{f.StreamID, f.Name, f.ExpectedSequenceID})
			require.NotEmpty(t, f.Message)
		}
		d.StreamData(t, "s", 2, "too early")
		nack(1)
		d.StreamData(t, "s", 1, "one")
		wantStreamAck(t, d, "s", 2)
		d.StreamData(t, "s", 1, "one again, and different")
		wantStreamAck(t, d, "s", 2)
		d.StreamData(t, "s", 1<<63, "far too early")
		nack(2)
		d.StreamData(t, "s", 2, "two")
		wantStreamAck(t, d, "s", 3)
		d.EndStream(t, "s", "", "")
		wantStreamClosed(t, d, "s", "")
		for _, r := range s.subscribers {
			wantPart(t, r, "s", 1, "one")
			wantPart(t, r, "s", 2, "two")
			wantEnd(t, r, "s", 3, "")
			assert.Empty(t, untilPong(t, r))
		}
	}
	s := newStreamed(t, w, node.Options{}, devicetest.JSON)
	s.open(t, "s", 0)
	s.publisher.SendText(t, `{"type":"streamData","streamId":"s","streamSequenceId":0,"dataType":"text","data":"x"}`)
	assert.Equal(t, code16(1007), s.publisher.Ended(t), "numbers begin with 1")
	s.wantEnd(t, "s", 1, "Cancelled")
}

func testStreamEndWithError(t *testing.T, w *world) {
	for _, sub := range []string{devicetest.Reliable, devicetest.Protobuf} {
		s := newStreamed(t, w, node.Options{}, sub)
		s.open(t, "s", 0)
		s.publisher.EndStream(t, "s", "gave up \U0001F640", "E42")
		wantStreamClosed(t, s.publisher, "s", "")
		for _, d := range s.subscribers {
			f := wantEnd(t, d, "s", 1, "UserError")
			assert.Equal(t, "gave up \U0001F640", f.Stream.Error.Message)
			assert.Equal(t, "E42", f.Stream.Error.UserErrorCode)
		}
	}
}

func testStreamNoEcho(t *testing.T, w *world) {
	s := newStreamed(t, w, node.Options{}, devicetest.JSON)
	require.True(t, s.publisher.Join(t, "g").Success)
	s.publisher.StartStream(t, "g", "quiet", 0, true)
	wantStreamAck(t, s.publisher, "quiet", 1)
	s.open(t, "loud", 0)
	s.publisher.StreamData(t, "quiet", 1, "x")
	s.publisher.EndStream(t, "quiet", "", "")
	s.publisher.StreamData(t, "loud", 1, "y")
	var messages []string
	require.Eventually(t, func() bool {
		for _, f := range untilPong(t, s.publisher) {
			if f.Type == devicetest.TypeMessage {
				messages = append(messages, f.Text())
				assert.Equal(t, "pub", f.FromUserID)
			}
		}
		return len(messages) > 0
	}, devicetest.Patience, time.Millisecond)
	assert.Equal(t, []string{"y"}, messages)
	wantPart(t, s.subscribers[0], "quiet", 1, "x")
	wantEnd(t, s.subscribers[0], "quiet", 2, "")
	wantPart(t, s.subscribers[0], "loud", 1, "y")
}

func testStreamIdle(t *testing.T, w *world) {
	s := newStreamed(t, w, node.Options{}, devicetest.Reliable)
	const idle = 2 * time.Second
	s.open(t, "s", int(idle.Milliseconds()))
	s.publisher.StreamData(t, "s", 1, "x")
	wantStreamAck(t, s.publisher, "s", 2)
	// Keep-alives, which are not delivered, hold it open much longer than idle.
	tick := time.NewTicker(idle / 10)
	defer tick.Stop()
	for range 15 {
		<-tick.C
		s.publisher.StreamKeepAlive(t, "s")
	}
	s.publisher.StreamData(t, "s", 2, "y")
	wantStreamAck(t, s.publisher, "s", 3)
	start := time.Now()
	wantStreamClosed(t, s.publisher, "s", "IdleTimeout")
	assert.Greater(t, time.Since(start), idle/2)
	for _, d := range s.subscribers {
		wantPart(t, d, "s", 1, "x")
		wantPart(t, d, "s", 2, "y")
		wantEnd(t, d, "s", 3, "IdleTimeout")
	}
	s.publisher.StreamData(t, "s", 3, "late")
	wantStreamClosed(t, s.publisher, "s", "StreamNotFound")
}

// testStreamIdleRace sends parts while the shortest idle time runs out: what
// subscribers get is the acknowledged parts, whole, and then the end.
func testStreamIdleRace(t *testing.T, w *world) {
	s := newStreamed(t, w, node.Options{MaxQueue: 1 << 20}, devicetest.JSON)
	for round := range 50 {
		id := fmt.Sprint(round)
		s.publisher.StartStream(t, "g", id, 1, false)
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			for i := range uint64(20) {
				s.publisher.StreamData(t, id, i+1, fmt.Sprint(i+1))
			}
		}()
		expected := uint64(1)
		for closed := false; !closed; {
			f := s.publisher.Next(t)
			switch f.Type {
			case devicetest.TypeStreamAck:
				require.False(t, closed)
				require.GreaterOrEqual(t, f.ExpectedSequenceID, expected)
				expected = f.ExpectedSequenceID
			case devicetest.TypeStreamClosed:
				require.Equal(t, "IdleTimeout", f.Error.Name)
				closed = true
			}
		}
		<-sent
		for _, f := range untilPong(t, s.publisher) {
			require.Equal(t, "StreamNotFound", f.Error.Name, string(f.Raw))
		}
		for _, d := range s.subscribers {
			for i := uint64(1); i < expected; i++ {
				wantPart(t, d, id, i, fmt.Sprint(i))
			}
			wantEnd(t, d, id, expected, "IdleTimeout")
		}
	}
	for _, d := range s.subscribers {
		assert.Empty(t, untilPong(t, d))
	}
}

func testStreamRevoked(t *testing.T, w *world) {
	s := newStreamed(t, w, node.Options{}, devicetest.Reliable)
	s.open(t, "s", 0)
	s.open(t, "ended", 0)
	s.publisher.StreamData(t, "s", 1, "x")
	wantStreamAck(t, s.publisher, "s", 2)
	require.NoError(t, s.hub.RevokePermission(t.Context(), gateway.PermissionSendToGroup, s.publisher.Connected.ConnectionID, "g"))
	s.publisher.StreamData(t, "s", 2, "y")
	wantStreamClosed(t, s.publisher, "s", "Forbidden")
	s.publisher.EndStream(t, "ended", "", "") // an end carries nothing
	wantStreamClosed(t, s.publisher, "ended", "")
	s.publisher.StartStream(t, "g", "new", 0, false)
	wantStreamClosed(t, s.publisher, "new", "Forbidden")
	for _, d := range s.subscribers {
		wantPart(t, d, "s", 1, "x")
		wantEnd(t, d, "s", 2, "Forbidden")
		wantEnd(t, d, "ended", 1, "")
		assert.Empty(t, untilPong(t, d))
	}
}
