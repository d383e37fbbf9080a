package rabbit

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSocketNeverWaits(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe() // without a buffer: a write waits for its reader
	s := newSocket(near)
	var sent []byte
	for i := range 1000 {
		chunk := []byte{byte(i), byte(i >> 8), 'x'}
		n, err := s.Write(chunk)
		require.NoError(t, err)
		require.Equal(t, 3, n)
		sent = append(sent, chunk...)
		clear(chunk) // the writer's again
	}
	got := make([]byte, len(sent))
	_, err := io.ReadFull(far, got)
	require.NoError(t, err)
	require.Equal(t, sent, got)
	require.NoError(t, s.Close())
	_, err = s.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestSocketBoundsWhatWaits(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	s := newSocket(near)
	const size = maxPending/4 + 1
	for range 4 {
		require.Nil(t, s.reserve(size))
	}
	room := s.reserve(size)
	require.NotNil(t, room, "reserved room counts")
	for range 4 {
		_, err := s.Write(make([]byte, size))
		require.NoError(t, err)
		s.release(size)
	}
	require.Equal(t, room, s.reserve(size), "written bytes count until they are on their way")
	_, err := io.CopyN(io.Discard, far, 2*size)
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, far, 2*size)
	require.NoError(t, err)
	<-room
	require.Nil(t, s.reserve(size))
	require.NoError(t, s.Close())
}

func TestSocketCloseIsBounded(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	s := newSocket(near)
	_, err := s.Write(make([]byte, maxPending))
	require.NoError(t, err)
	room := s.reserve(1)
	start := time.Now()
	require.NoError(t, s.Close())
	require.Less(t, time.Since(start), 10*closeFlush)
	<-room // the waiting learn of the end by writing
}

func TestSocketCloseWritesWhatIsPending(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	s := newSocket(near)
	got := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(far)
		got <- b
	}()
	_, err := s.Write([]byte("last words"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.Equal(t, "last words", string(<-got))
}

func TestSocketFails(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	s := newSocket(near)
	require.NoError(t, far.Close())
	require.Eventually(t, func() bool {
		_, err := s.Write([]byte("x"))
		return err != nil
	}, 10*time.Second, time.Millisecond)
	require.Nil(t, s.reserve(maxPending), "nobody waits for a broken connection")
	_ = s.Close()
}
