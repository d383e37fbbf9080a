package main

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the name server says is what Go's resolver makes of it.
func TestNameAnswers(t *testing.T) {
	t.Parallel()
	conn, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	require.NoError(t, err)
	s := &nameServer{conn: conn}
	defer s.close()
	go s.serve()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	lookup := func(name string) ([]string, *net.DNSError) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		addrs, err := resolver.LookupHost(ctx, name)
		var failed *net.DNSError
		require.Equal(t, err != nil, errors.As(err, &failed), "%v", err)
		return addrs, failed
	}
	addrs, failed := lookup("redis" + nameSuffix + ".")
	require.Nil(t, failed)
	require.Equal(t, []string{"127.0.0.1"}, addrs)
	_, failed = lookup("example.org.")
	require.True(t, failed.IsNotFound)
	s.code.Store(nameUnknown)
	_, failed = lookup("redis" + nameSuffix + ".")
	require.True(t, failed.IsNotFound)
	s.code.Store(nameFailure)
	_, failed = lookup("redis" + nameSuffix + ".")
	require.False(t, failed.IsNotFound)
	require.True(t, failed.IsTemporary)
	s.code.Store(nameSilence)
	_, failed = lookup("redis" + nameSuffix + ".")
	require.True(t, failed.IsTimeout)
	for _, broken := range [][]byte{nil, make([]byte, 12), append(make([]byte, 12), 60, 'x'), {0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 200, 'a', 0, 0, 1}} {
		require.Nil(t, nameAnswer(broken, nameKnown))
	}
}
