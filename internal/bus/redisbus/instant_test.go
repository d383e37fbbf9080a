package redisbus

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The reading of the monotonic clock is what keeps an instant where it is when
// the wall clock is set.
func TestInstantsAreOfTheMonotonicClock(t *testing.T) {
	t.Parallel()
	var i instant
	require.Zero(t, i.get())
	before := time.Now()
	i.now()
	require.False(t, i.get().Before(before))
	require.False(t, i.get().After(time.Now()))
	require.Contains(t, i.get().String(), " m=")
	i.forget()
	require.Zero(t, i.get())

	link := &link{}
	link.heard.now()
	require.Contains(t, link.heard.get().String(), " m=")
	hook := &nodeHook{}
	hook.dialled.now()
	require.Contains(t, hook.dialled.get().String(), " m=")
}
