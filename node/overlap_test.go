package node

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/protocol"
)

// TestAfterOverlap: which realtime messages a session has from the node that it
// came from. They are numbers here; those of hubs are found by their ids.
func TestAfterOverlap(t *testing.T) {
	t.Parallel()
	count := func(n uint64) *uint64 { return &n }
	for name, c := range map[string]struct {
		there, here []uint64 // what the other node heard, and this one
		asked       int
		heard       *uint64
		want        []uint64
	}{
		"nothing":                       {nil, nil, 0, count(0), nil},
		"nothing in common":             {[]uint64{1, 2}, []uint64{3}, 0, count(0), []uint64{3}},
		"before the question":           {[]uint64{1, 2}, []uint64{2, 3}, 1, count(0), []uint64{3}},
		"after the question":            {[]uint64{1, 2, 3}, []uint64{2, 3, 4}, 0, count(2), []uint64{4}},
		"before and after":              {[]uint64{1, 2, 3}, []uint64{2, 3, 4}, 1, count(1), []uint64{4}},
		"all alike":                     {[]uint64{7, 7, 7, 7}, []uint64{7, 7, 7}, 1, count(0), []uint64{7, 7}},
		"more than is remembered":       {[]uint64{3, 4}, []uint64{1, 2, 3, 4, 5}, 3, count(1), []uint64{5}},
		"an earlier version":            {[]uint64{1, 2}, []uint64{2, 3}, 1, nil, []uint64{3}},
		"an earlier version, alike":     {[]uint64{7, 7}, []uint64{7, 7, 7}, 0, nil, []uint64{7}},
		"another order, as on clusters": {[]uint64{1}, []uint64{2, 1}, 1, count(0), []uint64{2, 1}},
		"not here yet":                  {[]uint64{1, 2}, []uint64{2}, 0, count(2), nil},
	} {
		s := &session{asked: c.asked}
		for _, hash := range c.here {
			s.early = append(s.early, outFrame{realtime: hash}, outFrame{id: hash}, outFrame{id: 100})
		}
		var got []uint64
		for _, f := range s.afterOverlap(&moved{Realtime: c.there, Heard: c.heard}, map[uint64]bool{100: true}) {
			require.NotEqualValues(t, 100, f.id, name)
			if f.realtime != 0 {
				got = append(got, f.realtime)
			}
		}
		require.Equal(t, c.want, got, name)
	}
}

// What both nodes heard takes no room any more.
func TestKeepEarly(t *testing.T) {
	t.Parallel()
	n := &Node{opts: Options{MaxQueue: 10, MaxQueueBytes: 1 << 20}}
	s := &session{node: n, sub: protocol.JSONReliableV1, asked: 1}
	frame := func(hash uint64, size int) outFrame {
		data := protocol.Data{Type: protocol.JSON, Bytes: bytes.Repeat([]byte{'1'}, size)}
		return outFrame{realtime: hash, message: protocol.NewShared(protocol.Message{Data: data})}
	}
	require.True(t, s.sendEarly(frame(1, 1000)))
	require.True(t, s.sendEarly(frame(2, 10)))
	s.keepEarly(&moved{Realtime: []uint64{1}, Heard: new(uint64)}, nil)
	require.Len(t, s.early, 1)
	require.Equal(t, s.early[0].size(s.sub), s.earlyBytes)
}
