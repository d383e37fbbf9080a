package node_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/devicetest"
	"github.com/message-gateway/gateway/node"
)

// recoverPublisher opens the publisher's connection again, on the other node
// if it moves.
func (s *streamed) recoverPublisher(t *testing.T, move bool) {
	t.Helper()
	if !move {
		s.publisher = s.publisher.Recover(t)
		return
	}
	s.publisher = recoverAt(t, s.publisher, s.a, s.b, s.url)
	s.url = strings.Replace(s.url, s.a.server.URL[len("http"):], s.b.server.URL[len("http"):], 1)
	s.a, s.b = s.b, s.a
}

func testStreamRecovered(t *testing.T, w *world) {
	for _, sub := range []string{devicetest.Reliable, devicetest.ProtobufReliable} {
		for _, move := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s moved %t", sub, move), func(t *testing.T) {
				s := newStreamed(t, w, node.Options{}, sub)
				s.open(t, "s", 0)
				s.publisher.StreamData(t, "s", 1, "1")
				wantStreamAck(t, s.publisher, "s", 2)
				s.publisher.StreamData(t, "s", 2, "2")
				wantStreamAck(t, s.publisher, "s", 3)
				for range 2 {
					s.publisher.Drop()
					s.recoverPublisher(t, move)
				}
				// The device may not have seen the last acknowledgement.
				s.publisher.StreamData(t, "s", 2, "2")
				wantStreamAck(t, s.publisher, "s", 3)
				s.publisher.StreamData(t, "s", 3, "3")
				wantStreamAck(t, s.publisher, "s", 4)
				s.publisher.EndStream(t, "s", "", "")
				wantStreamClosed(t, s.publisher, "s", "")
				for _, d := range s.subscribers {
					for i := range uint64(3) {
						wantPart(t, d, "s", i+1, fmt.Sprint(i+1))
					}
					wantEnd(t, d, "s", 4, "")
					assert.Empty(t, untilPong(t, d))
				}
			})
		}
	}
}

// testStreamMovedInFlight recovers a publisher on the other node while its old
// socket still sends: every part arrives once, in order.
func testStreamMovedInFlight(t *testing.T, w *world) {
	s := newStreamed(t, w, node.Options{MaxQueue: 1 << 20}, devicetest.Reliable)
	s.open(t, "s", 0)
	next := uint64(1) // what the device has to send
	const moves = 20
	for round := range moves {
		old, begin, stop := s.publisher, next, make(chan struct{})
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			// Bounded, so that what waits for the subscribers is.
			for n := begin; n < begin+2000; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if old.TryStreamData("s", n, fmt.Sprint(n)) != nil {
					return
				}
			}
		}()
		// A few acknowledgements show that it is under way.
		for range 5 {
			f := old.Next(t)
			require.Equal(t, devicetest.TypeStreamAck, f.Type, string(f.Raw))
			next = max(next, f.ExpectedSequenceID)
		}
		s.recoverPublisher(t, round%2 == 0)
		close(stop)
		<-sent
		old.Ended(t)
		ctx, cancel := context.WithTimeout(t.Context(), devicetest.Patience)
		for f, err := old.TryNext(ctx); err == nil; f, err = old.TryNext(ctx) {
			next = max(next, f.ExpectedSequenceID)
		}
		cancel()
		// The node may have more than it could acknowledge, and answers to the
		// old socket's last frames may come on the new one.
		s.publisher.StreamData(t, "s", next, fmt.Sprint(next))
		for sent := next; next == sent; {
			f := s.publisher.Next(t)
			require.Equal(t, devicetest.TypeStreamAck, f.Type, string(f.Raw))
			next = max(next, f.ExpectedSequenceID)
		}
		old.Drop()
	}
	for _, f := range untilPong(t, s.publisher) {
		next = max(next, f.ExpectedSequenceID)
	}
	s.publisher.EndStream(t, "s", "", "")
	wantStreamClosed(t, s.publisher, "s", "")
	for _, d := range s.subscribers {
		for n := uint64(1); n < next; n++ {
			wantPart(t, d, "s", n, fmt.Sprint(n))
		}
		wantEnd(t, d, "s", next, "")
	}
}

func testStreamPublisherGone(t *testing.T, w *world) {
	opts := node.Options{RecoveryWindow: 200 * time.Millisecond}
	for name, leave := range map[string]func(*streamed){
		"close":  func(s *streamed) { s.publisher.Close(websocket.StatusNormalClosure) },
		"drop":   func(s *streamed) { s.publisher.Drop() },
		"server": func(s *streamed) { _ = s.hub.CloseUserConnections(t.Context(), "pub") },
		"shutdown": func(s *streamed) {
			s.subscribers = s.subscribers[1:] // the first one goes with its node
			_ = s.a.Shutdown(t.Context())
		},
	} {
		for _, sub := range []string{devicetest.JSON, devicetest.ProtobufReliable} {
			t.Run(name+" "+sub, func(t *testing.T) {
				s := newStreamed(t, w, opts, sub)
				s.open(t, "s", 0)
				s.open(t, "t", 0)
				s.publisher.StreamData(t, "s", 1, "x")
				wantStreamAck(t, s.publisher, "s", 2)
				leave(s)
				for _, d := range s.subscribers {
					wantPart(t, d, "s", 1, "x")
					ends := map[string]uint64{}
					for range 2 {
						f := d.Message(t)
						require.NotNil(t, f.Stream)
						require.True(t, f.Stream.EndOfStream)
						require.NotNil(t, f.Stream.Error)
						assert.Equal(t, "Cancelled", f.Stream.Error.Name)
						ends[f.Stream.StreamID] = f.Stream.StreamSequenceID
					}
					assert.Equal(t, map[string]uint64{"s": 2, "t": 1}, ends)
				}
			})
		}
	}
}
