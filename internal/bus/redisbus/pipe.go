package redisbus

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// pipeTimeout is how long a server may stay silent, at least, before the
	// connection is given up; twice that at most.
	pipeTimeout = 3 * time.Second
	// keptBuffer is the largest buffer that is kept for the next commands.
	keptBuffer = 1 << 20
	// freshFor is how long a connection is taken for alive without a look.
	freshFor = 5 * time.Millisecond
)

// pipe is a connection for many small commands at a time. go-redis dials it,
// with TLS, authentication and database as for its own; then the commands are
// written by hand into one buffer, and the answers read in order by whoever
// wrote them: no command object and no hand-over for each, as a pipeline of
// go-redis would have. One goroutine at a time uses it.
//
// Only answers that are numbers are understood. A command that is refused was
// not carried out, and goes to go-redis, which knows when to repeat it.
type pipe struct {
	permit *permit
	ps     *redis.PubSub // owns the connection
	conn   net.Conn
	in     *bufio.Reader
	out    []byte

	deadline time.Time   // of the socket
	used     time.Time   // when it was used last
	broken   bool        // of no more use
	id       string      // of a pipe that draws: who answers
	astray   atomic.Bool // leads to a server that is not the right one any more
}

// errProtocol stands for an answer that makes no sense here.
var errProtocol = errors.New("unexpected answer")

// openPipe connects. With draws, it also finds out who answers.
func (b *Bus) openPipe(ctx context.Context, draws bool) (*pipe, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	p := &pipe{permit: &permit{bus: b}, ps: b.single.client.Subscribe(ctx)} // without channels: no connection yet
	ended := context.AfterFunc(ctx, p.permit.close)
	defer ended()
	err := p.connect(ctx)
	if err == nil && draws {
		err = p.identify(b.single.hook)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// connect has go-redis open the connection, and takes it over.
func (p *pipe) connect(ctx context.Context) error {
	if err := p.ps.Ping(context.WithValue(ctx, permitKey{}, p.permit)); err != nil {
		return err
	}
	if p.conn = p.permit.connection(); p.conn == nil {
		return errConnectionLost
	}
	p.in = bufio.NewReaderSize(p.conn, 16<<10)
	p.used = time.Now()
	p.extend(p.used)
	kind, line, err := p.answer()
	if err == nil && kind != '+' {
		err = fmt.Errorf("%w to PING: %c%s", errProtocol, kind, line)
	}
	return err
}

// identify asks who answers. A connection leads to one process for good.
func (p *pipe) identify(hook *nodeHook) error {
	p.command("info", "server")
	p.command("info", "replication")
	if _, err := p.conn.Write(p.out); err != nil {
		return err
	}
	p.out = p.out[:0]
	var texts [2]string
	for i := range texts {
		kind, text, err := p.answer()
		if err != nil {
			return err
		}
		if kind != '-' {
			texts[i] = string(text)
		}
	}
	if id, known := identity(texts[0], texts[1]); known {
		p.id = id
	} else {
		p.id = hook.stranger()
	}
	return nil
}

func (p *pipe) remote() string { return p.conn.RemoteAddr().String() }

// close cuts the connection. It may be called while the pipe is in use.
func (p *pipe) close() {
	p.permit.close()
	_ = p.ps.Close() // closed already, for all it matters
}

// extend moves the deadline of the socket, seldom: it costs as much as a command.
func (p *pipe) extend(now time.Time) {
	if p.deadline.Sub(now) < pipeTimeout {
		p.deadline = now.Add(2 * pipeTimeout)
		_ = p.conn.SetDeadline(p.deadline) // fails where the next write does
	}
}

// command appends a command of these arguments.
func (p *pipe) command(name string, args ...string) {
	p.out = append(p.out, '*')
	p.out = strconv.AppendInt(p.out, int64(1+len(args)), 10)
	p.out = append(p.out, "\r\n"...)
	p.out = appendBulk(p.out, name)
	for _, arg := range args {
		p.out = appendBulk(p.out, arg)
	}
}

// publish appends a PUBLISH.
func (p *pipe) publish(channel string, payload []byte) {
	p.out = append(p.out, "*3\r\n$7\r\npublish\r\n"...)
	p.out = appendBulk(p.out, channel)
	p.out = appendBulk(p.out, payload)
}

func appendBulk[T string | []byte](out []byte, arg T) []byte {
	out = append(out, '$')
	out = strconv.AppendInt(out, int64(len(arg)), 10)
	out = append(out, "\r\n"...)
	out = append(out, arg...)
	return append(out, "\r\n"...)
}

// exchange sends the commands that were appended and reads their answers into
// numbers, one for each; refused are the indexes of those that the server did
// not carry out. It returns when ctx ends, too. After an error some of the
// commands may have been carried out.
func (p *pipe) exchange(ctx context.Context, numbers []int64) (refused []int, err error) {
	p.used = time.Now()
	p.extend(p.used)
	p.broken = true // until every answer is read
	if ctx.Done() == nil {
		refused, err = p.transfer(numbers)
		p.broken = err != nil
		return refused, err
	}
	ended := context.AfterFunc(ctx, p.permit.close)
	refused, err = p.transfer(numbers)
	p.broken = !ended() || err != nil
	return refused, err
}

func (p *pipe) transfer(numbers []int64) (refused []int, err error) {
	_, err = p.conn.Write(p.out)
	if p.out = p.out[:0]; cap(p.out) > keptBuffer {
		p.out = nil
	}
	if err != nil {
		return nil, err
	}
	for i := range numbers {
		kind, line, err := p.answer()
		switch {
		case err != nil:
			return nil, err
		case kind == '-':
			refused = append(refused, i)
		case kind != ':':
			return nil, fmt.Errorf("%w of type %q", errProtocol, kind)
		default:
			if numbers[i], err = parseNumber(line); err != nil {
				return nil, err
			}
		}
	}
	return refused, nil
}
