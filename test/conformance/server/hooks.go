package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/message-gateway/gateway/node"
)

// hooks are the application: what it does depends on the name of the event and
// on what the tests told it about a user. Everything it is told it reports.
type hooks struct {
	out *output

	mu      sync.Mutex
	refused map[string]int    // users, and the status that they get
	changed map[string]change // users, and what OnConnect makes of them
	gates   map[string]chan struct{}
}

// change is what OnConnect sets; nil leaves it as it is.
type change struct {
	UserID      *string   `json:"userId"`
	Roles       *[]string `json:"roles"`
	Groups      *[]string `json:"groups"`
	Subprotocol *string   `json:"subprotocol"`
	State       *string   `json:"state"`
}

func (h *hooks) report(kind string, c node.Connection, more map[string]any) {
	e := map[string]any{
		"kind": kind, "connectionId": c.ID, "hub": c.Hub, "userId": c.UserID, "subprotocol": c.Subprotocol, "state": c.State,
	}
	for k, v := range more {
		e[k] = v
	}
	h.out.line(map[string]any{"event": e})
}

func (h *hooks) onConnect(_ context.Context, c *node.ConnectRequest) error {
	h.report("connect", node.Connection{Hub: c.Hub, UserID: c.UserID}, map[string]any{
		"claims": c.Claims, "subprotocols": c.Subprotocols, "roles": c.Roles, "groups": c.Groups,
	})
	h.mu.Lock()
	status, refused := h.refused[c.UserID]
	change := h.changed[c.UserID]
	h.mu.Unlock()
	if refused {
		return &node.RefuseError{Status: status, Message: http.StatusText(status)}
	}
	set(&c.UserID, change.UserID)
	set(&c.Roles, change.Roles)
	set(&c.Groups, change.Groups)
	set(&c.Subprotocol, change.Subprotocol)
	set(&c.State, change.State)
	return nil
}

func set[T any](target, value *T) {
	if value != nil {
		*target = *value
	}
}

func (h *hooks) onConnected(_ context.Context, c node.Connection) { h.report("connected", c, nil) }

func (h *hooks) onDisconnected(_ context.Context, c node.Connection, reason string) {
	h.report("disconnected", c, map[string]any{"reason": reason})
}

var errWanted = errors.New("the test wants this event to fail")

func (h *hooks) onEvent(ctx context.Context, c node.Connection, e node.Event) (*node.Reply, error) {
	data := string(e.Data)
	if e.DataType == node.Binary || e.DataType == node.Protobuf {
		data = base64.StdEncoding.EncodeToString(e.Data)
	}
	h.report("event", c, map[string]any{"name": e.Name, "dataType": e.DataType, "data": data, "invocation": e.Invocation})
	switch e.Name {
	case "echo", "message":
		if data == "fail" {
			return nil, errWanted
		}
		if data == "silent" {
			return nil, nil //nolint:nilnil // no answer
		}
		return &node.Reply{DataType: e.DataType, Data: e.Data}, nil
	case "fail":
		return nil, errWanted
	case "panic":
		panic("the test wants this event to panic")
	case "sum":
		var numbers []float64
		if err := json.Unmarshal(e.Data, &numbers); err != nil {
			return nil, err
		}
		sum := 0.0
		for _, n := range numbers {
			sum += n
		}
		raw, err := json.Marshal(sum)
		return &node.Reply{DataType: node.JSON, Data: raw}, err
	case "setState":
		return &node.Reply{State: &data}, nil
	case "getState":
		return &node.Reply{DataType: node.Text, Data: []byte(c.State)}, nil
	case "block":
		// Until the test opens the gate that the data names.
		select {
		case <-h.gate(data):
			return &node.Reply{DataType: node.Text, Data: []byte("released")}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(patience):
			return nil, errors.New("nobody opened the gate")
		}
	default:
		return nil, nil //nolint:nilnil // no answer
	}
}

func (h *hooks) gate(name string) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := h.gates[name]
	if g == nil {
		g = make(chan struct{})
		h.gates[name] = g
	}
	return g
}
