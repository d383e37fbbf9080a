package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"unicode/utf8"
)

// maxArgumentPayload bounds what is read of a file or of standard input; the
// client refuses less than that, see MSG_MAX_PAYLOAD.
const maxArgumentPayload = 64 << 20

// payload reads an argument: JSON, @FILE, or - for standard input; with asText
// it is a text, which becomes a JSON string. Errors quote none of it: it may be
// what a user wrote.
func (p *program) payload(argument string, asText bool) (json.RawMessage, error) {
	data, from, err := p.readPayload(argument)
	if err != nil {
		return nil, usagef("payload: %v", err)
	}
	switch {
	case len(data) > maxArgumentPayload:
		return nil, usagef("payload: %s has more than %d bytes", from, maxArgumentPayload)
	case asText && !utf8.Valid(data):
		return nil, usagef("payload: %s is not valid UTF-8", from)
	case asText:
		return json.Marshal(string(data))
	case !json.Valid(data):
		return nil, usagef(`payload: %s is no JSON value. Put quotes around it for the shell, as in '{"text":"hello"}', or use --text for plain text`, from)
	}
	return data, nil
}

func (p *program) readPayload(argument string) (data []byte, from string, err error) {
	switch {
	case argument == "-":
		data, err = readBounded(p.stdin)
		return data, "standard input", err
	case len(argument) > 1 && argument[0] == '@':
		f, err := os.Open(argument[1:])
		if err != nil {
			return nil, "", err
		}
		defer func() { _ = f.Close() }()
		data, err := readBounded(f)
		return data, argument[1:], err
	default:
		return []byte(argument), "the argument", nil
	}
}

func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxArgumentPayload+1))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return data, nil
}
