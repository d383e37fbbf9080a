package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/control"
)

// Peers are judged by this node's own pulses.
func TestPeersAreJudgedByOwnPulses(t *testing.T) {
	t.Parallel()
	p := &peers{node: &Node{id: "me"}}
	pulse := func(node string) []string {
		t.Helper()
		dead, news := p.note(&control.Pulse{Node: node})
		require.False(t, news)
		return dead
	}
	// While nothing is heard of this node itself, nobody is judged.
	require.Empty(t, pulse("a"))
	for range 10 {
		require.Empty(t, pulse("b"))
	}
	for range maxSilence {
		require.Empty(t, pulse("me"))
	}
	require.Empty(t, pulse("b"), "just in time")
	require.Equal(t, []string{"a"}, pulse("me"))
	for range maxSilence - 1 {
		require.Empty(t, pulse("me"))
	}
	// A change is a sign of life as well.
	p.alive("b")
	for range maxSilence {
		require.Empty(t, pulse("me"))
	}
	require.Equal(t, []string{"b"}, pulse("me"), "it is told once")
	for range 10 {
		require.Empty(t, pulse("me"))
	}
	require.Len(t, p.m, 1, "the dead are forgotten")
}

// A pulse tells of changes that may have been missed.
func TestPulsesTellOfNews(t *testing.T) {
	t.Parallel()
	p := &peers{node: &Node{id: "me"}}
	news := func(node string, states int64, lost uint64) bool {
		_, news := p.note(&control.Pulse{Node: node, States: states, Lost: lost})
		return news
	}
	require.False(t, news("fresh", 0, 0), "a node that has nothing")
	require.False(t, news("fresh", 5, 0), "what it got since then was heard")
	require.True(t, news("fresh", 5, 1), "a change was lost")
	require.False(t, news("fresh", 5, 1))
	require.True(t, news("old", 1, 0), "a node that was there before this one, or was thought dead")
	p.alive("late")
	require.True(t, news("late", 1, 0), "one change was heard, but others perhaps not")
	require.False(t, news("late", 1, 0))
	require.True(t, news("me", 0, 1), "its own losses concern this node too")
}
