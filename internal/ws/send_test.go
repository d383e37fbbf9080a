package ws

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestFrames(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 200_000} {
		payload := bytes.Repeat([]byte("x"), n)
		for name, f := range map[string]Frame{
			"text":         TextFrame(payload),
			"binary":       BinaryFrame(payload),
			"text parts":   TextFrameParts(payload[:n/3], payload[n/3:]),
			"binary parts": BinaryFrameParts(payload[:n/3], payload[n/3:]),
		} {
			wire := append(append([]byte{}, f.head...), f.tail...)
			require.Len(t, wire, f.Len())
			p := &peer{t: t, Conn: readConn{r: bytes.NewReader(wire)}}
			got := p.next()
			require.True(t, got.Header.Fin)
			require.Equal(t, strings.HasPrefix(name, "text"), got.Header.OpCode == text)
			require.True(t, bytes.Equal(payload, got.Payload), name)
		}
	}
}

func TestFrameCopiesItsPayloadButSharesTheTail(t *testing.T) {
	t.Parallel()
	payload, tail := []byte("abc"), []byte("def")
	f := TextFrameParts(payload, tail)
	payload[0] = 'X'
	require.Equal(t, "abc", string(f.head[2:]))
	require.Same(t, &tail[0], &f.tail[0])
}

func TestCloseFrameReason(t *testing.T) {
	t.Parallel()
	f := closeFrame(CloseNormal, strings.Repeat("é", 100))
	reason := f.head[4:]
	require.Len(t, reason, 122)
	require.True(t, utf8.Valid(reason))
	for _, code := range []CloseCode{0, CloseNoStatus, CloseAbnormal, 1015, 65535} {
		require.Equal(t, []byte{0x88, 0}, closeFrame(code, "x").head)
	}
}

// Whatever the sizes, the bytes that leave a queue are those of its frames.
func TestQueueProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		q := &queue{}
		var want, got []byte
		buf := make([]byte, rapid.IntRange(1, 64).Draw(t, "buffer"))
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if q.len() == 0 || rapid.Bool().Draw(t, "push") {
				p := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "payload")
				cut := rapid.IntRange(0, len(p)).Draw(t, "cut")
				f := BinaryFrameParts(p[:cut], p[cut:])
				q.push(f)
				want = append(append(want, f.head...), f.tail...)
				continue
			}
			p := q.chunk(buf)
			if len(p) == 0 || len(p) > maxDirect {
				t.Fatalf("chunk of %d bytes", len(p))
			}
			n := rapid.IntRange(0, len(p)).Draw(t, "written")
			got = append(got, p[:n]...)
			q.advance(n)
			if q.bytes != len(want)-len(got) {
				t.Fatalf("counts %d bytes, has %d", q.bytes, len(want)-len(got))
			}
		}
		for q.len() > 0 {
			p := q.chunk(buf)
			got = append(got, p...)
			q.advance(len(p))
		}
		if !bytes.Equal(want, got) || q.bytes != 0 {
			t.Fatal("other bytes came out")
		}
	})
}

func TestDropUnsentKeepsWhatIsBeingWritten(t *testing.T) {
	t.Parallel()
	q := &queue{}
	for i := range 4 {
		q.push(TextFrame([]byte(fmt.Sprint(i))))
	}
	chunk := q.chunk(make([]byte, 7)) // two frames and a byte of the third
	require.Len(t, chunk, 7)
	q.dropUnsent()
	require.Equal(t, 3, q.len())
	q.push(closeFrame(CloseNormal, ""))
	q.advance(7)
	rest := q.chunk(make([]byte, 64))
	require.Equal(t, "\x012\x88\x02\x03\xe8", string(rest))
	q.advance(len(rest))
	require.Zero(t, q.len())
	require.Zero(t, q.bytes)
}

// Frames of many senders arrive whole, and those of one sender in order.
func TestSendFromManyGoroutines(t *testing.T) {
	t.Parallel()
	const senders, each = 8, 200
	c, p := tcpPair(t, Options{QueueFrames: senders*each + 1})
	serve(c, make(recorder))
	tail := bytes.Repeat([]byte("t"), 3000)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				prefix := fmt.Sprintf("%d %d ", s, i)
				f := TextFrame([]byte(prefix))
				if i%3 == 0 {
					f = TextFrameParts([]byte(prefix), tail)
				}
				if err := c.Send(f); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var next [senders]int
	for range senders * each {
		f := p.next()
		var s, i int
		_, err := fmt.Sscanf(string(f.Payload), "%d %d ", &s, &i)
		require.NoError(t, err)
		require.Equal(t, next[s], i)
		next[s]++
	}
	wg.Wait()
	p.write(frame(clos, true, ""))
	p.wantClose(CloseNoStatus)
}

func TestSlowConsumer(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		opts Options
		size int
		most int
	}{
		{"frames", Options{QueueFrames: 10}, 10, 10},
		{"bytes", Options{QueueBytes: 10 * 1004}, 1000, 10},
		{"one frame is always taken", Options{QueueBytes: 10}, 1000, 1},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, _ := pair(t, tc.opts)
			end := serve(c, make(recorder))
			f := TextFrame(make([]byte, tc.size))
			sent := 0
			var err error
			for err == nil {
				err = c.Send(f)
				sent++
				require.LessOrEqual(t, sent, tc.most+1)
			}
			require.ErrorIs(t, err, ErrSlow)
			require.Equal(t, tc.most+1, sent)
			require.ErrorIs(t, c.Send(f), ErrClosed)
			require.ErrorIs(t, c.Ping(), ErrClosed)
			e := receive(t, end)
			require.ErrorIs(t, e.Err, ErrSlow)
			require.Equal(t, CloseAbnormal, e.Code)
		})
	}
}

