package ws

import (
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// connections opens n served loopback connections whose clients discard what
// they get and count its bytes.
func connections(b *testing.B, n int) (conns []*Conn, received *atomic.Int64, closeAll func()) {
	b.Helper()
	ln := listen(b)
	defer func() { _ = ln.Close() }()
	received = new(atomic.Int64)
	h := HandlerFunc(func(Opcode, []byte) {})
	for range n {
		client := dialTCP(b, ln)
		nc, err := ln.Accept()
		require.NoError(b, err)
		c := newConn(nc, nil, &Options{QueueFrames: -1})
		go c.Serve(h, func(End) {})
		go func() {
			buf := make([]byte, 1<<10)
			for {
				n, err := client.Read(buf)
				if err != nil {
					_ = client.Close()
					return
				}
				received.Add(int64(n))
			}
		}()
		conns = append(conns, c)
	}
	return conns, received, func() {
		for _, c := range conns {
			c.Abort(nil)
		}
	}
}

// BenchmarkSendShared sends one frame of 200 bytes to 1000 connections and
// waits until all clients have it. The time, and the CPU, are of both sides.
func BenchmarkSendShared(b *testing.B) {
	const n = 1000
	conns, received, closeAll := connections(b, n)
	defer closeAll()
	f := TextFrame([]byte(strings.Repeat("x", 200)))
	b.ReportAllocs()
	b.ResetTimer()
	var want int64
	for range b.N {
		for _, c := range conns {
			if err := c.Send(f); err != nil {
				b.Fatal(err)
			}
		}
		want += int64(n * f.Len())
		for received.Load() < want {
			runtime.Gosched()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/message")
}

// BenchmarkQueue is the cost of Send and flush without a network.
func BenchmarkQueue(b *testing.B) {
	c := newConn(&streamConn{}, nil, &Options{QueueFrames: -1})
	f := TextFrame([]byte(strings.Repeat("x", 200)))
	buf := make([]byte, joinSize)
	b.ReportAllocs()
	for range b.N {
		c.mu.Lock()
		c.push(f)
		c.mu.Unlock()
		for p := c.nextChunk(buf); p != nil; p = c.nextChunk(buf) {
			c.wrote(len(p))
		}
	}
}

// BenchmarkRead reads small messages, 16 to a packet, without a network.
func BenchmarkRead(b *testing.B) {
	const batch = 16
	packet := join(func() (fs [][]byte) {
		for range batch {
			fs = append(fs, frame(text, true, `{"type":"sequenceAck","sequenceId":12345}`))
		}
		return fs
	}()...)
	rounds := b.N/batch + 1
	stream := &loopConn{packet: packet, left: rounds}
	c := newConn(stream, nil, &Options{})
	got := 0
	b.ReportAllocs()
	b.SetBytes(int64(len(packet) / batch))
	b.ResetTimer()
	c.Serve(HandlerFunc(func(Opcode, []byte) { got++ }), func(End) {})
	if got != rounds*batch {
		b.Fatalf("%d of %d messages", got, rounds*batch)
	}
}

// loopConn gives the same packet again and again.
type loopConn struct {
	streamConn
	packet []byte
	left   int
	off    int
}

func (c *loopConn) Read(p []byte) (int, error) {
	if c.off == len(c.packet) {
		c.off = 0
		c.left--
	}
	if c.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.packet[c.off:])
	c.off += n
	return n, nil
}

// BenchmarkIdleMemory reports what an idle connection holds in this process,
// its client included, which is why bench/websocket has the figure to quote.
func BenchmarkIdleMemory(b *testing.B) {
	const n = 2000
	for range b.N {
		heap, rss := inUse(b)
		_, _, closeAll := connections(b, n)
		time.Sleep(100 * time.Millisecond)
		heapN, rssN := inUse(b)
		b.ReportMetric(float64(heapN-heap)/n, "heap+stack-B/pair")
		b.ReportMetric(float64(rssN-rss)/n, "rss-B/pair")
		b.ReportMetric(float64(unsafe.Sizeof(Conn{})), "B/Conn")
		closeAll()
	}
}

func inUse(b *testing.B) (heapAndStack, rss int64) {
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("needs /proc")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	require.NoError(b, err)
	return int64(m.HeapInuse + m.StackInuse), pages * int64(os.Getpagesize())
}
