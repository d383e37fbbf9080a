package main

import (
	"encoding/json"
	"strconv"
	"strings"
)

const (
	users       = 1000
	payloadSize = 200
)

// payload is JSON of a size.
func payload(size int) json.RawMessage {
	const frame = len(`{"body":""}`)
	return json.RawMessage(`{"body":"` + strings.Repeat("x", max(size-frame, 0)) + `"}`)
}

// load is what is sent: to whom in turn, and what.
type load struct {
	names []string
	body  json.RawMessage
}

// newLoad makes names and body once: making them is no side's work.
func newLoad(users, size int) load {
	names := make([]string, users)
	for i := range names {
		names[i] = "user_" + strconv.Itoa(i)
	}
	return load{names, payload(size)}
}

func (l load) user(i int) string { return l.names[i%len(l.names)] }

func prefixed(prefix string, names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = prefix + name
	}
	return out
}
