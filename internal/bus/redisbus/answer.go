package redisbus

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
)

// answer reads the next answer of a server that speaks RESP 2 or 3 (the
// "Redis serialization protocol specification" of redis.io). line is what follows
// its type, or the content of a bulk string; it is valid until the next call.
// What a server of protocol 3 says by itself is skipped.
func (p *pipe) answer() (kind byte, line []byte, err error) {
	for {
		kind, line, err = p.header()
		switch kind {
		case 0, '+', '-', ':':
			return kind, line, err
		case '$', '=', '!':
			n, err := parseNumber(line)
			if err != nil || n < 0 || n > keptBuffer {
				return 0, nil, fmt.Errorf("%w of %s bytes", errProtocol, line)
			}
			content := make([]byte, n+2)
			if _, err := io.ReadFull(p.in, content); err != nil {
				return 0, nil, err
			}
			if kind == '!' {
				kind = '-' // a long error
			}
			return kind, content[:n], nil
		case '>':
			if err := p.skip(kind, line, maxNesting); err != nil {
				return 0, nil, err
			}
		default:
			return 0, nil, fmt.Errorf("%w of type %q", errProtocol, kind)
		}
	}
}

// header reads the first line of an answer. kind is 0 if, and only if, there is
// an error.
func (p *pipe) header() (kind byte, line []byte, err error) {
	line, err = p.in.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if line = bytes.TrimSuffix(line, []byte("\r\n")); len(line) == 0 || line[0] == 0 {
		return 0, nil, fmt.Errorf("%w: an empty line", errProtocol)
	}
	return line[0], line[1:], nil
}

// maxNesting bounds how deep values are nested that are skipped.
const maxNesting = 8

// skip passes over the rest of a value.
func (p *pipe) skip(kind byte, line []byte, depth int) error {
	switch kind {
	case '+', '-', ':', '_', '#', ',', '(':
		return nil
	}
	n, err := parseNumber(line)
	if err != nil || n > keptBuffer || depth == 0 {
		return fmt.Errorf("%w: %c%s", errProtocol, kind, line)
	}
	switch kind {
	case '$', '=', '!':
		if n >= 0 {
			_, err = p.in.Discard(int(n) + 2)
		}
		return err
	case '%', '|':
		n *= 2
	case '*', '~', '>':
	default:
		return fmt.Errorf("%w of type %q", errProtocol, kind)
	}
	for range n {
		kind, line, err := p.header()
		if err == nil {
			err = p.skip(kind, line, depth-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parseNumber(line []byte) (int64, error) {
	if len(line) == 1 && '0' <= line[0] && line[0] <= '9' {
		return int64(line[0] - '0'), nil
	}
	n, err := strconv.ParseInt(string(line), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errProtocol, err)
	}
	return n, nil
}