func TestSlowConsumerOverTCP(t *testing.T) {
	t.Parallel()
	c, p := tcpPair(t, Options{QueueBytes: 8 << 20})
	end := serve(c, make(recorder))
	f := TextFrame(make([]byte, 100_000))
	var err error
	for err == nil {
		err = c.Send(f) // the peer reads nothing: the sockets fill, then the queue
	}
	require.ErrorIs(t, err, ErrSlow)
	require.ErrorIs(t, receive(t, end).Err, ErrSlow)
	for err = nil; err == nil; {
		_, err = p.tryNext()
	}
	require.Eventually(t, func() bool { // the flusher lets go of the queue
		frames, bytes := c.Backlog()
		return frames == 0 && bytes == 0
	}, patience, time.Millisecond)
}

// A full socket moves the connection to a goroutine that waits, and back.
func TestPeerThatPausesLosesNothing(t *testing.T) {
	t.Parallel()
	c, p := tcpPair(t, Options{QueueBytes: 64 << 20})
	serve(c, make(recorder))
	for round := range 3 {
		var sent int
		tail := bytes.Repeat([]byte{'x'}, 300_000)
		for sent = 0; sent < 60; sent++ {
			require.NoError(t, c.Send(TextFrameParts(fmt.Appendf(nil, "%d ", sent), tail)))
		}
		if round == 0 {
			frames, _ := c.Backlog()
			require.NotZero(t, frames, "the test is to fill the socket")
		}
		for i := range sent {
			f := p.next()
			require.Truef(t, strings.HasPrefix(string(f.Payload[:8]), fmt.Sprintf("%d x", i)), "frame %d", i)
			require.Len(t, f.Payload, len(tail)+len(fmt.Sprint(i))+1)
		}
	}
}

func TestPingFloodWithoutReading(t *testing.T) {
	t.Parallel()
	c, p := pair(t, Options{QueueFrames: 5})
	end := serve(c, make(recorder))
	for {
		if _, err := p.Write(frame(ping, true, "x")); err != nil {
			break
		}
	}
	require.ErrorIs(t, receive(t, end).Err, ErrSlow)
}

func TestWriteTimeout(t *testing.T) {
	t.Parallel()
	c, _ := pair(t, Options{WriteTimeout: 20 * time.Millisecond})
	end := serve(c, make(recorder))
	require.NoError(t, c.Send(TextFrame([]byte("x"))))
	require.ErrorIs(t, receive(t, end).Err, ErrWriteTimeout)
}

func TestPingAndLastRead(t *testing.T) {
	t.Parallel()
	c, p := pair(t, Options{})
	serve(c, make(recorder, 1))
	before := c.LastRead()
	for range 5 {
		require.NoError(t, c.Ping()) // one waits, the others are nothing new
	}
	require.NoError(t, c.Send(TextFrame([]byte("x"))))
	require.Equal(t, ping, p.next().Header.OpCode)
	require.Equal(t, text, p.next().Header.OpCode)
	p.write(frame(pong, true, ""), frame(pong, true, "")) // the second is read after the first is used
	require.True(t, c.LastRead().After(before))
	require.Eventually(t, func() bool { n, _ := c.Backlog(); return n == 0 }, patience, time.Millisecond)
	require.NoError(t, c.Ping())
	require.Equal(t, ping, p.next().Header.OpCode)
	require.NotNil(t, c.RemoteAddr())
}

// In a queue that is never empty a ping counts until it is written, no longer:
// a connection that is not pinged would look dead.
func TestPingInABacklog(t *testing.T) {
	t.Parallel()
	q := &queue{}
	q.push(pingFrame)
	q.push(TextFrame([]byte("x")))
	require.True(t, q.ping)
	q.chunk(make([]byte, 1))
	q.advance(1)
	require.True(t, q.ping, "half written")
	q.chunk(make([]byte, 1))
	q.advance(1)
	require.False(t, q.ping)
	require.Equal(t, 1, q.len())
}

// Everything at once, for the race detector.
func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	for _, ending := range []func(c *Conn, p *peer){
		func(c *Conn, _ *peer) { c.Close(CloseNormal, "") },
		func(c *Conn, _ *peer) { c.Abort(nil) },
		func(_ *Conn, p *peer) { _, _ = p.Write(frame(clos, true, "\x03\xe8")) },
		func(_ *Conn, p *peer) { _ = p.Close() },
	} {
		c, p := tcpPair(t, Options{})
		end := serve(c, HandlerFunc(func(_ Opcode, b []byte) { _ = c.Send(TextFrame(b)) }))
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = io.Copy(io.Discard, p) })
		for range 4 {
			wg.Go(func() {
				f := TextFrame([]byte("x"))
				for c.Send(f) == nil {
					_ = c.Ping()
					c.Backlog()
					c.LastRead()
				}
			})
		}
		wg.Go(func() {
			for range 100 {
				if _, err := p.Write(frame(text, true, "y")); err != nil {
					return
				}
			}
			ending(c, p)
		})
		receive(t, end)
		_ = p.Close()
		wg.Wait()
	}
}
