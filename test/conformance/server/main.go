// Command server runs a gateway for the conformance tests: one or two nodes,
// each in a process of its own with a client, a node and the REST handler on
// one loopback port.
//
// It prints {"ready":…} with the addresses and keys, then takes commands from
// standard input and answers on standard output, one JSON object a line. It
// starts, kills and stops the processes of the nodes; everything else goes to
// the node that the command names. When its input ends, so do its nodes, and
// what they left on the servers is removed.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// lifetime bounds the program, whatever becomes of the tests.
const lifetime = 10 * time.Minute

// patience bounds a command.
const patience = 30 * time.Second

func main() {
	var (
		asNode  = flag.Bool("node", false, "be the process of one node; its configuration is the first line of input")
		kind    = flag.String("backend", "embedded", "embedded, or real: the services that GATEWAY_TEST_* name")
		nodes   = flag.Int("nodes", 1, "number of nodes")
		options = flag.String("options", "{}", "options of the nodes, JSON")
	)
	flag.Parse()
	// Tests that died leave broken pipes; what was made is removed all the same.
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := context.WithTimeout(context.Background(), lifetime)
	defer cancel()
	var err error
	if *asNode {
		err = runNode(ctx)
	} else {
		err = supervise(ctx, *kind, *nodes, []byte(*options))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "conformance server:", err)
		cancel()
		os.Exit(1)
	}
}

// command is a line of input.
type command struct {
	ID   int             `json:"id"`
	Op   string          `json:"op"`
	Node int             `json:"node"`
	Args json.RawMessage `json:"args"`
}

// output writes lines; its methods may be called from several goroutines.
type output struct {
	mu sync.Mutex
	f  *os.File
}

func (o *output) line(v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		raw, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	_, _ = o.f.Write(append(raw, '\n')) // whoever reads it is gone, and input ends
}

func (o *output) answer(id int, result any, err error) {
	if err != nil {
		o.line(map[string]any{"id": id, "error": err.Error()})
		return
	}
	o.line(map[string]any{"id": id, "result": result})
}

// commands calls do in a goroutine for each line of input, until that ends.
func commands(in *bufio.Reader, out *output, do func(command) (any, error)) {
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var c command
		if err := json.Unmarshal(line, &c); err != nil {
			out.line(map[string]string{"error": "input: " + err.Error()})
			continue
		}
		go func() {
			result, err := do(c)
			out.answer(c.ID, result, err)
		}()
	}
}
