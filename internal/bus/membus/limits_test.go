package membus_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/bus/membus"
	"github.com/message-gateway/gateway/internal/testenv"
)

// A handler that stands still does not stop Publish; what does not fit is
// counted out, and onGap says so afterwards.
func TestSlowHandler(t *testing.T) {
	testenv.Count(t, testenv.Embedded)
	for name, c := range map[string]struct{ size, fits int }{
		"messages": {10, 64 << 10},
		"bytes":    {1 << 20, 64},
	} {
		t.Run(name, func(t *testing.T) {
			hub := membus.NewHub()
			b := hub.Bus()
			defer func() { require.NoError(t, b.Close()) }()
			first, proceed := make(chan struct{}), make(chan struct{})
			received, gaps := make(chan int, 1<<17), make(chan struct{}, 10)
			l := b.Listen(func(_ string, payload []byte) {
				select {
				case <-proceed:
				default:
					close(first)
					<-proceed
				}
				received <- len(payload)
			}, func() { gaps <- struct{}{} })
			require.NoError(t, l.Subscribe(t.Context(), false, "c"))
			payload := make([]byte, c.size)
			send := func(n int) (reached int) {
				pubs := make([]bus.Publication, n)
				for i := range pubs {
					pubs[i] = bus.Publication{Channel: "c", Payload: payload}
				}
				counts, err := b.Publish(t.Context(), pubs)
				require.NoError(t, err)
				for _, n := range counts {
					reached += int(n)
				}
				return reached
			}
			require.Equal(t, 1, send(1))
			<-first // the handler has it, the queue is empty
			require.Equal(t, c.fits, send(c.fits+5), "dropped messages reach nobody")
			require.EqualValues(t, 5, b.Dropped())
			require.Empty(t, gaps)
			close(proceed)
			for range c.fits + 1 {
				<-received
			}
			select {
			case <-gaps:
			case <-time.After(10 * time.Second):
				require.FailNow(t, "onGap was not called")
			}
			require.Equal(t, 1, send(1), "and it goes on")
		})
	}
}

func BenchmarkPublish(b *testing.B) {
	hub := membus.NewHub()
	x := hub.Bus()
	defer func() { _ = x.Close() }()
	received := make(chan struct{}, 1<<10)
	l := x.Listen(func(string, []byte) { received <- struct{}{} }, func() {})
	if err := l.Subscribe(b.Context(), false, "c"); err != nil {
		b.Fatal(err)
	}
	pubs := []bus.Publication{{Channel: "c", Payload: make([]byte, 200)}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Publish(b.Context(), pubs); err != nil {
			b.Fatal(err)
		}
		<-received
	}
}
