package redisbus

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/testenv"
)

func benchClient(b testing.TB) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: testenv.Redis(b), ContextTimeoutEnabled: true})
	b.Cleanup(func() { require.NoError(b, c.Close()) })
	return c
}

// One op is one call of n messages or numbers.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 256} {
		payload := make([]byte, 200)
		b.Run(fmt.Sprintf("bus/%d", n), func(b *testing.B) {
			target := open(b, testenv.Redis(b), testNames())
			pubs := make([]bus.Publication, n)
			for i := range pubs {
				pubs[i] = bus.Publication{Channel: target.names.Realtime(fmt.Sprint(i)), Payload: payload}
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := target.Publish(b.Context(), pubs); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("go-redis/%d", n), func(b *testing.B) {
			c, names := benchClient(b), testNames()
			channels := make([]string, n)
			for i := range channels {
				channels[i] = names.Realtime(fmt.Sprint(i))
			}
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if n == 1 {
					err = c.Publish(b.Context(), channels[0], payload).Err()
				} else {
					pipe := c.Pipeline()
					for _, channel := range channels {
						pipe.Publish(b.Context(), channel, payload)
					}
					_, err = pipe.Exec(b.Context())
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkNextSeqs(b *testing.B) {
	const n = 256
	b.Run("bus/256", func(b *testing.B) {
		target := open(b, testenv.Redis(b), testNames())
		reqs := make([]bus.SeqRequest, n)
		for i := range reqs {
			reqs[i].UserID = fmt.Sprint(i)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := target.NextSeqs(b.Context(), reqs); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go-redis/256", func(b *testing.B) {
		c, names := benchClient(b), testNames()
		b.ReportAllocs()
		for b.Loop() {
			pipe := c.Pipeline()
			for i := range n {
				pipe.Incr(b.Context(), names.Seq(fmt.Sprint(i)))
			}
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// One op is one message from Publish to the handler.
func BenchmarkReceive(b *testing.B) {
	target := open(b, testenv.Redis(b), testNames())
	received := make(chan struct{}, 1<<16)
	l := target.Listen(func(string, []byte) { received <- struct{}{} }, func() {})
	require.NoError(b, l.Subscribe(b.Context(), false, target.names.Realtime("u")))
	pubs := make([]bus.Publication, 256)
	for i := range pubs {
		pubs[i] = bus.Publication{Channel: target.names.Realtime("u"), Payload: make([]byte, 200)}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i%len(pubs) == 0 {
			if _, err := target.Publish(b.Context(), pubs); err != nil {
				b.Fatal(err)
			}
		}
		<-received
		i++
	}
}
