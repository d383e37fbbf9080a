package ws

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCloseWritesWhatIsQueued(t *testing.T) {
	t.Parallel()
	c, p := pair(t, Options{})
	got := make(recorder, 1)
	end := serve(c, got)
	for i := range 50 {
		require.NoError(t, c.Send(TextFrame([]byte(fmt.Sprint(i)))))
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { c.Close(CloseGoingAway, "bye") })
	}
	wg.Wait()
	require.ErrorIs(t, c.Send(TextFrame(nil)), ErrClosed)
	for i := range 50 {
		require.Equal(t, fmt.Sprint(i), string(p.next().Payload))
	}
	require.Equal(t, "bye", p.wantClose(CloseGoingAway))
	p.write(frame(text, true, "late"), frame(clos, true, "\x03\xe9"))
	p.wantEOF()
	require.Equal(t, End{Code: CloseGoingAway, Reason: "bye"}, receive(t, end))
	require.Empty(t, got, "a message after Close was delivered")
	c.Close(CloseNormal, "")
	c.Abort(nil)
}

func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"peer reads nothing", "peer does not answer", "before Serve"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, p := pair(t, Options{CloseTimeout: 30 * time.Millisecond})
			if name == "peer does not answer" {
				go func() { _, _ = io.Copy(io.Discard, p) }()
			}
			if name == "before Serve" {
				c.Close(4000, "x")
				p.wantClose(4000)
				p.wantEOF()
			}
			end := serve(c, make(recorder))
			c.Close(4000, "x")
			require.Equal(t, End{Code: 4000, Reason: "x"}, receive(t, end))
		})
	}
}

func TestBothSidesCloseAtOnce(t *testing.T) {
	t.Parallel()
	c, p := pair(t, Options{})
	end := serve(c, make(recorder))
	c.Close(CloseGoingAway, "") // stuck: the pipe has no buffer
	p.write(frame(clos, true, "\x03\xe8"))
	p.wantClose(CloseGoingAway)
	p.wantEOF()
	require.Equal(t, End{Code: CloseGoingAway}, receive(t, end))
}

func TestPeerCloseWhileFramesAreQueued(t *testing.T) {
	t.Parallel()
	c, p := pair(t, Options{})
	end := serve(c, make(recorder))
	for range 10 {
		require.NoError(t, c.Send(TextFrame([]byte("queued"))))
	}
	p.write(frame(clos, true, "\x03\xe8"))
	p.wantClose(CloseNormal)
	p.wantEOF()
	require.Equal(t, End{Code: CloseNormal, ByPeer: true}, receive(t, end))
}

func TestAbortKeepsItsCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("ping timeout")
	c, p := pair(t, Options{})
	end := serve(c, make(recorder))
	c.Abort(cause)
	c.Abort(nil)
	c.Close(CloseNormal, "")
	p.wantEOF()
	e := receive(t, end)
	require.Equal(t, End{Code: CloseAbnormal, Err: cause}, e)
	require.Contains(t, e.String(), "ping timeout")

	c, _ = pair(t, Options{})
	end = serve(c, make(recorder))
	c.Abort(nil)
	require.ErrorIs(t, receive(t, end).Err, ErrAborted)
}
