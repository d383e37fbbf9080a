package redisbus

import (
	"bufio"
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/message-gateway/gateway/internal/bus"
	"github.com/message-gateway/gateway/internal/testenv"
)

// Whatever a server says, in protocol 2 or 3, is understood, passed over or an
// error; never taken for another answer.
func TestAnswers(t *testing.T) {
	t.Parallel()
	type answer struct {
		kind byte
		line string
	}
	for said, want := range map[string]answer{
		":0\r\n":                   {':', "0"},
		":-12345678901\r\n":        {':', "-12345678901"},
		"+PONG\r\n":                {'+', "PONG"},
		"-ERR no\r\n":              {'-', "ERR no"},
		"!6\r\nERR no\r\n":         {'-', "ERR no"},
		"$3\r\na\r\n\r\n":          {'$', "a\r\n"},
		"=7\r\ntxt:abc\r\n":        {'=', "txt:abc"},
		">2\r\n+a\r\n:1\r\n:7\r\n": {':', "7"},
		">3\r\n$1\r\n:\r\n%1\r\n+k\r\n*2\r\n_\r\n$-1\r\n#t\r\n:7\r\n": {':', "7"},
		">1\r\n|1\r\n,1.5\r\n(12\r\n:7\r\n":                           {':', "7"},
		"":                                                            {},
		"\r\n":                                                        {},
		":1":                                                          {},
		"*1\r\n:1\r\n":                                                {},
		"$-1\r\n":                                                     {},
		"$99999999999\r\n":                                            {},
		"$5\r\nab":                                                    {},
		">9223372036854775807\r\n":                                    {},
		">x\r\n":                                                      {},
		"?\r\n":                                                       {},
		strings.Repeat(">1\r\n", 20) + "+\r\n":                        {},
		"+" + strings.Repeat("x", 1<<16) + "\r\n": {},
	} {
		p := &pipe{in: bufio.NewReaderSize(strings.NewReader(said), 1024)}
		kind, line, err := p.answer()
		require.Equal(t, want.kind == 0, err != nil, "%.40q: %v", said, err)
		require.Equal(t, want, answer{kind, string(line)}, "%.40q", said)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(":1\r\n")
	f.Add(">2\r\n$1\r\na\r\n%1\r\n+k\r\n_\r\n-ERR\r\n")
	f.Fuzz(func(t *testing.T, said string) {
		p := &pipe{in: bufio.NewReaderSize(strings.NewReader(said), 64)}
		for {
			kind, _, err := p.answer()
			if (kind == 0) != (err != nil) {
				t.Fatalf("kind %q with error %v", kind, err)
			}
			if err != nil {
				return
			}
		}
	})
}

// pipesOf is how many pipes publish and draw.
func pipesOf(b *Bus) (publishing, drawing int) {
	b.single.publishing.mu.Lock()
	defer b.single.publishing.mu.Unlock()
	b.single.drawing.mu.Lock()
	defer b.single.drawing.mu.Unlock()
	return b.single.publishing.count, b.single.drawing.count
}

// A command that is refused was not carried out: go-redis has the last word,
// and the others keep their outcome.
func TestRefusedCommands(t *testing.T) {
	b := open(t, testenv.Redis(t), testNames())
	c := benchClient(t)
	require.NoError(t, c.Set(t.Context(), b.names.Seq("broken"), "no number", time.Minute).Err())
	seqs, err := b.NextSeqs(t.Context(), []bus.SeqRequest{{UserID: "u"}, {UserID: "broken"}, {UserID: "u"}})
	var partial *bus.SeqError
	require.ErrorAs(t, err, &partial)
	require.NoError(t, partial.Errs[0])
	require.ErrorContains(t, partial.Errs[1], "not an integer")
	require.NoError(t, partial.Errs[2])
	require.Equal(t, seqs[0]+1, seqs[2])
	next, err := b.NextSeqs(t.Context(), []bus.SeqRequest{{UserID: "u"}})
	require.NoError(t, err)
	require.Greater(t, next[0], seqs[2])
}

func TestRefusedPublish(t *testing.T) {
	s := startServer(t)
	require.NoError(t, s.client(t).Do(t.Context(), "acl", "setuser", "default", "resetchannels", "&allowed").Err())
	b := open(t, s.addr, testNames())
	receivers, err := b.Publish(t.Context(), []bus.Publication{{Channel: "allowed"}, {Channel: "forbidden"}, {Channel: "allowed"}})
	require.ErrorContains(t, err, "NOPERM")
	require.ErrorContains(t, err, s.addr)
	require.Equal(t, []int64{0, -1, 0}, receivers)
	published, _ := pipesOf(b)
	require.Equal(t, 1, published, "the connection is as good as before")
}

// What many callers publish at once takes no more than maxPipes connections
// beside the pool.
func TestPipesAreBounded(t *testing.T) {
	b := open(t, testenv.Redis(t), testNames())
	done := make(chan error)
	for i := range 64 {
		go func() {
			for range 20 {
				if _, err := b.Publish(t.Context(), []bus.Publication{{Channel: fmt.Sprint(i)}}); err != nil {
					done <- err
					return
				}
				if publishing, drawing := pipesOf(b); publishing > maxPipes || drawing > 1 {
					done <- fmt.Errorf("%d and %d pipes", publishing, drawing)
					return
				}
			}
			done <- nil
		}()
	}
	for range 64 {
		require.NoError(t, <-done)
	}
}

// The end of a call's ctx costs its connection, and nobody else's call.
func TestPipeAfterACallThatLeft(t *testing.T) {
	s := startServer(t)
	b := open(t, s.addr, testNames())
	pubs := []bus.Publication{{Channel: "c", Payload: []byte("x")}}
	_, err := b.Publish(t.Context(), pubs)
	require.NoError(t, err)
	s.signal(t, syscall.SIGSTOP)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err = b.Publish(ctx, pubs)
	require.ErrorIs(t, err, context.Canceled)
	published, _ := pipesOf(b)
	require.Zero(t, published)
	closed := make(chan error, 1)
	waiting, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	go func() {
		_, err := b.Publish(waiting, pubs)
		closed <- err
	}()
	s.signal(t, syscall.SIGCONT)
	require.NoError(t, await(t, closed, "the call after it"))
}

// Close fails calls whose connection says nothing.
func TestCloseWhilePublishing(t *testing.T) {
	s := startServer(t)
	client := redis.NewClient(&redis.Options{Addr: s.addr})
	defer func() { _ = client.Close() }()
	b, err := FromClient(t.Context(), client, testNames(), nil)
	require.NoError(t, err)
	pubs := []bus.Publication{{Channel: "c"}}
	_, err = b.Publish(t.Context(), pubs)
	require.NoError(t, err)
	s.signal(t, syscall.SIGSTOP)
	published := make(chan error, 1)
	go func() {
		_, err := b.Publish(context.Background(), pubs)
		published <- err
	}()
	require.Eventually(t, func() bool {
		b.single.publishing.mu.Lock()
		defer b.single.publishing.mu.Unlock()
		return len(b.single.publishing.free) == 0
	}, patience, time.Millisecond)
	require.NoError(t, b.Close())
	require.ErrorIs(t, await(t, published, "the call under way"), bus.ErrClosed)
	_, err = b.Publish(t.Context(), pubs)
	require.ErrorIs(t, err, bus.ErrClosed)
}

// A published message allocates for the context that may end it, and for the
// counts that are returned; a further one in the same call nothing.
func TestPublishAllocations(t *testing.T) {
	b := open(t, testenv.Redis(t), testNames())
	for _, n := range []int{1, 256} {
		pubs := make([]bus.Publication, n)
		for i := range pubs {
			pubs[i] = bus.Publication{Channel: "c", Payload: make([]byte, 200)}
		}
		require.LessOrEqual(t, testing.AllocsPerRun(50, func() {
			_, err := b.Publish(t.Context(), pubs)
			require.NoError(t, err)
		}), 12.0, "%d messages", n)
	}
}
