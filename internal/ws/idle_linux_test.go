package ws

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gobwas "github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// parked reports whether c has no goroutine.
func parked(c *Conn) bool {
	idlers.mu.Lock()
	defer idlers.mu.Unlock()
	return c.idle.parked
}

func awaitParked(t *testing.T, c *Conn) {
	t.Helper()
	require.Eventually(t, func() bool { return parked(c) }, patience, time.Millisecond)
}

// TestIdleConnectionHasNoGoroutine takes one connection through everything that
// can happen to it while nobody waits for it, and checks that each time it is
// left alone again, and heard.
func TestIdleConnectionHasNoGoroutine(t *testing.T) {
	t.Parallel()
	c, p := tcpPair(t, Options{FrameTimeout: 50 * time.Millisecond})
	got := make(recorder, 1)
	end := serve(c, got)
	awaitParked(t, c)

	heard := c.LastRead()
	p.write(frame(ping, true, "p"))
	require.Equal(t, gobwas.OpPong, p.next().Header.OpCode)
	require.True(t, c.LastRead().After(heard))
	awaitParked(t, c)

	whole := frame(text, true, "in two parts")
	p.write(whole[:3])
	time.Sleep(10 * time.Millisecond)
	p.write(whole[3:])
	require.Equal(t, message{OpText, "in two parts"}, receive(t, got))
	awaitParked(t, c)
	time.Sleep(2 * 50 * time.Millisecond) // the timeout of a frame is over, and means nothing

	require.NoError(t, c.Send(TextFrame([]byte("out"))))
	require.Equal(t, "out", string(p.next().Payload))
	require.True(t, parked(c), "writing needs no reader")

	p.write(whole[:3])
	e := receive(t, end)
	require.ErrorIs(t, e.Err, ErrFrameTimeout)
}

// TestBusyConnectionKeepsItsGoroutine: parking costs more than waiting where
// the next message is near.
func TestBusyConnectionKeepsItsGoroutine(t *testing.T) {
	t.Parallel()
	c, p := tcpPair(t, Options{})
	got := make(recorder, 1)
	serve(c, got)
	awaitParked(t, c)
	for i := range 100 {
		began := time.Now()
		p.write(frame(text, true, "x"))
		receive(t, got)
		// On a machine that takes longer than that for three messages, it is idle.
		if i > 2 && time.Since(began) < linger/20 {
			require.False(t, parked(c))
		}
	}
	awaitParked(t, c)
}

func TestParkedConnectionEnds(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, tc := range []struct {
		name string
		end  func(c *Conn, p *peer)
		want func(t *testing.T, e End)
	}{
		{"abort", func(c *Conn, _ *peer) { c.Abort(cause) }, func(t *testing.T, e End) {
			t.Helper()
			require.ErrorIs(t, e.Err, cause)
		}},
		{"close", func(c *Conn, p *peer) {
			c.Close(CloseGoingAway, "bye")
			require.Equal(t, "bye", p.wantClose(CloseGoingAway))
			p.write(frame(clos, true, "\x03\xe9"))
		}, func(t *testing.T, e End) {
			t.Helper()
			require.Equal(t, End{Code: CloseGoingAway, Reason: "bye"}, e)
		}},
		{"close without an answer", func(c *Conn, _ *peer) { c.Close(CloseNormal, "") }, func(t *testing.T, e End) {
			t.Helper()
			require.Equal(t, End{Code: CloseNormal}, e)
		}},
		{"closed by the peer", func(_ *Conn, p *peer) { p.write(frame(clos, true, "\x03\xe8done")) }, func(t *testing.T, e End) {
			t.Helper()
			require.Equal(t, End{Code: CloseNormal, Reason: "done", ByPeer: true}, e)
		}},
		{"hung up", func(_ *Conn, p *peer) { _ = p.Close() }, func(t *testing.T, e End) {
			t.Helper()
			require.ErrorIs(t, e.Err, io.EOF)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, p := tcpPair(t, Options{})
			end := serve(c, make(recorder))
			awaitParked(t, c)
			tc.end(c, p)
			tc.want(t, receive(t, end))
		})
	}
}

// TestParkingUnderChange has connections come, speak at any pace, and go, ours or
// theirs first, so that slots and file descriptors are used again and again. Every
// message must arrive, and every connection end, once.
func TestParkingUnderChange(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	defer func() { _ = ln.Close() }()
	const workers, rounds = 16, 40
	var began, ended atomic.Int64
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			began.Add(1)
			c := newConn(nc, nil, &Options{CloseTimeout: testClose})
			go c.Serve(HandlerFunc(func(op Opcode, p []byte) {
				if op == OpBinary {
					c.Abort(nil)
					return
				}
				_ = c.Send(TextFrame(append([]byte("re: "), p...)))
			}), func(End) { ended.Add(1) })
		}
	}()
	var wg sync.WaitGroup
	for w := range workers {
		client := func(seed uint64) error {
			random := rand.New(rand.NewPCG(seed, 1))
			nc := dialTCP(t, ln)
			defer func() { _ = nc.Close() }()
			_ = nc.SetDeadline(time.Now().Add(patience))
			p := &peer{t: t, Conn: nc}
			for i := range 1 + random.IntN(8) {
				time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond)
				want := fmt.Sprint(seed, i)
				if _, err := p.Write(frame(text, true, want)); err != nil {
					return err
				}
				f, err := p.tryNext()
				if err != nil || string(f.Payload) != "re: "+want {
					return fmt.Errorf("%q after %q: %w", f.Payload, want, err)
				}
			}
			if random.IntN(2) == 0 {
				_, err := p.Write(frame(bin, true, "end it"))
				return err
			}
			return nil
		}
		wg.Go(func() {
			for r := range rounds {
				if err := client(uint64(w*rounds + r)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	_ = ln.Close()
	<-served
	require.EqualValues(t, workers*rounds, began.Load())
	require.Eventually(t, func() bool { return ended.Load() == workers*rounds }, patience, time.Millisecond)
}
