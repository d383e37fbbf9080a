package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"
)

// subscriber stands for a node in the eyes of Redis: a bare connection that
// subscribes channels, counts what comes and throws it away.
type subscriber struct {
	conn net.Conn
	// verb is SUBSCRIBE or SSUBSCRIBE.
	verb      string
	wanted    int64
	confirmed atomic.Int64
	messages  atomic.Int64
}

// subscribeChunk is how many channels one command names, as in the library.
const subscribeChunk = 1000

func newSubscriber(ctx context.Context, addr, verb string) (*subscriber, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &subscriber{conn: conn, verb: verb}
	go s.read()
	return s, nil
}

func (s *subscriber) read() {
	r := bufio.NewReaderSize(s.conn, 64<<10)
	for {
		l, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull): // the rest of a long payload follows
		case err != nil:
			return
		case l[0] == ':': // the last line of a confirmation; no payload starts so
			s.confirmed.Add(1)
		case string(l) == "message\r\n" || string(l) == "smessage\r\n":
			s.messages.Add(1)
		}
	}
}

// subscribe returns when the server has confirmed every channel.
func (s *subscriber) subscribe(names ...string) error {
	chunk := subscribeChunk
	if s.verb == "SSUBSCRIBE" {
		chunk = 1 // a command must not name channels of several slots
	}
	for len(names) > 0 {
		part := names[:min(len(names), chunk)]
		names = names[len(part):]
		var cmd strings.Builder
		fmt.Fprintf(&cmd, "*%d\r\n$%d\r\n%s\r\n", len(part)+1, len(s.verb), s.verb)
		for _, name := range part {
			fmt.Fprintf(&cmd, "$%d\r\n%s\r\n", len(name), name)
		}
		if _, err := s.conn.Write([]byte(cmd.String())); err != nil {
			return err
		}
		s.wanted += int64(len(part))
	}
	return reach(s.confirmed.Load, s.wanted, "subscriptions")
}

func (s *subscriber) close() { _ = s.conn.Close() }

// reach waits until a count has come to a number.
func reach(count func() int64, n int64, what string) error {
	for end := time.Now().Add(30 * time.Second); count() < n; time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d %s within 30 seconds", count(), n, what)
		}
	}
	return nil
}

// startSubscribers opens n of them.
func startSubscribers(ctx context.Context, addr string, n int) (list []*subscriber, stop func(), err error) {
	stop = func() {
		for _, s := range list {
			s.close()
		}
	}
	for range n {
		s, err := newSubscriber(ctx, addr, "SUBSCRIBE")
		if err != nil {
			stop()
			return nil, nil, err
		}
		list = append(list, s)
	}
	return list, stop, nil
}
